"""SoundNet: the sound encoder of AViNet and of TSFP-Net with audio.

Aytar, Vondrick and Torralba, SoundNet: Learning Sound Representations from Unlabeled Video, NIPS
2016. SoundNet is a 1-D convolutional network on the waveform itself. The saliency networks use its
first seven layers, without the eighth, which is two heads that classify objects and scenes.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal import nn
from jaxsal.models._base import BaseNetwork
from jaxsal.models._parts import parts
from jaxsal.models._table import Entry, batch_norm, conv2d, unused
from jaxsal.models.s3d import channels
from jaxsal.nn.init import kernel_init


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoundNetConfig:
  """Configuration of SoundNet; the defaults are the paper's.

  Attributes:
    width: factor on the channel counts of all layers but the last.
    features: number of channels of the last layer.
    batch_norm_momentum: weight of a new batch in the running statistics.
  """

  width: float = 1.0
  features: int = 1024
  batch_norm_momentum: float = 0.1


VARIANTS = {
  "base": SoundNetConfig(),
  "small": SoundNetConfig(width=0.25, features=256),
  "tiny": SoundNetConfig(width=0.0625, features=64),
}


class LayerSpec(NamedTuple):
  """A layer of table 1 of the paper.

  Attributes:
    channels: number of output channels.
    kernel: length of the kernel; the stride is 2, and the padding half the kernel.
    pool: length and stride of the max pooling that follows; 1 for none.
  """

  channels: int
  kernel: int
  pool: int = 1


LAYERS = (
  LayerSpec(16, 64, pool=8),
  LayerSpec(32, 32, pool=8),
  LayerSpec(64, 16),
  LayerSpec(128, 8),
  LayerSpec(256, 4, pool=4),
  LayerSpec(512, 4),
  LayerSpec(1024, 4),
)

_NUMBERS = range(1, len(LAYERS) + 1)
# Number of classes of the two heads in PyTorch: objects of ImageNet, and scenes of Places.
_HEADS = {"conv8_objs": 1000, "conv8_scns": 401}


def steps(samples: int) -> int:
  """Returns the number of steps in time of a waveform's features."""
  for layer in LAYERS:
    samples = (samples + 2 * (layer.kernel // 2) - layer.kernel) // 2 + 1
    samples //= layer.pool
  return samples


class Layer(nnx.Module):
  """A convolution, batch normalisation and ReLU, and the max pooling if table 1 has one."""

  def __init__(
    self, inputs: int, outputs: int, spec: LayerSpec, momentum: float, rngs: nnx.Rngs
  ) -> None:
    self.pool = spec.pool
    p = spec.kernel // 2
    self.conv = nnx.Conv(
      inputs,
      outputs,
      (spec.kernel, 1),
      strides=(2, 1),
      padding=((p, p), (0, 0)),
      kernel_init=kernel_init,
      rngs=rngs,
    )
    self.bn = nn.BatchNorm(outputs, momentum=momentum, epsilon=1e-5)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Takes [b, t, 1, inputs]; returns [b, t', 1, outputs]."""
    x = jax.nn.relu(self.bn(self.conv(x)))
    pool = (self.pool, 1, 1)
    return nn.max_pool3d(x[:, :, None], pool, pool)[:, :, 0]


class SoundNet(BaseNetwork[SoundNetConfig]):
  """SoundNet without its heads.

  It computes in float32, because a waveform in bfloat16 is audibly rounded.
  """

  def __init__(self, config: SoundNetConfig, *, rngs: nnx.Rngs) -> None:
    super().__init__(config)
    counts = [1, *(channels(spec.channels, config.width) for spec in LAYERS[:-1]), config.features]
    for i, spec in zip(_NUMBERS, LAYERS):
      layer = Layer(counts[i - 1], counts[i], spec, config.batch_norm_momentum, rngs)
      setattr(self, f"layer{i}", layer)

  def __call__(self, waveform: jax.Array) -> jax.Array:
    """Computes the features of a waveform; 70,560 samples give 3 steps in time.

    Args:
      waveform: mono sound [b, s] on the scale of [-256, 256], with 22,050 samples a second.

    Returns:
      float32 [b, t, c], with t = `steps(s)`, and 1024 channels in the published network.
    """
    x = waveform.astype(jnp.float32)[:, :, None, None]
    for layer in parts(self, "layer", _NUMBERS):
      x = layer(x)
    return x[:, :, 0]

  @staticmethod
  def table(config: SoundNetConfig) -> Iterator[Entry]:
    """Yields the names of the public PyTorch files, whose two heads are not used."""
    for i in _NUMBERS:
      yield from conv2d(f"conv{i}", (f"layer{i}", "conv"))
      yield from batch_norm(f"batchnorm{i}", (f"layer{i}", "bn"))
    for name, classes in _HEADS.items():
      yield unused(f"{name}.weight", (classes, config.features, 8, 1))
      yield unused(f"{name}.bias", (classes,))
