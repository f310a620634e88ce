"""PWC-Net: the optical flow that GFSalNet's temporal stream takes.

Sun et al., PWC-Net: CNNs for Optical Flow Using Pyramid, Warping, and Cost Volume, CVPR 2018. The
parts are named as in section 3 and figure 3. The channels, the wiring and the scale of the flow (a
value of 1 is 20 pixels of the image) are those of the public PyTorch weights.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.scipy.ndimage import map_coordinates

from jaxsal import nn
from jaxsal.errors import UserError
from jaxsal.models._base import BaseNetwork
from jaxsal.models._parts import parts
from jaxsal.models._table import Entry, conv2d
from jaxsal.models.s3d import channels
from jaxsal.nn.init import kernel_init


@dataclasses.dataclass(frozen=True, kw_only=True)
class PWCNetConfig:
  """Configuration of PWC-Net.

  Attributes:
    width: factor on every channel count; 1 is the published network.
    naming: names of the modules in PyTorch: `net` (`netExtractor.netOne.0.weight`) or `module`
      (`moduleExtractor.moduleOne.0.weight`). Both are published; conversion reads either, and
      writes the one that it read.
  """

  width: float = 1.0
  naming: Literal["net", "module"] = "net"


VARIANTS = {
  "base": PWCNetConfig(),
  "module": PWCNetConfig(naming="module"),
  "small": PWCNetConfig(width=0.5),
  "tiny": PWCNetConfig(width=0.125),
}

# Height and width of the images are multiples of 64, because the pyramid halves them six times.
MULTIPLE = 64
# Flow is estimated at these levels, from the top of the pyramid to a quarter of the image's size.
LEVELS = (6, 5, 4, 3, 2)
# Pixels of the image that a value of 1 in the network's flow is.
SCALE = 20.0
# Pixels to every side that a cost volume covers.
SEARCH_RANGE = 4
_VOLUME = (2 * SEARCH_RANGE + 1) ** 2
# Channels of the pyramid's levels 1 .. 6, and of an estimator's five convolutions.
_PYRAMID = (16, 32, 64, 96, 128, 196)
_ESTIMATOR = (128, 128, 96, 64, 32)
# Channels and dilation of the context network's convolutions.
_CONTEXT = ((128, 1), (128, 2), (128, 4), (96, 8), (64, 16), (32, 1))

_relu = functools.partial(jax.nn.leaky_relu, negative_slope=0.1)


class FeaturePyramid(nnx.Module):
  """The feature pyramid extractor: six levels of three convolutions, the first with stride 2."""

  def __init__(self, config: PWCNetConfig, rngs: nnx.Rngs) -> None:
    inputs = 3
    for level, outputs in enumerate(_pyramid_channels(config), start=1):
      for i in range(3):
        conv = _conv(inputs, outputs, rngs, stride=2 if i == 0 else 1)
        setattr(self, f"conv{level}_{i}", conv)
        inputs = outputs

  def __call__(self, images: jax.Array) -> dict[int, jax.Array]:
    """Takes images [b, h, w, 3]; returns each level's features [b, h/2^level, w/2^level, c]."""
    features, x = {}, images
    for level in range(1, len(_PYRAMID) + 1):
      for conv in parts(self, f"conv{level}_", range(3)):
        x = _relu(conv(x))
      features[level] = x
    return features


class FlowEstimator(nnx.Module):
  """The optical flow estimator of one level: a cost volume, then densely connected convolutions."""

  def __init__(self, level: int, config: PWCNetConfig, rngs: nnx.Rngs) -> None:
    self.level = level
    inputs = _estimator_inputs(level, config)
    if level < max(LEVELS):
      self.upsample_flow = _conv_transpose(2, rngs)
      self.upsample_features = _conv_transpose(_estimator_channels(level + 1, config), rngs)
    for i, outputs in enumerate(_ESTIMATOR):
      outputs = channels(outputs, config.width)
      setattr(self, f"conv{i}", _conv(inputs, outputs, rngs))
      inputs += outputs
    self.flow = _conv(inputs, 2, rngs)

  def __call__(
    self,
    first: jax.Array,
    second: jax.Array,
    above: tuple[jax.Array, jax.Array] | None,
  ) -> tuple[jax.Array, jax.Array]:
    """Estimates the flow at this level.

    Args:
      first, second: features of the two images at this level, [b, h, w, c].
      above: flow [b, h/2, w/2, 2] and features [b, h/2, w/2, c'] that the estimator of the level
        above returned; None at the top.

    Returns:
      Flow [b, h, w, 2] and features [b, h, w, c''].
    """
    if above is None:
      x = _relu(cost_volume(first, second))
    else:
      flow, features = self.upsample_flow(above[0]), self.upsample_features(above[1])
      volume = _relu(cost_volume(first, warp(second, flow * (SCALE / 2**self.level))))
      x = jnp.concatenate([volume, first, flow, features], axis=-1)
    for conv in parts(self, "conv", range(len(_ESTIMATOR))):
      x = jnp.concatenate([_relu(conv(x)), x], axis=-1)
    return self.flow(x), x


