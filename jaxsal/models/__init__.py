"""The networks, by name: create them, save them, load them."""

from jaxsal.models.base import SaliencyConfig, SaliencyModel
from jaxsal.models.folder import copy_weights, load, save
from jaxsal.models.registry import MODELS, create

__all__ = ["MODELS", "SaliencyConfig", "SaliencyModel", "copy_weights", "create", "load", "save"]
