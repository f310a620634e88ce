"""Published weights by name: where they come from, their terms, and their model folders.

folder = jaxsal.weights.fetch("unisal")    # downloads and converts once
model = jaxsal.weights.load("unisal")      # a name, a model folder, or a training's workdir
"""

from jaxsal.weights._fetch import DEFAULT, fetch, folder_of, is_here, load, resolve
from jaxsal.weights._table import Source, Weights, find, table

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
