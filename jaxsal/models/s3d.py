"""S3D: the encoder of TSFP-Net, TASED-Net, ViNet and STSANet.

Xie et al., Rethinking Spatiotemporal Feature Learning, ECCV 2018. S3D is Inception-v1 inflated to
3-D, with every k x k x k kernel factored into (1, k, k) and (k, 1, 1). The gating of S3D-G is left
out.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxsal import nn
from jaxsal.models._base import BaseEncoder, BaseNetwork
from jaxsal.models._table import Entry, batch_norm, conv, unused

BATCH_NORM_EPSILON = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class S3DConfig:
  """Configuration of the encoder and the classifier.

  Attributes:
    width: factor on every channel count; 1 is the published network.
    batch_norm_momentum: weight of a new batch in the running statistics. The published 0.001 suits
      fine-tuning from Kinetics weights; from random weights a short run needs about 0.1.
    num_classes: number of classes of the classifier's head (Kinetics has 400).
    naming: names of the weights in PyTorch: `base` in the Kinetics-400 file of the saliency
      literature, `torchvision` in `S3D_Weights.KINETICS400_V1`. The two files come from two
      trainings of one network.
    dtype: type that the convolutions compute in.
  """

  width: float = 1.0
  batch_norm_momentum: float = 0.001
  num_classes: int = 400
  naming: Literal["base", "torchvision"] = "base"
  dtype: str = "float32"


VARIANTS = {
  "base": S3DConfig(),
  "torchvision": S3DConfig(naming="torchvision"),
  "tiny": S3DConfig(width=0.125, num_classes=10),
}


def channels(count: int, width: float) -> int:
  """Returns a published channel count times the width, but at least 2."""
  return max(2, round(count * width))


def stage_channels(width: float = 1.0) -> tuple[int, int, int, int]:
  """Returns the channels of the four stage outputs: 192, 480, 832 and 1024 at width 1."""

  def outputs(name: str) -> int:
    return sum(channels(c, width) for c in MIXED[name].outputs)

  return channels(192, width), outputs("3c"), outputs("4f"), outputs("5c")


class BasicConv(nnx.Module):
  """A 1x1x1 convolution, batch normalisation and ReLU."""

  def __init__(self, inputs: int, outputs: int, cfg: S3DConfig, rngs: nnx.Rngs) -> None:
    self.conv = nn.Conv(inputs, outputs, (1, 1, 1), use_bias=False, dtype=cfg.dtype, rngs=rngs)
    self.bn = _batch_norm(outputs, cfg)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Takes [b, t, h, w, inputs]; returns [b, t, h, w, outputs]."""
    return jax.nn.relu(self.bn(self.conv(x)))


