"""Lets `python -m jaxsal` run the command `jaxsal`."""

import sys

from jaxsal.cli import program

if __name__ == "__main__":
  sys.exit(program())
