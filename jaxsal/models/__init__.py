"""The networks, by name: create them, save them, load them."""

from jaxsal.models.base import AudioVisualModel, SaliencyConfig, SaliencyModel
from jaxsal.models.folder import copy_weights, load, save
from jaxsal.models.registry import MODELS, create

__all__ = [
  "MODELS",
  "AudioVisualModel",
  "SaliencyConfig",
  "SaliencyModel",
  "copy_weights",
  "create",
  "load",
  "save",
]
