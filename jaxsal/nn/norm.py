"""Batch normalisation with PyTorch's arithmetic."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxsal.nn.init import filled


class BatchNorm(nnx.Module):
  """Batch normalisation over all axes but the last.

  It differs from `nnx.BatchNorm` in one respect, so that converted checkpoints train as they did in
  PyTorch: the running variance is the unbiased one, while a batch is normalised with its biased
  variance. Statistics are float32 for every dtype of the input. If the batch is sharded, they are
  the statistics of the whole batch.

  Attributes:
    scale, bias: trained parameters, [channels].
    mean, var: running statistics, [channels].
    use_running_average: whether to normalise with the running statistics; `model.train()` and
      `model.eval()` set it.
  """

  def __init__(self, channels: int, *, momentum: float, epsilon: float) -> None:
    """Makes a layer that changes no input of mean 0 and variance 1.

    Args:
      channels: number of channels.
      momentum: weight of a new batch in the running statistics, as in PyTorch.
      epsilon: number added to the variance.
    """
    self.momentum, self.epsilon = momentum, epsilon
    self.use_running_average = False
    self.scale = nnx.Param(filled(1, channels))
    self.bias = nnx.Param(filled(0, channels))
    self.mean = nnx.BatchStat(filled(0, channels))
    self.var = nnx.BatchStat(filled(1, channels))

  def __call__(self, x: jax.Array) -> jax.Array:
    """Normalises x [..., channels]; the result has its shape and dtype."""
    scale, bias = self.scale[...], self.bias[...]
    if self.use_running_average:
      return _affine(x, self.mean[...], self.var[...], scale, bias, self.epsilon)
    y, mean, var = _normalise(x, scale, bias, self.epsilon)
    count = x.size // x.shape[-1]
    unbiased = var * (count / max(count - 1, 1))
    self.mean.set_value(_moved(self.mean[...], mean, self.momentum))
    self.var.set_value(_moved(self.var[...], unbiased, self.momentum))
    return y


# The functions below are jitted because JAX then traces them once for each shape. A network
# normalises a hundred times, and tracing takes much of the time before the first step.


@jax.jit
def _moved(running: jax.Array, new: jax.Array, momentum: float) -> jax.Array:
  """Moves running statistics towards those of a new batch."""
  return running + momentum * (new - running)


@functools.partial(jax.jit, static_argnums=5)
def _affine(
  x: jax.Array,
  mean: jax.Array,
  var: jax.Array,
  scale: jax.Array,
  bias: jax.Array,
  epsilon: float,
) -> jax.Array:
  """Normalises x [..., channels] with given statistics [channels]."""
  scale = scale * lax.rsqrt(var + epsilon)
  return (x.astype(jnp.float32) * scale + (bias - mean * scale)).astype(x.dtype)


def _normalise_with_statistics(
  x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Normalises x with its own statistics; returns the result, the mean and the biased variance.

  No gradient passes to the statistics. The gradient is written out, and takes two sums and one pass
  over x, where autodiff takes five of each.
  """
  axes = tuple(range(x.ndim - 1))
  mean = jnp.mean(x, axes, dtype=jnp.float32)
  # In two passes: the difference of two large moments would lose the small variances.
  var = jnp.mean(jnp.square(x.astype(jnp.float32) - mean), axes)
  return _affine(x, mean, var, scale, bias, epsilon), mean, var


@functools.partial(jax.jit, static_argnums=3)
def _normalise_forward(
  x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], tuple[jax.Array, ...]]:
  y, mean, var = _normalise(x, scale, bias, epsilon)
  return (y, mean, var), (x, mean, lax.rsqrt(var + epsilon), scale)


@functools.partial(jax.jit, static_argnums=0)
def _normalise_backward(
  epsilon: float,
  residuals: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
  gradients: tuple[jax.Array, jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the gradients of x [..., channels], scale and bias [channels]."""
  x, mean, inverse, scale = residuals
  axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
  x, dy = x.astype(jnp.float32), gradients[0].astype(jnp.float32)
  dbias = jnp.sum(dy, axes)
  # If x - mean were one expression in the three places that use it, XLA would compute it once, in
  # the forward pass, and keep it: an array of x's size. Barriers give each place a mean of its own,
  # so that the difference is taken where it is summed or subtracted.
  mean, dbias = lax.optimization_barrier((mean, dbias))
  dscale = jnp.sum(dy * (x - mean), axes) * inverse
  mean, dscale = lax.optimization_barrier((mean, dscale))
  dx = scale * inverse * (dy - dbias / count - (x - mean) * (inverse * dscale / count))
  return dx.astype(gradients[0].dtype), dscale, dbias


_normalise = jax.custom_vjp(_normalise_with_statistics, nondiff_argnums=(3,))
_normalise.defvjp(_normalise_forward, _normalise_backward)
