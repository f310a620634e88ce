"""Stands in for S3D, which is the same in every network and slow to compile."""

import jax
from flax import nnx

from jaxsal.models import s3d

# Of the stages: time, and height and width, as divisors of the frames'.
DIVISORS = ((2, 4), (2, 8), (4, 16), (8, 32))


class StubEncoder(nnx.Module):
  """Frames [b, t, h, w, 3] -> stages as of a tiny encoder: averages, in random directions."""

  def __call__(self, frames):
    b, t, h, w, c = frames.shape
    stages = []
    for (i, j), channels in zip(DIVISORS, s3d.stage_channels(0.0625)):
      x = frames.reshape(b, t // i, i, h // j, j, w // j, j, c).mean(axis=(2, 4, 6))
      weights = jax.random.normal(jax.random.key(channels), (c, channels))
      stages.append(jax.nn.relu(i * j * x @ weights))
    return s3d.Stages(*stages)