class SepConv(nnx.Module):
  """A separable convolution: (1, k, k), BN and ReLU over space, then (k, 1, 1) over time."""

  def __init__(
    self, inputs: int, outputs: int, k: int, stride: int, cfg: S3DConfig, rngs: nnx.Rngs
  ) -> None:
    p, s, options = k // 2, stride, {"use_bias": False, "dtype": cfg.dtype, "rngs": rngs}
    self.conv_s = nn.Conv(inputs, outputs, (1, k, k), (1, s, s), (0, p, p), **options)
    self.bn_s = _batch_norm(outputs, cfg)
    self.conv_t = nn.Conv(outputs, outputs, (k, 1, 1), (s, 1, 1), (p, 0, 0), **options)
    self.bn_t = _batch_norm(outputs, cfg)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Takes [b, t, h, w, inputs]; returns [b, t/stride, h/stride, w/stride, outputs]."""
    return self.over_time(self.over_space(x))

  def over_space(self, x: jax.Array, padding: tuple[int, int, int] | None = None) -> jax.Array:
    """Applies the half over space: returns [b, t, h/stride, w/stride, outputs].

    Args:
      x: [b, t, h, w, inputs].
      padding: zeros before and after time, height and width; by default, the unit's own.
    """
    return jax.nn.relu(self.bn_s(self.conv_s(x, padding)))

  def over_time(self, x: jax.Array, padding: tuple[int, int, int] | None = None) -> jax.Array:
    """Applies the half over time: returns [b, t/stride, h, w, c].

    Args:
      x: output of the half over space, [b, t, h, w, c].
      padding: zeros before and after time, height and width; by default, the unit's own.
    """
    return jax.nn.relu(self.bn_t(self.conv_t(x, padding)))


class MixedSpec(NamedTuple):
  """Channels of an Inception block: branches 1 and 2 have a reduction and an output."""

  branch0: int
  branch1: tuple[int, int]
  branch2: tuple[int, int]
  branch3: int

  @property
  def outputs(self) -> tuple[int, int, int, int]:
    return self.branch0, self.branch1[1], self.branch2[1], self.branch3


MIXED = {
  "3b": MixedSpec(64, (96, 128), (16, 32), 32),
  "3c": MixedSpec(128, (128, 192), (32, 96), 64),
  "4b": MixedSpec(192, (96, 208), (16, 48), 64),
  "4c": MixedSpec(160, (112, 224), (24, 64), 64),
  "4d": MixedSpec(128, (128, 256), (24, 64), 64),
  "4e": MixedSpec(112, (144, 288), (32, 64), 64),
  "4f": MixedSpec(256, (160, 320), (32, 128), 128),
  "5b": MixedSpec(256, (160, 320), (32, 128), 128),
  "5c": MixedSpec(384, (192, 384), (48, 128), 128),
}


class Mixed(nnx.Module):
  """An Inception block: four branches, concatenated on channels."""

  def __init__(self, inputs: int, spec: MixedSpec, cfg: S3DConfig, rngs: nnx.Rngs) -> None:
    n = functools.partial(channels, width=cfg.width)
    self.branch0 = BasicConv(inputs, n(spec.branch0), cfg, rngs)
    self.branch1_reduce = BasicConv(inputs, n(spec.branch1[0]), cfg, rngs)
    self.branch1 = SepConv(n(spec.branch1[0]), n(spec.branch1[1]), 3, 1, cfg, rngs)
    self.branch2_reduce = BasicConv(inputs, n(spec.branch2[0]), cfg, rngs)
    self.branch2 = SepConv(n(spec.branch2[0]), n(spec.branch2[1]), 3, 1, cfg, rngs)
    self.branch3 = BasicConv(inputs, n(spec.branch3), cfg, rngs)
    self.outputs = sum(n(c) for c in spec.outputs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Takes [b, t, h, w, inputs]; returns [b, t, h, w, outputs]."""
    pooled = nn.max_pool3d(x, (3, 3, 3), (1, 1, 1), (1, 1, 1))
    branches = [
      self.branch0(x),
      self.branch1(self.branch1_reduce(x)),
      self.branch2(self.branch2_reduce(x)),
      self.branch3(pooled),
    ]
    return jnp.concatenate(branches, axis=-1)


class Stages(NamedTuple):
  """The encoder's outputs for t frames of h x w.

  Attributes:
    base1: [b, t/2, h/4, w/4, c], with 192 channels at width 1.
    base2: [b, t/2, h/8, w/8, c], with 480 channels at width 1.
    base3: [b, t/4, h/16, w/16, c], with 832 channels at width 1.
    base4: [b, t/8, h/32, w/32, c], with 1024 channels at width 1.
  """

  base1: jax.Array
  base2: jax.Array
  base3: jax.Array
  base4: jax.Array


