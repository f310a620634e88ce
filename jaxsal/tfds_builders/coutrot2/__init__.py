"""Coutrot 2: 15 clips of a meeting."""
