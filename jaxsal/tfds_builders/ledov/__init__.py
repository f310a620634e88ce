"""LEDOV: 538 videos, 32 observers."""
