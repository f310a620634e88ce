"""Where fetched weights are kept."""

import os
import pathlib

from jaxsal.weights._table import Weights


def folder_of(name: str) -> pathlib.Path:
  """The model folder of fetched weights, in the cache of the user (XDG_CACHE_HOME)."""
  cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
  return cache / "jaxsal" / "weights" / name


def is_here(name: str) -> bool:
  """Whether weights were fetched before."""
  return (folder_of(name) / "model.json").is_file()


def state(weights: Weights) -> str:
  """Whether weights are here, can be fetched, or have to be fetched by hand."""
  if is_here(weights.name):
    return "here"
  return "can be fetched" if weights.sources else "by hand"
