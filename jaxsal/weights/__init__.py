"""Published weights by name: where they come from, their terms, and their model folders.

folder = jaxsal.weights.fetch("unisal")    # downloads and converts once
model = jaxsal.weights.load("unisal")      # a name, a model folder, or a training's workdir
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxsal.weights._cache import folder_of, is_here
from jaxsal.weights._table import Source, Weights, find, table

if TYPE_CHECKING:
  from jaxsal.weights._fetch import fetch, load, resolve

__all__ = [
  "DEFAULT",
  "Source",
  "Weights",
  "fetch",
  "find",
  "folder_of",
  "is_here",
  "load",
  "resolve",
  "table",
]

# The best network whose weights are free to use; prediction takes it unless another is named.
DEFAULT = "unisal"


def __getattr__(name: str) -> Any:
  if name in ("fetch", "load", "resolve"):  # these import JAX; the table is to be read without it
    return getattr(importlib.import_module("jaxsal.weights._fetch"), name)
  raise AttributeError(f"module 'jaxsal.weights' has no attribute {name!r}")
