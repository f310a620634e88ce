"""The training state: plain dictionaries of arrays, and how they become a network again."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

Tree = dict[str, Any]
Batch = Mapping[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class TrainState:
  """All that a step reads and writes.

  Plain dictionaries, because `nnx.jit` walks the module tree in Python at every call: 47 ms for S3D
  and Adam, against 2 ms.

  Attributes:
    step: number of steps taken, int32.
    params: parameters, nested by attribute name.
    model_state: BatchNorm's running statistics, nested likewise.
    opt_state: optax's state.
  """

  step: jax.Array
  params: Tree
  model_state: Tree
  opt_state: optax.OptState


class Network(NamedTuple):
  """A module's structure, without its arrays, as it trains and as it predicts."""

  training: nnx.GraphDef
  inference: nnx.GraphDef

  def apply(self, params: Tree, model_state: Tree, batch: Batch) -> tuple[jax.Array, Tree]:
    """A batch of b clips -> maps [b, h, w] and the new model state, in training mode."""
    model = nnx.merge(self.training, params, model_state)
    maps = model.from_batch(batch)
    return maps, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

  def predict(self, params: Tree, model_state: Tree, batch: Batch) -> jax.Array:
    """A batch of b clips -> maps [b, h, w], with the running statistics."""
    return nnx.merge(self.inference, params, model_state).from_batch(batch)

  def restore(self, params: Tree, model_state: Tree) -> nnx.Module:
    """The module itself, in inference mode."""
    return nnx.merge(self.inference, params, model_state)


def split(model: nnx.Module) -> tuple[Network, Tree, Tree]:
  """A module's structure, parameters and statistics."""
  model.train()
  training, params, model_state = nnx.split(model, nnx.Param, nnx.BatchStat)
  model.eval()
  inference, _, _ = nnx.split(model, nnx.Param, nnx.BatchStat)
  model.train()
  return Network(training, inference), nnx.to_pure_dict(params), nnx.to_pure_dict(model_state)


def new_state(params: Tree, model_state: Tree, tx: optax.GradientTransformation) -> TrainState:
  """The state before the first step."""
  return TrainState(jnp.zeros((), jnp.int32), params, model_state, tx.init(params))
