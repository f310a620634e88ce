"""Initial values of parameters, made on the host."""

import math

import jax
import jax.numpy as jnp
import numpy as np


def kernel_init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
  """He initialisation: normal, with variance 2 / fan-in, for a kernel [..., in, out].

  Drawn on the host: JAX would compile a sampler for every shape, half a minute for S3D on CPU.
  """
  deviation = math.sqrt(2 / math.prod(shape[:-1]))

  def draw(seed: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(np.asarray(seed))
    return (rng.standard_normal(shape, np.float32) * deviation).astype(dtype)

  seed = jax.random.key_data(key)
  if isinstance(seed, jax.core.Tracer):
    return jax.pure_callback(draw, jax.ShapeDtypeStruct(shape, dtype), seed)
  return jax.device_put(draw(seed))  # without the callback there is nothing to compile


def filled(value: float, *shape: int) -> jax.Array:
  """A float32 array, filled on the host, as JAX would compile a program for every shape."""
  return jax.device_put(np.full(shape, value, np.float32))
