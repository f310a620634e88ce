"""Video saliency prediction in JAX.

model = jaxsal.load("runs/demo")             # a training's workdir or a model folder
maps = jaxsal.predict(model, "video.mp4")    # float32 [frames, height, width]
scores = jaxsal.evaluate(model, "dhf1k", split="validation", out="scores")
model = jaxsal.models.create("tsfp")         # a network with random weights
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from jaxsal import convert, losses, metrics, models, weights
  from jaxsal.data.sources import open_split
  from jaxsal.evaluation import evaluate
  from jaxsal.prediction import Predictor, predict
  from jaxsal.tfds_builders.build import prepare
  from jaxsal.weights import load

__all__ = [
  "Predictor",
  "__version__",
  "convert",
  "evaluate",
  "load",
  "losses",
  "metrics",
  "models",
  "open_split",
  "predict",
  "prepare",
  "weights",
]

__version__ = importlib.metadata.version("jaxsal")

# The module of each public name. It is imported when the name is first used, because
# `jaxsal --help` and the processes that load data need neither JAX nor TFDS.
_HOMES = {
  "Predictor": "jaxsal.prediction",
  "evaluate": "jaxsal.evaluation",
  "load": "jaxsal.weights",
  "open_split": "jaxsal.data.sources",
  "predict": "jaxsal.prediction",
  "prepare": "jaxsal.tfds_builders.build",
}
_MODULES = ("convert", "losses", "metrics", "models", "weights")


def __getattr__(name: str) -> Any:
  if name in _HOMES:
    return getattr(importlib.import_module(_HOMES[name]), name)
  if name in _MODULES:
    return importlib.import_module(f"jaxsal.{name}")
  raise AttributeError(f"module 'jaxsal' has no attribute {name!r}")
