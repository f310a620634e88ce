"""The networks, by name: create them, save them, load them."""

from jaxsal.models._base import AudioVisualModel, SaliencyConfig, SaliencyModel
from jaxsal.models._folder import copy_weights, load, save
from jaxsal.models._registry import MODELS, configure, create

__all__ = [
  "MODELS",
  "AudioVisualModel",
  "SaliencyConfig",
  "SaliencyModel",
  "configure",
  "copy_weights",
  "create",
  "load",
  "save",
]
