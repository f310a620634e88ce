"""Batch normalisation with PyTorch's arithmetic."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal.nn.conv import filled

# Elements of an array that a CPU's caches do not hold.
_LARGE = 2_000_000


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
  scale = scale * jax.lax.rsqrt(var + epsilon)
  return (x.astype(jnp.float32) * scale + (bias - mean * scale)).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalise(
  x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """x normalised with its own statistics, and these: mean and biased variance, no gradient to them.

  The gradient is written out: two sums and one pass over x, where autodiff takes five of each.
  """
  mean = jnp.mean(x, tuple(range(x.ndim - 1)), dtype=jnp.float32)
  # In two passes: the difference of two large moments would lose the small variances.
  var = _sum(lambda x: jnp.square(x - mean), x) / (x.size // x.shape[-1])
  return _affine(x, mean, var, scale, bias, epsilon), mean, var


@functools.partial(jax.jit, static_argnums=3)
def _normalise_forward(x, scale, bias, epsilon):
  y, mean, var = _normalise(x, scale, bias, epsilon)
  return (y, mean, var), (x, mean, jax.lax.rsqrt(var + epsilon), scale)


@functools.partial(jax.jit, static_argnums=0)
def _normalise_backward(epsilon, residuals, gradients):
  x, mean, inverse, scale = residuals
  dy, count = gradients[0], x.size // x.shape[-1]
  dbias = jnp.sum(dy, tuple(range(dy.ndim - 1)), dtype=jnp.float32)
  dscale = _sum(lambda x, dy: dy * (x - mean), x, dy) * inverse
  dy, centred = dy.astype(jnp.float32), x.astype(jnp.float32) - mean
  dx = scale * inverse * (dy - dbias / count - centred * (inverse * dscale / count))
  return dx.astype(x.dtype), dscale, dbias


def _sum(function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
  """Sum of `function`, which works by elements, over all axes of arrays [..., c] but the last.

  A CPU stores what it is to sum, so it does this frame by frame where the whole were much memory:
  the training step of S3D needs a fifth less.
  """

  def whole(*arrays: jax.Array) -> jax.Array:
    terms = function(*(x.astype(jnp.float32) for x in arrays))
    return jnp.sum(terms, tuple(range(terms.ndim - 1)))

  def by_frames(*arrays: jax.Array) -> jax.Array:
    frames = [x.reshape(-1, *x.shape[-3:]) for x in arrays]
    zero = jnp.zeros(arrays[0].shape[-1], jnp.float32)
    return jax.lax.scan(lambda total, frame: (total + whole(*frame), None), zero, frames)[0]

  if arrays[0].size < _LARGE:
    return whole(*arrays)
  return jax.lax.platform_dependent(*arrays, cpu=by_frames, default=whole)


_normalise.defvjp(_normalise_forward, _normalise_backward)
