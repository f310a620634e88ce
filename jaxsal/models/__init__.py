"""The networks: create one by its name, save it, load it.

    model = jaxsal.models.create("tsfp", "small")      # random weights; `MODELS` lists the names
    jaxsal.models.save(model, "models/mine")           # writes a model folder
    model = jaxsal.models.load("models/mine")          # or a training's workdir
    jaxsal.models.copy_weights("models/mine", other)   # weights into an existing network

A network is described by its configuration, a frozen dataclass: `configure` returns the one that
`create` builds. `name_of` is the name of a network, `arrays` are its weights by dotted name,
`variables` the same as variables of the network, `set_arrays` sets them, and `weights_sha256`
identifies them. `cost` and `operations` count what a network costs. `flow_of` returns the function
that computes the optical flow for a network that takes it, `flow_estimator` the one of a PWC-Net.

A new network is a module in this package with a subclass of `SaliencyModel`, its `SaliencyConfig`
and its variants, and a row in `MODELS` (`_registry.py`).
"""

from jaxsal.models._base import (
  AudioVisualModel,
  BaseEncoder,
  BaseNetwork,
  SaliencyConfig,
  SaliencyModel,
)
from jaxsal.models._costs import cost, operations
from jaxsal.models._flow import flow_estimator, flow_of
from jaxsal.models._folder import copy_weights, load, save
from jaxsal.models._registry import MODELS, Network, build, configure, create, find, name_of
from jaxsal.models._weights import arrays, set_arrays, variables, weights_sha256

__all__ = [
  "MODELS",
  "AudioVisualModel",
  "BaseEncoder",
  "BaseNetwork",
  "Network",
  "SaliencyConfig",
  "SaliencyModel",
  "arrays",
  "build",
  "configure",
  "copy_weights",
  "cost",
  "create",
  "find",
  "flow_estimator",
  "flow_of",
  "load",
  "name_of",
  "operations",
  "save",
  "set_arrays",
  "variables",
  "weights_sha256",
]
