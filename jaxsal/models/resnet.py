"""ResNet-50: the encoder of GFSalNet's two streams.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016, table 1. The stride of a
residual unit is in its 3 x 3 convolution, as in torchvision, whose weights (`ResNet50_Weights`)
load.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal import nn
from jaxsal.models._base import BaseEncoder, BaseNetwork
from jaxsal.models._parts import parts
from jaxsal.models._table import Entry, batch_norm, conv2d, linear, unused
from jaxsal.models.s3d import channels
from jaxsal.nn.init import kernel_init

BLOCKS = (3, 4, 6, 3)
BATCH_NORM_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNetConfig:
  """Configuration of the encoder and the classifier.

  Attributes:
    width: factor on every channel count; 1 is the published network.
    blocks: numbers of residual units in the four layers.
    batch_norm_momentum: weight of a new batch in the running statistics.
    num_classes: number of classes of the classifier's head (ImageNet has 1000).
    dtype: type that the convolutions compute in.
  """

  width: float = 1.0
  blocks: tuple[int, int, int, int] = BLOCKS
  batch_norm_momentum: float = 0.1
  num_classes: int = 1000
  dtype: str = "float32"

  def __post_init__(self) -> None:
    object.__setattr__(self, "blocks", tuple(self.blocks))  # JSON gives a list.


VARIANTS = {
  "base": ResNetConfig(),
  "small": ResNetConfig(width=0.25),
  "tiny": ResNetConfig(width=0.0625, blocks=(1, 1, 1, 1), num_classes=10),
}

# Channels of the stem, and outputs of the four layers; inside a residual unit there are a quarter.
_STEM = 64
_LAYERS = (256, 512, 1024, 2048)


def stage_channels(width: float = 1.0) -> tuple[int, int, int, int]:
  """Returns the channels of the four stage outputs: 256, 512, 1024 and 2048 at width 1."""
  c1, c2, c3, c4 = (channels(c, width) for c in _LAYERS)
  return c1, c2, c3, c4


class Bottleneck(nnx.Module):
  """A residual unit: 1 x 1, 3 x 3 and 1 x 1 convolutions; a layer's first one has a projection."""

  def __init__(
    self,
    inputs: int,
    outputs: int,
    stride: int,
    config: ResNetConfig,
    rngs: nnx.Rngs,
    *,
    project: bool,
  ) -> None:
    options = {"use_bias": False, "dtype": config.dtype, "rngs": rngs}
    inner = max(1, outputs // 4)
    self.conv1 = nn.Conv2d(inputs, inner, 1, **options)
    self.bn1 = _batch_norm(inner, config)
    self.conv2 = nn.Conv2d(inner, inner, 3, stride, **options)
    self.bn2 = _batch_norm(inner, config)
    self.conv3 = nn.Conv2d(inner, outputs, 1, **options)
    self.bn3 = _batch_norm(outputs, config)
    self.project = project
    if project:
      self.downsample = nn.Conv2d(inputs, outputs, 1, stride, **options)
      self.downsample_bn = _batch_norm(outputs, config)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Takes [b, h, w, inputs]; returns [b, h/stride, w/stride, outputs]."""
    y = jax.nn.relu(self.bn1(self.conv1(x)))
    y = jax.nn.relu(self.bn2(self.conv2(y)))
    y = self.bn3(self.conv3(y))
    if self.project:
      x = self.downsample_bn(self.downsample(x))
    return jax.nn.relu(x + y)


class Layer(nnx.Module):
  """A sequence of residual units of one size, of which the first has the stride."""

  def __init__(
    self,
    inputs: int,
    outputs: int,
    stride: int,
    units: int,
    config: ResNetConfig,
    rngs: nnx.Rngs,
  ) -> None:
    self.units = units
    for i in range(units):
      unit = Bottleneck(inputs, outputs, stride, config, rngs, project=i == 0)
      setattr(self, f"unit{i}", unit)
      inputs, stride = outputs, 1

  def __call__(self, x: jax.Array) -> jax.Array:
    """Takes [b, h, w, inputs]; returns [b, h/stride, w/stride, outputs]."""
    for unit in parts(self, "unit", range(self.units)):
      x = unit(x)
    return x


class Stages(NamedTuple):
  """The encoder's outputs for images of h x w; heights and widths are rounded up.

  Attributes:
    layer1: [b, h/4, w/4, c], with 256 channels at width 1.
    layer2: [b, h/8, w/8, c], with 512 channels at width 1.
    layer3: [b, h/16, w/16, c], with 1024 channels at width 1.
    layer4: [b, h/32, w/32, c], with 2048 channels at width 1.
  """

  layer1: jax.Array
  layer2: jax.Array
  layer3: jax.Array
  layer4: jax.Array


class Encoder(BaseEncoder):
  """ResNet without its last pooling and its head; the parts are named as in torchvision."""

  def __init__(self, config: ResNetConfig, rngs: nnx.Rngs) -> None:
    self.blocks = config.blocks
    stem = channels(_STEM, config.width)
    options = {"use_bias": False, "dtype": config.dtype, "rngs": rngs}
    self.conv1 = nn.Conv2d(3, stem, 7, 2, **options)
    self.bn1 = _batch_norm(stem, config)
    c1, c2, c3, c4 = stage_channels(config.width)
    units1, units2, units3, units4 = config.blocks
    self.layer1 = Layer(stem, c1, 1, units1, config, rngs)
    self.layer2 = Layer(c1, c2, 2, units2, config, rngs)
    self.layer3 = Layer(c2, c3, 2, units3, config, rngs)
    self.layer4 = Layer(c3, c4, 2, units4, config, rngs)

  def __call__(self, images: jax.Array) -> Stages:
    """Takes normalised images [b, h, w, 3] of any size."""
    layer1 = self.layer1(self.stem(images))
    layer2 = self.layer2(layer1)
    layer3 = self.layer3(layer2)
    return Stages(layer1, layer2, layer3, self.layer4(layer3))

  def stem(self, images: jax.Array) -> jax.Array:
    """Applies conv1 and max pooling to normalised images: [b, h/4, w/4, 64] at width 1."""
    x = jax.nn.relu(self.bn1(self.conv1(images)))
    return nn.max_pool3d(x[:, None], (1, 3, 3), (1, 2, 2), (0, 1, 1))[:, 0]

  def published_table(self, names: Iterable[str]) -> Iterator[Entry]:
    """Yields torchvision's names, of which those of the classifier's head are not used."""
    del names  # The weights are published in one naming.
    yield from encoder_table(self.blocks)
    yield unused("fc.weight", ())
    yield unused("fc.bias", ())


class ResNet(BaseNetwork[ResNetConfig]):
  """The ImageNet classifier, as which the encoder's published weights were trained."""

  def __init__(self, config: ResNetConfig, *, rngs: nnx.Rngs) -> None:
    super().__init__(config)
    self.encoder = Encoder(config, rngs)
    features = stage_channels(config.width)[-1]
    self.fc = nnx.Linear(features, config.num_classes, kernel_init=kernel_init, rngs=rngs)

  def __call__(self, images: jax.Array) -> jax.Array:
    """Takes normalised images [b, h, w, 3]; returns float32 logits [b, classes]."""
    return self.fc(self.stages(images).layer4.astype(jnp.float32).mean(axis=(1, 2)))

  def stages(self, images: jax.Array) -> Stages:
    """Computes the encoder's four stage outputs of normalised images [b, h, w, 3]."""
    return self.encoder(images)

  @staticmethod
  def table(config: ResNetConfig) -> Iterator[Entry]:
    """Yields torchvision's names: `conv1.weight`, `layer1.0.conv1.weight`, ... `fc.bias`."""
    for entry in encoder_table(config.blocks):
      yield entry if entry.path is None else entry._replace(path=("encoder", *entry.path))
    yield from linear("fc", ("fc",))


def encoder_table(blocks: tuple[int, ...] = BLOCKS) -> Iterator[Entry]:
  """Yields the entries of the encoder, with torchvision's names."""
  yield from conv2d("conv1", ("conv1",), bias=False)
  yield from batch_norm("bn1", ("bn1",))
  for layer, units in enumerate(blocks, start=1):
    for i in range(units):
      name, path = f"layer{layer}.{i}", (f"layer{layer}", f"unit{i}")
      for j in (1, 2, 3):
        yield from conv2d(f"{name}.conv{j}", (*path, f"conv{j}"), bias=False)
        yield from batch_norm(f"{name}.bn{j}", (*path, f"bn{j}"))
      if i == 0:
        yield from conv2d(f"{name}.downsample.0", (*path, "downsample"), bias=False)
        yield from batch_norm(f"{name}.downsample.1", (*path, "downsample_bn"))


def _batch_norm(count: int, config: ResNetConfig) -> nn.BatchNorm:
  return nn.BatchNorm(count, momentum=config.batch_norm_momentum, epsilon=BATCH_NORM_EPSILON)
