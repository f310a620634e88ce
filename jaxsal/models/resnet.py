"""ResNet-50: the encoder of GFSalNet's two streams.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016, table 1, with the stride of a
block in its 3 x 3 convolution, as in torchvision's weights (`ResNet50_Weights`), which load.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal import nn
from jaxsal.models._base import BaseEncoder, BaseNetwork
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
    blocks: residual units in the four layers.
    batch_norm_momentum: weight of a new batch in the running statistics.
    num_classes: of the classifier's head (ImageNet has 1000).
    dtype: what the convolutions compute in.
  """

  width: float = 1.0
  blocks: tuple[int, int, int, int] = BLOCKS
  batch_norm_momentum: float = 0.1
  num_classes: int = 1000
  dtype: str = "float32"

  def __post_init__(self) -> None:
    object.__setattr__(self, "blocks", tuple(self.blocks))  # JSON knows lists only


VARIANTS = {
  "base": ResNetConfig(),
  "small": ResNetConfig(width=0.25),
  "tiny": ResNetConfig(width=0.0625, blocks=(1, 1, 1, 1), num_classes=10),
}

# Channels of the stem and of the layers; within a unit the latter are a quarter.
_STEM = 64
_LAYERS = (256, 512, 1024, 2048)


def stage_channels(width: float = 1.0) -> tuple[int, ...]:
  """Channels of the encoder's four stage outputs: 256, 512, 1024 and 2048 at width 1."""
  return tuple(channels(c, width) for c in _LAYERS)


class Bottleneck(nnx.Module):
  """Residual unit of 1 x 1, 3 x 3 and 1 x 1 convolutions; the first of a layer has a projection."""

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
    """[b, h, w, inputs] -> [b, h/stride, w/stride, outputs]."""
    y = jax.nn.relu(self.bn1(self.conv1(x)))
    y = jax.nn.relu(self.bn2(self.conv2(y)))
    y = self.bn3(self.conv3(y))
    if self.project:
      x = self.downsample_bn(self.downsample(x))
    return jax.nn.relu(x + y)


class Layer(nnx.Module):
  """Residual units of one size; the first has the stride."""

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
    """[b, h, w, inputs] -> [b, h/stride, w/stride, outputs]."""
    for i in range(self.units):
      x = getattr(self, f"unit{i}")(x)
    return x


class Stages(NamedTuple):
  """The encoder's outputs for images of h x w, at width 1; sizes are rounded up.

  layer1 [b, h/4, w/4, 256], layer2 [b, h/8, w/8, 512], layer3 [b, h/16, w/16, 1024],
  layer4 [b, h/32, w/32, 2048].
  """

  layer1: jax.Array
  layer2: jax.Array
  layer3: jax.Array
  layer4: jax.Array


class Encoder(BaseEncoder):
  """ResNet without pooling and head; parts are named as in torchvision."""

  def __init__(self, config: ResNetConfig, rngs: nnx.Rngs) -> None:
    self.blocks = config.blocks
    stem = channels(_STEM, config.width)
    options = {"use_bias": False, "dtype": config.dtype, "rngs": rngs}
    self.conv1 = nn.Conv2d(3, stem, 7, 2, **options)
    self.bn1 = _batch_norm(stem, config)
    inputs = stem
    for i, outputs in enumerate(stage_channels(config.width)):
      stride = 1 if i == 0 else 2
      layer = Layer(inputs, outputs, stride, config.blocks[i], config, rngs)
      setattr(self, f"layer{i + 1}", layer)
      inputs = outputs

  def __call__(self, images: jax.Array) -> Stages:
    """Normalised images [b, h, w, 3] of any size."""
    layer1 = self.layer1(self.stem(images))
    layer2 = self.layer2(layer1)
    layer3 = self.layer3(layer2)
    return Stages(layer1, layer2, layer3, self.layer4(layer3))

  def stem(self, images: jax.Array) -> jax.Array:
    """Normalised images [b, h, w, 3] -> [b, h/4, w/4, 64], after max pooling."""
    x = jax.nn.relu(self.bn1(self.conv1(images)))
    return nn.max_pool3d(x[:, None], (1, 3, 3), (1, 2, 2), (0, 1, 1))[:, 0]

  def published_table(self, names: Iterable[str]) -> Iterator[Entry]:
    """Yields torchvision's names; the classifier's head is not used."""
    del names  # there is one naming
    yield from encoder_table(self.blocks)
    yield unused("fc.weight", ())
    yield unused("fc.bias", ())


class ResNet(BaseNetwork[ResNetConfig]):
  """The ImageNet classifier: what the encoder's published weights were trained as."""

  def __init__(self, config: ResNetConfig, *, rngs: nnx.Rngs) -> None:
    self.config = config
    self.encoder = Encoder(config, rngs)
    features = stage_channels(config.width)[-1]
    self.fc = nnx.Linear(features, config.num_classes, kernel_init=kernel_init, rngs=rngs)

  def __call__(self, images: jax.Array) -> jax.Array:
    """Normalised images [b, h, w, 3] -> logits [b, classes], float32."""
    return self.fc(self.stages(images).layer4.astype(jnp.float32).mean(axis=(1, 2)))

  def stages(self, images: jax.Array) -> Stages:
    """Normalised images [b, h, w, 3] -> the encoder's four stage outputs."""
    return self.encoder(images)

  @staticmethod
  def table(config: ResNetConfig) -> Iterator[Entry]:
    """torchvision's names: `conv1.weight`, `layer1.0.conv1.weight`, ... `fc.bias`."""
    for entry in encoder_table(config.blocks):
      yield entry if entry.path is None else entry._replace(path=("encoder", *entry.path))
    yield from linear("fc", ("fc",))


def encoder_table(blocks: tuple[int, ...] = BLOCKS) -> Iterator[Entry]:
  """Table of the encoder's weights, with torchvision's names."""
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
