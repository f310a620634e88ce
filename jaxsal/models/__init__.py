"""The networks, by name: create them, save them, load them."""

from jaxsal.models._base import AudioVisualModel, SaliencyConfig, SaliencyModel
from jaxsal.models._folder import arrays, copy_weights, load, save, set_arrays
from jaxsal.models._registry import MODELS, configure, create

__all__ = [
  "MODELS",
  "AudioVisualModel",
  "SaliencyConfig",
  "SaliencyModel",
  "arrays",
  "configure",
  "copy_weights",
  "create",
  "load",
  "save",
  "set_arrays",
]
