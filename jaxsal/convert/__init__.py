"""Conversion of weights from PyTorch and back, by the table of names that each network has."""

from jaxsal.convert.checkpoint import read_state_dict
from jaxsal.convert.torch_weights import encoder_from_torch, from_torch, to_torch

__all__ = ["encoder_from_torch", "from_torch", "read_state_dict", "to_torch"]
