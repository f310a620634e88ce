"""The networks: create one by its name, save it, load it.

    model = jaxsal.models.create("tsfp", "small")      # random weights; `MODELS` lists the names
    jaxsal.models.save(model, "models/mine")           # writes a model folder
    model = jaxsal.models.load("models/mine")          # or a training's workdir
    jaxsal.models.copy_weights("models/mine", other)   # weights into an existing network

The other functions, by purpose:

- Registry: `find` returns a row of `MODELS`, and `name_of` the name of a network.
- Configuration, a frozen dataclass: `configure` returns it, and `build` creates its network.
- Weights by dotted name: `arrays` returns copies, `variables` the network's own variables;
  `set_arrays` sets them, and `weights_sha256` identifies them.
- Cost: `cost` counts parameters and operations of a network, `operations` those of a function.
- Optical flow: `flow_of` returns the function that computes it as a network needs it, and
  `flow_estimator` that of a PWC-Net.

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
from jaxsal.models._table import Entry
from jaxsal.models._weights import arrays, set_arrays, variables, weights_sha256

__all__ = [
  "MODELS",
  "AudioVisualModel",
  "BaseEncoder",
  "BaseNetwork",
  "Entry",
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
