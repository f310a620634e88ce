"""A replacement of S3D, which is slow to compile and the same in every network."""

import jax
from flax import nnx

from jaxsal.models import s3d

# For each stage: divisors of the frames' time, and of their height and width.
DIVISORS = ((2, 4), (2, 8), (4, 16), (8, 32))


class StubEncoder(nnx.Module):
  """An encoder whose stages are averages of the frames in random directions, as wide as tiny's."""

  def __call__(self, frames):
    b, t, h, w, c = frames.shape
    stages = []
    for (i, j), channels in zip(DIVISORS, s3d.stage_channels(0.0625)):
      x = frames.reshape(b, t // i, i, h // j, j, w // j, j, c).mean(axis=(2, 4, 6))
      weights = jax.random.normal(jax.random.key(channels), (c, channels))
      stages.append(jax.nn.relu(i * j * x @ weights))
    return s3d.Stages(*stages)
