"""Batch normalisation with PyTorch's arithmetic."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxsal.nn.init import filled


class BatchNorm(nnx.Module):
  """Batch normalisation over all axes but the last.

  Differs from `nnx.BatchNorm` in one respect, so that converted checkpoints train as they did: the
  running variance is the unbiased one, while the batch is normalised with the biased one.
  Statistics are float32 whatever the input is; over a sharded batch they are those of the whole.

  Attributes:
    scale, bias: [channels].
    mean, var: [channels], running statistics.
    use_running_average: set by `model.train()` and `model.eval()`.
  """

  def __init__(self, channels: int, *, momentum: float, epsilon: float) -> None:
    """`momentum` as in PyTorch: the weight of the new batch in the running statistics."""
    self.momentum, self.epsilon = momentum, epsilon
    self.use_running_average = False
    self.scale = nnx.Param(filled(1, channels))
    self.bias = nnx.Param(filled(0, channels))
    self.mean = nnx.BatchStat(filled(0, channels))
    self.var = nnx.BatchStat(filled(1, channels))

  def __call__(self, x: jax.Array) -> jax.Array:
    """[..., channels] -> the same shape and dtype."""
    scale, bias = self.scale[...], self.bias[...]
    if self.use_running_average:
      return _affine(x, self.mean[...], self.var[...], scale, bias, self.epsilon)
    y, mean, var = _normalise(x, scale, bias, self.epsilon)
    count = x.size // x.shape[-1]
    unbiased = var * (count / max(count - 1, 1))
    self.mean.set_value(_moved(self.mean[...], mean, self.momentum))
    self.var.set_value(_moved(self.var[...], unbiased, self.momentum))
    return y


# Jitted functions are traced once for each shape: a network normalises a hundred times, and tracing
# takes much of the time before the first step.


@jax.jit
def _moved(running, new, momentum):
  return running + momentum * (new - running)


@functools.partial(jax.jit, static_argnums=5)
def _affine(x, mean, var, scale, bias, epsilon):
  scale = scale * lax.rsqrt(var + epsilon)
  return (x.astype(jnp.float32) * scale + (bias - mean * scale)).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalise(
  x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """x normalised with its own statistics, and these: mean and biased variance, no gradient to them.

  The gradient is written out: two sums and one pass over x, where autodiff takes five of each.
  """
  axes = tuple(range(x.ndim - 1))
  mean = jnp.mean(x, axes, dtype=jnp.float32)
  # In two passes: the difference of two large moments would lose the small variances.
  var = jnp.mean(jnp.square(x.astype(jnp.float32) - mean), axes)
  return _affine(x, mean, var, scale, bias, epsilon), mean, var


@functools.partial(jax.jit, static_argnums=3)
def _normalise_forward(x, scale, bias, epsilon):
  y, mean, var = _normalise(x, scale, bias, epsilon)
  return (y, mean, var), (x, mean, lax.rsqrt(var + epsilon), scale)


@functools.partial(jax.jit, static_argnums=0)
def _normalise_backward(epsilon, residuals, gradients):
  x, mean, inverse, scale = residuals
  axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
  x, dy = x.astype(jnp.float32), gradients[0].astype(jnp.float32)
  dbias = jnp.sum(dy, axes)
  # Were x - mean the same expression in all three places that it is in, XLA would compute it once,
  # in the forward pass, and keep it: an array of x's size. Each has a mean of its own instead, and
  # the difference is taken where it is summed up or subtracted.
  mean, dbias = lax.optimization_barrier((mean, dbias))
  dscale = jnp.sum(dy * (x - mean), axes) * inverse
  mean, dscale = lax.optimization_barrier((mean, dscale))
  dx = scale * inverse * (dy - dbias / count - (x - mean) * (inverse * dscale / count))
  return dx.astype(gradients[0].dtype), dscale, dbias


_normalise.defvjp(_normalise_forward, _normalise_backward)
