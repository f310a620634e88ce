"""ETMD: 12 clips of films."""