class Encoder(BaseEncoder):
  """S3D without its head; the units are named as in the paper's table (conv_1a .. mixed_5c)."""

  def __init__(self, cfg: S3DConfig, rngs: nnx.Rngs) -> None:
    stem, base1 = channels(64, cfg.width), channels(192, cfg.width)
    self.conv_1a = SepConv(3, stem, 7, 2, cfg, rngs)
    self.conv_2b = BasicConv(stem, stem, cfg, rngs)
    self.conv_2c = SepConv(stem, base1, 3, 1, cfg, rngs)
    self.mixed_3b = Mixed(base1, MIXED["3b"], cfg, rngs)
    self.mixed_3c = Mixed(self.mixed_3b.outputs, MIXED["3c"], cfg, rngs)
    self.mixed_4b = Mixed(self.mixed_3c.outputs, MIXED["4b"], cfg, rngs)
    self.mixed_4c = Mixed(self.mixed_4b.outputs, MIXED["4c"], cfg, rngs)
    self.mixed_4d = Mixed(self.mixed_4c.outputs, MIXED["4d"], cfg, rngs)
    self.mixed_4e = Mixed(self.mixed_4d.outputs, MIXED["4e"], cfg, rngs)
    self.mixed_4f = Mixed(self.mixed_4e.outputs, MIXED["4f"], cfg, rngs)
    self.mixed_5b = Mixed(self.mixed_4f.outputs, MIXED["5b"], cfg, rngs)
    self.mixed_5c = Mixed(self.mixed_5b.outputs, MIXED["5c"], cfg, rngs)

  def __call__(self, frames: jax.Array) -> Stages:
    """Takes normalised frames [b, t, h, w, 3]: h and w multiples of 32, t 4 or a multiple of 8."""
    return self.deep(*self.shallow(frames))

  def shallow(self, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes base1 and base2 from normalised frames [b, t, h, w, 3]."""
    if self.conv_1a.bn_s.use_running_average:
      x = lax.platform_dependent(frames, cpu=self._stem_by_rows, default=self._stem)
    else:  # In training mode, the statistics of the batch need all frames.
      x = self._stem(frames)
    base1 = self.conv_2c(self.conv_2b(x))
    return base1, self.mixed_3c(self.mixed_3b(_halve(base1)))

  def _stem(self, frames: jax.Array) -> jax.Array:
    """Applies conv_1a and its max pooling: [b, t/2, h/4, w/4, 64] at width 1."""
    return _halve(self.conv_1a(frames))

  def _stem_by_rows(self, frames: jax.Array) -> jax.Array:
    """Computes `_stem` one quarter of the rows after the other.

    This is faster on CPUs, because conv_1a's features of a clip are the largest array of a network.
    """
    unit, height = self.conv_1a, frames.shape[2]
    rows = height // 4  # rows of the frames in a part; the result has a quarter of them
    quarters = []
    for start in range(0, height, rows):
      # Row i of the result needs rows 2i - 1 to 2i + 1 of conv_1a, which need rows 4i - 5 to 4i + 5
      # of the frames.
      here = _rows(frames, start - 5, start + rows + 2)
      x = unit.over_time(unit.over_space(here, (0, 0, 3)))
      if start == 0:  # The row above the first one is 0, which changes no maximum after a ReLU.
        x = _rows(x[:, :, 1:], -1, x.shape[2] - 1)
      quarters.append(nn.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 0, 1)))
    return jnp.concatenate(quarters, axis=2)

  def deep(self, base1: jax.Array, base2: jax.Array) -> Stages:
    """Computes all stages from base1 and base2."""
    x = nn.max_pool3d(base2, (3, 3, 3), (2, 2, 2), (1, 1, 1))
    for block in (self.mixed_4b, self.mixed_4c, self.mixed_4d, self.mixed_4e):
      x = block(x)
    base3 = self.mixed_4f(x)
    k = min(2, base3.shape[1])  # A clip of 4 frames has a single step in time here.
    x = nn.max_pool3d(base3, (k, 2, 2), (k, 2, 2))
    base4 = self.mixed_5c(self.mixed_5b(x))
    return Stages(base1, base2, base3, base4)

  def published_table(self, names: Iterable[str]) -> Iterator[Entry]:
    """Yields the entries of the classifier, in the naming that the state dict has.

    The entries of the head are not used.
    """
    leaves = LEAVES[_naming_of(names)]
    yield from encoder_table(lambda _, index: f"{leaves.root}.{index}", (), leaves)
    yield unused(f"{leaves.head}.weight", ())
    yield unused(f"{leaves.head}.bias", ())


class S3D(BaseNetwork[S3DConfig]):
  """The Kinetics classifier, as which the encoder's published weights were trained."""

  def __init__(self, config: S3DConfig, *, rngs: nnx.Rngs) -> None:
    super().__init__(config)
    self.encoder = Encoder(config, rngs)
    features = stage_channels(config.width)[-1]
    self.fc = nn.Conv(features, config.num_classes, (1, 1, 1), dtype=config.dtype, rngs=rngs)

  def __call__(self, frames: jax.Array) -> jax.Array:
    """Takes normalised frames [b, t, h, w, 3], t = 16, 24, 32, ...; returns logits [b, classes]."""
    x = self.encoder(frames).base4.mean(axis=(2, 3), keepdims=True)
    x = (x[:, :-1] + x[:, 1:]) / 2  # With the mean above: average pooling (2, h, w), stride 1.
    return self.fc(x).mean(axis=(1, 2, 3)).astype(jnp.float32)

  @staticmethod
  def fields_from(names: Iterable[str]) -> dict[str, Any]:
    """Returns the naming that a state dict with these names has."""
    return {"naming": _naming_of(names)}

  @staticmethod
  def table(config: S3DConfig) -> Iterator[Entry]:
    """Yields the names `base.0.conv_s.weight`, ... `fc.0.bias`, or torchvision's."""
    leaves = LEAVES[config.naming]
    yield from encoder_table(lambda _, index: f"{leaves.root}.{index}", ("encoder",), leaves)
    yield from conv(leaves.head, ("fc",), bias=True)


class Leaves(NamedTuple):
  """Names that a naming has for the parts of the network.

  Attributes:
    basic: convolution and normalisation of a BasicConv.
    separable: convolution and normalisation of a SepConv over space, then those over time.
    branch0: first branch of an Inception block.
    root: list of the encoder's units.
    head: last layer of the classifier.
  """

  basic: tuple[str, str]
  separable: tuple[tuple[str, str], tuple[str, str]]
  branch0: str
  root: str
  head: str


LEAVES = {
  "base": Leaves(
    ("conv", "bn"), (("conv_s", "bn_s"), ("conv_t", "bn_t")), "branch0.0", "base", "fc.0"
  ),
  "torchvision": Leaves(
    ("0", "1"), (("0.0", "0.1"), ("1.0", "1.1")), "branch0", "features", "classifier.1"
  ),
}

# For each unit: its index in S3D, its stage and index within the stage (the two numbers that
# saliency checkpoints have), and its name here.
_UNITS = [
  (0, (1, 0), "conv_1a"),
  (2, (1, 2), "conv_2b"),
  (3, (1, 3), "conv_2c"),
  (5, (2, 0), "mixed_3b"),
  (6, (2, 1), "mixed_3c"),
  *((8 + i, (3, i), f"mixed_4{letter}") for i, letter in enumerate("bcdef")),
  (14, (4, 0), "mixed_5b"),
  (15, (4, 1), "mixed_5c"),
]


def _naming_of(names: Iterable[str]) -> str:
  return "torchvision" if any(name.startswith("features.") for name in names) else "base"


def encoder_table(
  prefix: Callable[[tuple[int, int], int], str],
  path: tuple[str, ...],
  leaves: Leaves = LEAVES["base"],
) -> Iterator[Entry]:
  """Yields the entries of the encoder.

  Args:
    prefix: function from a unit's stage and index within it, and its index in S3D, to its name in
      PyTorch, such as `base.5` (index in S3D) or `base2.0` (stage 2, first unit).
    path: attribute names from the root module to the encoder.
    leaves: names of the parts of a unit.
  """

  def basic(name: str, path: tuple[str, ...]) -> Iterator[Entry]:
    yield from conv(f"{name}.{leaves.basic[0]}", (*path, "conv"), bias=False)
    yield from batch_norm(f"{name}.{leaves.basic[1]}", (*path, "bn"))

  def separable(name: str, path: tuple[str, ...]) -> Iterator[Entry]:
    for axis, (conv_name, bn_name) in zip("st", leaves.separable):
      yield from conv(f"{name}.{conv_name}", (*path, f"conv_{axis}"), bias=False)
      yield from batch_norm(f"{name}.{bn_name}", (*path, f"bn_{axis}"))

  for index, stage, unit in _UNITS:
    name, here = prefix(stage, index), (*path, unit)
    if unit == "conv_2b":
      yield from basic(name, here)
    elif unit.startswith("conv"):
      yield from separable(name, here)
    else:
      yield from basic(f"{name}.{leaves.branch0}", (*here, "branch0"))
      for i in (1, 2):
        yield from basic(f"{name}.branch{i}.0", (*here, f"branch{i}_reduce"))
        yield from separable(f"{name}.branch{i}.1", (*here, f"branch{i}"))
      yield from basic(f"{name}.branch3.1", (*here, "branch3"))


def _rows(x: jax.Array, start: int, end: int) -> jax.Array:
  """Returns the rows start .. end - 1 of x [b, t, h, w, c], with zeros for rows outside x."""
  edges = [(0, 0, 0), (0, 0, 0), (-start, end - x.shape[2], 0), (0, 0, 0), (0, 0, 0)]
  return lax.pad(x, jnp.zeros((), x.dtype), edges)


def _halve(x: jax.Array) -> jax.Array:
  """Halves height and width by the max pooling that follows conv_1a and conv_2c."""
  return nn.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))


def _batch_norm(count: int, cfg: S3DConfig) -> nn.BatchNorm:
  return nn.BatchNorm(count, momentum=cfg.batch_norm_momentum, epsilon=BATCH_NORM_EPSILON)
