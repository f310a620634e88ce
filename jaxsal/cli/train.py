"""The command `jaxsal train`; `jaxsal.main` defines its arguments and its help."""

import argparse

SUMMARY = "train a network"
DESCRIPTION = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds nothing: the flags of a recipe are known only when the recipe has been read."""


def run(args: argparse.Namespace) -> int:
  """Hands all arguments on to `jaxsal.main`."""
  from jaxsal import main

  return main.run(args.flags) or 0
