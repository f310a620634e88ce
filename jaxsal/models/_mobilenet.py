"""MobileNetV2: the backbone of UNISAL.

Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018, table 2. Units
are numbered as in the public PyTorch weights: 0 is the first convolution, 1 to 17 are inverted
residuals, 18 is the last convolution.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal import nn
from jaxsal.models._base import BaseEncoder
from jaxsal.models._table import Entry, batch_norm, conv2d, unused
from jaxsal.models.s3d import channels

BATCH_NORM_EPSILON = 1e-5


class Row(NamedTuple):
  """A row of the paper's table 2: t, c, n and s.

  Attributes:
    expansion: factor from a unit's inputs to its inner channels.
    channels: outputs of each unit.
    units: number of inverted residuals in the row.
    stride: stride of the row's first unit.
  """

  expansion: int
  channels: int
  units: int
  stride: int


_ROWS = (
  Row(1, 16, 1, 1),
  Row(6, 24, 2, 2),
  Row(6, 32, 3, 2),
  Row(6, 64, 4, 2),
  Row(6, 96, 3, 1),
  Row(6, 160, 3, 2),
  Row(6, 320, 1, 1),
)
_STEM, _LAST = 32, 1280
# Units whose output is kept before it is thinned out: the first of stride 2 at 1/8 and at 1/16.
_KEPT = (7, 14)


class Features(NamedTuple):
  """Outputs of the backbone for images of h x w, at width 1.

  Attributes:
    x4: [b, h/8, w/8, 64], four times the last output's height and width.
    x2: [b, h/16, w/16, 160], twice its height and width.
    x1: [b, h/32, w/32, 1280], the last output.
  """

  x4: jax.Array
  x2: jax.Array
  x1: jax.Array


def output_channels(width: float = 1.0) -> tuple[int, int, int]:
  """Channels of `Features`: 64, 160 and 1280 at width 1."""
  return channels(64, width), channels(160, width), channels(_LAST, width)


def frozen_batch_norm(count: int) -> "FrozenBatchNorm":
  """Batch normalisation of the backbone."""
  return FrozenBatchNorm(count, momentum=0.1, epsilon=BATCH_NORM_EPSILON)


class FrozenBatchNorm(nn.BatchNorm):
  """Batch normalisation with its running statistics, in training too (UNISAL, section 4.1)."""

  def __call__(self, x: jax.Array) -> jax.Array:
    """[..., channels] -> the same shape and dtype."""
    scale = self.scale[...] * jax.lax.rsqrt(self.var[...] + self.epsilon)
    return (x.astype(jnp.float32) * scale + (self.bias[...] - self.mean[...] * scale)).astype(
      x.dtype
    )


class ConvUnit(nnx.Module):
  """A convolution without bias, batch normalisation and ReLU6."""

  def __init__(
    self, inputs: int, outputs: int, k: int, stride: int, dtype: str, rngs: nnx.Rngs
  ) -> None:
    self.conv = nn.Conv2d(inputs, outputs, k, stride, use_bias=False, dtype=dtype, rngs=rngs)
    self.bn = frozen_batch_norm(outputs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """[b, h, w, inputs] -> [b, h / stride, w / stride, outputs]."""
    return jax.nn.relu6(self.bn(self.conv(x)))


class InvertedResidual(nnx.Module):
  """Expansion, depthwise convolution and linear projection (figure 3b)."""

  def __init__(
    self,
    inputs: int,
    outputs: int,
    expansion: int,
    stride: int,
    dtype: str,
    rngs: nnx.Rngs,
    *,
    skip: bool,
  ) -> None:
    """`skip` adds the input to the output."""
    options = {"use_bias": False, "dtype": dtype, "rngs": rngs}
    inner = inputs * expansion
    self.skip, self.expands = skip, expansion != 1
    if self.expands:
      self.expand = nn.Conv2d(inputs, inner, 1, **options)
      self.expand_bn = frozen_batch_norm(inner)
    self.depthwise = nn.DepthwiseConv(inner, stride, dtype=dtype, rngs=rngs)
    self.depthwise_bn = frozen_batch_norm(inner)
    self.project = nn.Conv2d(inner, outputs, 1, **options)
    self.project_bn = frozen_batch_norm(outputs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """[b, h, w, inputs] -> [b, h / stride, w / stride, outputs]."""
    y = x
    if self.expands:
      y = jax.nn.relu6(self.expand_bn(self.expand(y)))
    y = jax.nn.relu6(self.depthwise_bn(self.depthwise(y)))
    y = self.project_bn(self.project(y))
    return x + y if self.skip else y


class Encoder(BaseEncoder):
  """MobileNetV2 without its classifier."""

  def __init__(self, width: float, dtype: str, rngs: nnx.Rngs) -> None:
    inputs = channels(_STEM, width)
    self.unit0 = ConvUnit(3, inputs, 3, 2, dtype, rngs)
    number = itertools.count(1)
    for row in _ROWS:
      outputs = channels(row.channels, width)
      for i in range(row.units):
        unit, stride = next(number), row.stride if i == 0 else 1
        block = InvertedResidual(
          inputs,
          outputs,
          row.expansion,
          # The outputs that are kept have the size before the stride, which is taken afterwards.
          1 if unit in _KEPT else stride,
          dtype,
          rngs,
          skip=stride == 1 and inputs == outputs,
        )
        setattr(self, f"unit{unit}", block)
        inputs = outputs
    self.last = next(number)
    setattr(self, f"unit{self.last}", ConvUnit(inputs, channels(_LAST, width), 1, 1, dtype, rngs))

  def __call__(self, images: jax.Array) -> Features:
    """Normalised images [b, h, w, 3], h and w multiples of 32 -> features at three sizes."""
    x, kept = images, []
    for number in range(self.last + 1):
      x = getattr(self, f"unit{number}")(x)
      if number in _KEPT:
        kept.append(x)
        x = x[:, ::2, ::2]
    return Features(kept[0], kept[1], x)

  def published_table(self, names: Iterable[str]) -> Iterator[Entry]:
    """Yields the names of the ImageNet weights; the classifier's head is not used."""
    del names  # there is one naming
    yield from encoder_table("features")
    yield unused("classifier.1.weight", ())
    yield unused("classifier.1.bias", ())


