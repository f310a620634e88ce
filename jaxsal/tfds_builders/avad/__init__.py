"""AVAD: 45 clips, each with a sound and its source."""
