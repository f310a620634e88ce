"""Batch normalisation with PyTorch's arithmetic."""

import jax
import jax.numpy as jnp
from flax import nnx


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
    self.scale = nnx.Param(jnp.ones((channels,), jnp.float32))
    self.bias = nnx.Param(jnp.zeros((channels,), jnp.float32))
    self.mean = nnx.BatchStat(jnp.zeros((channels,), jnp.float32))
    self.var = nnx.BatchStat(jnp.ones((channels,), jnp.float32))

  def __call__(self, x: jax.Array) -> jax.Array:
    """[..., channels] -> the same shape and dtype."""
    if self.use_running_average:
      mean, var = self.mean[...], self.var[...]
    else:
      axes = tuple(range(x.ndim - 1))
      mean = jnp.mean(x, axes, dtype=jnp.float32)
      # In two passes: the difference of two large moments would lose the small variances.
      var = jnp.mean(jnp.square(x.astype(jnp.float32) - mean), axes)
      count = x.size // x.shape[-1]
      unbiased = var * (count / max(count - 1, 1))
      self.mean[...] = (1 - self.momentum) * self.mean[...] + self.momentum * mean
      self.var[...] = (1 - self.momentum) * self.var[...] + self.momentum * unbiased
    scale = self.scale[...] * jax.lax.rsqrt(var + self.epsilon)
    shift = self.bias[...] - mean * scale
    return (x.astype(jnp.float32) * scale + shift).astype(x.dtype)
