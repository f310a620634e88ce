"""Video saliency prediction in JAX.

model = jaxsal.load("runs/demo")             # a training's workdir or a model folder
maps = jaxsal.predict(model, "video.mp4")    # float32 [frames, height, width]
scores = jaxsal.evaluate(model, "dhf1k", split="validation", out="scores")
model = jaxsal.models.create("tsfp")         # a network with random weights
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from jaxsal.evaluate import evaluate
from jaxsal.predict import predict

if TYPE_CHECKING:
  import pathlib

  from flax import nnx

__all__ = ["convert", "evaluate", "load", "losses", "metrics", "models", "predict"]

# What imports JAX is imported at its first use: data workers and `--help` do without.
_LAZY = ("convert", "losses", "metrics", "models")


def load(path: "str | pathlib.Path") -> "nnx.Module":
  """A network from a model folder or a training's workdir; see `jaxsal.models.load`."""
  return importlib.import_module("jaxsal.models").load(path)


def __getattr__(name: str) -> ModuleType:
  if name in _LAZY:
    return importlib.import_module(f"jaxsal.{name}")
  raise AttributeError(f"module 'jaxsal' has no attribute {name!r}")
