"""TFDS builders, one folder per data set."""