class ContextNetwork(nnx.Module):
  """The context network: dilated convolutions that refine the flow of the last level."""

  def __init__(self, config: PWCNetConfig, rngs: nnx.Rngs) -> None:
    inputs = _estimator_channels(min(LEVELS), config)
    for i, (outputs, dilation) in enumerate(_CONTEXT):
      outputs = channels(outputs, config.width)
      setattr(self, f"conv{i}", _conv(inputs, outputs, rngs, dilation=dilation))
      inputs = outputs
    self.flow = _conv(inputs, 2, rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Takes the last level's features [b, h, w, c]; returns an update of the flow [b, h, w, 2]."""
    for conv in parts(self, "conv", range(len(_CONTEXT))):
      x = _relu(conv(x))
    return self.flow(x)


class PWCNet(BaseNetwork[PWCNetConfig]):
  """PWC-Net (figure 3)."""

  def __init__(self, config: PWCNetConfig, *, rngs: nnx.Rngs) -> None:
    super().__init__(config)
    self.pyramid = FeaturePyramid(config, rngs)
    for level in LEVELS:
      setattr(self, f"estimator{level}", FlowEstimator(level, config, rngs))
    self.context = ContextNetwork(config, rngs)

  def __call__(self, first: jax.Array, second: jax.Array) -> jax.Array:
    """Computes the flow at a quarter of the images' size, in pixels of the images.

    Args:
      first, second: images [b, h, w, 3] in B, G, R on the scale of 0 to 1; h and w are multiples of
        64.

    Returns:
      float32 [b, h/4, w/4, 2], x before y: a point at p in the first image is at p + flow in the
      second.

    Raises:
      UserError: the images differ in shape, or a side is no multiple of 64 (`flow` takes any size).
    """
    _check_images(first, second)
    h, w = first.shape[1:3]
    if h % MULTIPLE or w % MULTIPLE:
      raise UserError(
        f"images are {h} x {w}: height and width must be multiples of {MULTIPLE}, such as "
        f"{_round_up(h)} x {_round_up(w)}; PWCNet.flow takes any size."
      )
    pyramid1, pyramid2 = self.pyramid(first), self.pyramid(second)
    top, *below = parts(self, "estimator", LEVELS)
    flow, features = top(pyramid1[top.level], pyramid2[top.level], None)
    for estimator in below:
      level = estimator.level
      flow, features = estimator(pyramid1[level], pyramid2[level], (flow, features))
    return (flow + self.context(features)) * SCALE

  def flow(self, first: jax.Array, second: jax.Array) -> jax.Array:
    """Computes the flow between frames of any size, at their size.

    The frames are resized to the next multiples of 64, and the flow is scaled back, as in the
    public PyTorch implementation.

    Args:
      first, second: uint8 frames [b, h, w, 3] in R, G, B.

    Returns:
      float32 [b, h, w, 2] in pixels, x before y.

    Raises:
      UserError: the frames differ in shape.
    """
    _check_images(first, second)
    h, w = first.shape[1:3]
    size = _round_up(h), _round_up(w)
    images = (x[..., ::-1].astype(jnp.float32) / 255 for x in (first, second))
    flow = nn.resize(self(*(nn.resize(x, size) for x in images)), (h, w))
    return flow * jnp.array([w / size[1], h / size[0]], jnp.float32)

  @staticmethod
  def fields_from(names: Iterable[str]) -> dict[str, Any]:
    """Returns the naming that a state dict with these names has."""
    module = any(name.startswith("moduleExtractor.") for name in names)
    return {"naming": "module" if module else "net"}

  @staticmethod
  def table(config: PWCNetConfig) -> Iterator[Entry]:
    """Yields the names of the public PyTorch files, where parts are numbered in words from One."""

    def name(*parts: str) -> str:
      return ".".join(config.naming + part for part in parts)

    for level, word in enumerate(_WORDS, start=1):
      for i in range(3):
        yield from conv2d(f"{name('Extractor', word)}.{2 * i}", ("pyramid", f"conv{level}_{i}"))
    for level in reversed(LEVELS):
      part, path = _WORDS[level - 1], f"estimator{level}"
      if level < max(LEVELS):
        # With `transpose_kernel`, the kernel has the layout of the convolution that it transposes.
        yield from conv2d(name(part, "Upflow"), (path, "upsample_flow"))
        yield from conv2d(name(part, "Upfeat"), (path, "upsample_features"))
      for i in range(len(_ESTIMATOR)):
        yield from conv2d(f"{name(part, _WORDS[i])}.0", (path, f"conv{i}"))
      yield from conv2d(f"{name(part, 'Six')}.0", (path, "flow"))
    for i in range(len(_CONTEXT)):
      yield from conv2d(f"{name('Refiner', 'Main')}.{2 * i}", ("context", f"conv{i}"))
    yield from conv2d(f"{name('Refiner', 'Main')}.{2 * len(_CONTEXT)}", ("context", "flow"))


_WORDS = ("One", "Two", "Thr", "Fou", "Fiv", "Six")


def cost_volume(first: jax.Array, second: jax.Array) -> jax.Array:
  """Correlates each pixel with the pixels around it in the other image (section 3, equation 3).

  The displacements are computed one after the other, so that only one shifted copy of the features
  is in memory at a time, and the program is short.

  Args:
    first, second: features [b, h, w, c] of the two images; outside the image, the second is zero.

  Returns:
    Mean products over c, [b, h, w, 81]; channel (dy + 4) * 9 + dx + 4 is for the displacement
    (dx, dy).
  """
  r, count = SEARCH_RANGE, 2 * SEARCH_RANGE + 1
  second = jnp.pad(second, [(0, 0), (r, r), (r, r), (0, 0)])

  def correlation(i: jax.Array) -> jax.Array:
    shifted = jax.lax.dynamic_slice(second, (0, i // count, i % count, 0), first.shape)
    return jnp.einsum("bhwc,bhwc->bhw", first, shifted)

  volume = jax.lax.map(correlation, jnp.arange(_VOLUME))
  return jnp.moveaxis(volume, 0, -1) / first.shape[-1]


def warp(x: jax.Array, flow: jax.Array) -> jax.Array:
  """Samples x bilinearly at each pixel's position plus its flow (section 3, equation 1).

  Args:
    x: features [b, h, w, c].
    flow: [b, h, w, 2] in pixels, x before y.

  Returns:
    [b, h, w, c]; a sample with more than a thousandth of its weight outside x is zero.
  """
  _, h, w, _ = x.shape
  rows = jnp.arange(h, dtype=flow.dtype)[:, None] + flow[..., 1]
  columns = jnp.arange(w, dtype=flow.dtype) + flow[..., 0]
  sample = functools.partial(map_coordinates, order=1, mode="constant")
  y = jax.vmap(jax.vmap(sample, (-1, None), -1))(x, (rows, columns))
  # A sample of an image of ones would be the weight inside x.
  weight = _weight_inside(rows, h) * _weight_inside(columns, w)
  return jnp.where(weight[..., None] > 0.999, y, 0)


def _weight_inside(position: jax.Array, size: int) -> jax.Array:
  return jnp.clip(jnp.minimum(position + 1, size - position), 0, 1)


def _check_images(first: jax.Array, second: jax.Array) -> None:
  if first.shape != second.shape or first.ndim != 4 or first.shape[-1] != 3:
    raise UserError(
      f"images have shapes {first.shape} and {second.shape}: they must have one shape [b, h, w, 3]."
    )


def _round_up(size: int) -> int:
  return -(-size // MULTIPLE) * MULTIPLE


def _pyramid_channels(config: PWCNetConfig) -> list[int]:
  return [channels(c, config.width) for c in _PYRAMID]


def _estimator_inputs(level: int, config: PWCNetConfig) -> int:
  """Counts the channels that an estimator takes.

  These are the channels of the cost volume and, below the top level, of the first image's features
  and of the upsampled flow and features.
  """
  return _VOLUME + (_pyramid_channels(config)[level - 1] + 2 + 2 if level < max(LEVELS) else 0)


def _estimator_channels(level: int, config: PWCNetConfig) -> int:
  """Counts the channels of the features that an estimator returns."""
  return _estimator_inputs(level, config) + sum(channels(c, config.width) for c in _ESTIMATOR)


def _conv(
  inputs: int, outputs: int, rngs: nnx.Rngs, *, stride: int = 1, dilation: int = 1
) -> nnx.Conv:
  return nnx.Conv(
    inputs,
    outputs,
    (3, 3),
    strides=stride,
    padding=dilation,
    kernel_dilation=dilation,
    kernel_init=kernel_init,
    rngs=rngs,
  )


def _conv_transpose(inputs: int, rngs: nnx.Rngs) -> nnx.ConvTranspose:
  """Makes a 4 x 4 transposed convolution to two channels that doubles height and width."""
  return nnx.ConvTranspose(
    inputs,
    2,
    (4, 4),
    strides=(2, 2),
    transpose_kernel=True,
    kernel_init=kernel_init,
    rngs=rngs,
  )
