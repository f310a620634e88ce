"""A network for tests of what is made of maps: it has next to nothing to compile."""

import jax.numpy as jnp
from flax import nnx

from jaxsal.models import SaliencyConfig, SaliencyModel


class Movement(SaliencyModel):
  """Map = difference between the last two frames."""

  def __init__(self, size=(32, 48)):
    self.config = SaliencyConfig(length=2, size=size)
    self.factor = nnx.Param(jnp.ones(()))

  def __call__(self, frames):
    return self.factor[...] * jnp.abs(frames[:, 1] - frames[:, 0]).mean(-1)