def encoder_table(name: str) -> Iterator[Entry]:
  """Names of the public PyTorch weights: `features.0.0.weight`, `features.1.conv.0.weight`, ..."""

  def unit(name: str, path: tuple[str, ...], conv_at: str, bn_at: str) -> Iterator[Entry]:
    yield from conv2d(f"{name}.{conv_at}", (*path, "conv"), bias=False)
    yield from batch_norm(f"{name}.{bn_at}", (*path, "bn"))

  yield from unit(f"{name}.0", ("unit0",), "0", "1")
  number = itertools.count(1)
  for row in _ROWS:
    for _ in range(row.units):
      i = next(number)
      yield from inverted_residual_table(f"{name}.{i}.conv", (f"unit{i}",), row.expansion)
  last = next(number)
  yield from unit(f"{name}.{last}", (f"unit{last}",), "0", "1")


def inverted_residual_table(name: str, path: tuple[str, ...], expansion: int) -> Iterator[Entry]:
  """Names within one inverted residual: indices in its PyTorch Sequential."""
  index = 0
  if expansion != 1:
    yield from conv2d(f"{name}.0", (*path, "expand"), bias=False)
    yield from batch_norm(f"{name}.1", (*path, "expand_bn"))
    index = 3
  yield from depthwise(f"{name}.{index}", (*path, "depthwise"))
  yield from batch_norm(f"{name}.{index + 1}", (*path, "depthwise_bn"))
  yield from conv2d(f"{name}.{index + 3}", (*path, "project"), bias=False)
  yield from batch_norm(f"{name}.{index + 4}", (*path, "project_bn"))


def depthwise(name: str, path: tuple[str, ...]) -> Iterator[Entry]:
  """A depthwise convolution without bias: [c, 1, k, k] there, [k, k, 1, c] here."""
  yield Entry(f"{name}.weight", (*path, "kernel"), (2, 3, 1, 0))
