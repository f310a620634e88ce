"""Initial values of parameters, made on the host.

JAX would compile a program for every shape of an array: half a minute for S3D's kernels on CPU.
"""

import math

import jax
import numpy as np
from jax.core import Tracer
from jax.typing import DTypeLike


def kernel_init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
  """Draws a kernel by He initialisation: a normal distribution of variance 2 / fan-in.

  Args:
    key: random key, the seed of NumPy's generator.
    shape: [..., in, out].
    dtype: dtype of the kernel.
  """
  deviation = math.sqrt(2 / math.prod(shape[:-1]))

  def draw(seed: jax.Array) -> np.ndarray:
    rng = np.random.default_rng(np.asarray(seed))
    return (rng.standard_normal(shape, np.float32) * deviation).astype(dtype)

  seed = jax.random.key_data(key)
  if isinstance(seed, Tracer):
    return jax.pure_callback(draw, jax.ShapeDtypeStruct(shape, dtype), seed)
  return jax.device_put(draw(seed))  # without the callback nothing is compiled


def filled(value: float, *shape: int) -> jax.Array:
  """Returns a float32 array of this shape, filled with one value."""
  return jax.device_put(np.full(shape, value, np.float32))
