"""TSFP-Net: a temporal-spatial feature pyramid with hierarchical decoding.

Chang and Zhu, Temporal-Spatial Feature Pyramid for Video Saliency Detection, arXiv:2105.04213. The
authors published no code; where the paper leaves a choice open, it is made here, and a comment says
so. The widths and depths of the pyramid and the decoders follow from the paper's model size of
58.4 MB (table 3).
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal import nn
from jaxsal.errors import UserError
from jaxsal.models import s3d
from jaxsal.models._base import SaliencyConfig, SaliencyModel
from jaxsal.models._geometry import check_clip, check_size
from jaxsal.models._parts import parts
from jaxsal.models._table import Entry, conv


@dataclasses.dataclass(frozen=True, kw_only=True)
class TSFPConfig(SaliencyConfig):
  """Configuration of TSFP-Net; the defaults are the paper's.

  Attributes:
    size: height and width, multiples of 32.
    length: T, number of frames in a clip, a multiple of 8 (the paper compares 16, 32 and 48, table
      1).
    architecture: `pyramid`, or an ablation of table 8: `only_multi_level` has no top-down path, and
      `only_final_level` decodes only the deepest features.
    width: factor on every channel count.
    batch_norm_momentum: see `jaxsal.models.s3d.S3DConfig`.
  """

  size: tuple[int, int] = (192, 352)
  architecture: Literal["pyramid", "only_multi_level", "only_final_level"] = "pyramid"
  width: float = 1.0
  batch_norm_momentum: float = 0.001


VARIANTS = {
  "base": TSFPConfig(),
  "only_multi_level": TSFPConfig(architecture="only_multi_level"),
  "only_final_level": TSFPConfig(architecture="only_final_level"),
  "small": TSFPConfig(width=0.25),
  "tiny": TSFPConfig(width=0.0625, length=8, size=(32, 64)),
}

_PYRAMID_CHANNELS = 192
_DECODER_CHANNELS = 128
_LEVELS = (1, 2, 3, 4)
# Steps in time of base1 .. base4 for each of the pyramid's T/8 steps.
_TIME_FACTORS = (4, 4, 2, 1)


class Pyramid(nnx.Module):
  """The temporal-spatial feature pyramid: lateral convolutions and the top-down path.

  The lateral convolutions compress time to the T/8 steps of base4, so that the levels can be added
  and the decoders cost less than the encoder.
  """

  def __init__(self, inputs: tuple[int, ...], outputs: int, dtype: str, rngs: nnx.Rngs) -> None:
    for level, (c, k) in enumerate(zip(inputs, _TIME_FACTORS), start=1):
      lateral = nn.Conv(c, outputs, (k, 1, 1), (k, 1, 1), dtype=dtype, rngs=rngs)
      setattr(self, f"lateral{level}", lateral)

  def __call__(self, stages: s3d.Stages) -> list[jax.Array]:
    """Computes levels [b, t/8, h/4 .. h/32, w/4 .. w/32, outputs] from the encoder's outputs."""
    laterals = parts(self, "lateral", _LEVELS)
    levels = [lateral(stage) for lateral, stage in zip(laterals, stages)]
    for i in (2, 1, 0):
      levels[i] += nn.upsample(levels[i + 1], (1, 2, 2))
    return levels


class MultiLevel(nnx.Module):
  """The ablation without a top-down path: 1x1x1 convolutions to one width (section 4.5).

  Time is averaged to T/8 steps; without that, the decoders would compute up to T/2 steps.
  """

  def __init__(self, inputs: tuple[int, ...], outputs: int, dtype: str, rngs: nnx.Rngs) -> None:
    for level, c in enumerate(inputs, start=1):
      setattr(self, f"lateral{level}", nn.Conv(c, outputs, (1, 1, 1), dtype=dtype, rngs=rngs))

  def __call__(self, stages: s3d.Stages) -> list[jax.Array]:
    """Computes levels [b, t/8, h/4 .. h/32, w/4 .. w/32, outputs] from the encoder's outputs."""
    laterals = parts(self, "lateral", _LEVELS)
    levels = []
    for lateral, stage, k in zip(laterals, stages, _TIME_FACTORS):
      b, t, h, w, c = stage.shape
      levels.append(lateral(stage.reshape(b, t // k, k, h, w, c).mean(axis=2)))
    return levels


class Decoder(nnx.Module):
  """The decoder of one level, up to a quarter of the frame's size.

  It is a sequence of 3x3x3 convolution, ReLU and upsampling of height and width by 2.
  """

  def __init__(self, level: int, inputs: int, outputs: int, dtype: str, rngs: nnx.Rngs) -> None:
    """Creates the decoder: level 1 has a convolution without upsampling, level 4 three of each."""
    self.upsamplings = level - 1
    self.convs = max(level - 1, 1)
    for i in range(1, self.convs + 1):
      c = outputs if i == self.convs else inputs
      unit = nn.Conv(inputs, c, (3, 3, 3), padding=(1, 1, 1), dtype=dtype, rngs=rngs)
      setattr(self, f"conv{i}", unit)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Takes [b, t, h/2^(level+1), w/2^(level+1), inputs]; returns [b, t, h/4, w/4, outputs]."""
    for i, unit in enumerate(parts(self, "conv", range(1, self.convs + 1))):
      x = jax.nn.relu(unit(x))
      if i < self.upsamplings:
        x = nn.upsample(x, (1, 2, 2))
    return x


class TSFPNet(SaliencyModel[TSFPConfig]):
  """TSFP-Net without audio (figure 1)."""

  def __init__(self, config: TSFPConfig, *, rngs: nnx.Rngs) -> None:
    """Creates the network; raises UserError if the encoder cannot halve the size or the length."""
    check_size(config.size)
    if config.length % 8 or config.length < 8:
      raise UserError(
        f"length is {config.length}: a clip has a multiple of 8 frames, such as "
        f"{max(8, round(config.length / 8) * 8)}."
      )
    super().__init__(config)
    encoder = s3d.S3DConfig(
      width=config.width, batch_norm_momentum=config.batch_norm_momentum, dtype=config.dtype
    )
    self.encoder = s3d.Encoder(encoder, rngs)
    inputs = s3d.stage_channels(config.width)
    features = s3d.channels(_PYRAMID_CHANNELS, config.width)
    decoded = s3d.channels(_DECODER_CHANNELS, config.width)
    if config.architecture == "pyramid":
      self.pyramid = Pyramid(inputs, features, config.dtype, rngs)
    elif config.architecture == "only_multi_level":
      self.pyramid = MultiLevel(inputs, features, config.dtype, rngs)
    else:
      self.lateral = nn.Conv(inputs[-1], features, (1, 1, 1), dtype=config.dtype, rngs=rngs)
    for level in self.levels:
      setattr(self, f"decoder{level}", Decoder(level, features, decoded, config.dtype, rngs))
    # This convolution reduces time and channels to one; bilinear upsampling follows ("UP" in figure
    # 1).
    self.output = nn.Conv(
      decoded, 1, (config.length // 8, 3, 3), padding=(0, 1, 1), dtype=config.dtype, rngs=rngs
    )

  @property
  def levels(self) -> tuple[int, ...]:
    """The numbers of the decoded levels; level 1 is the shallowest."""
    return _levels(self.config)

  def __call__(self, frames: jax.Array) -> jax.Array:
    """Predicts the map of the last frame.

    Args:
      frames: normalised frames [b, t, h, w, 3].

    Returns:
      float32 maps [b, h, w] in [0, 1].

    Raises:
      UserError: the clip has another length than the configuration, or a size that does not fit.
    """
    check_clip(frames, self.config)
    return self.from_stages(self.encoder(frames))

  def from_stages(self, stages: s3d.Stages) -> jax.Array:
    """Predicts float32 maps [b, h, w] in [0, 1] from the encoder's outputs."""
    return self.readout(self.decode(stages))

  def decode(self, stages: s3d.Stages) -> jax.Array:
    """Computes integrated features [b, t/8, h/4, w/4, c] from the outputs for frames of h x w."""
    if self.config.architecture == "only_final_level":
      features = [self.lateral(stages.base4)]
    else:
      features = self.pyramid(stages)
    decoders = parts(self, "decoder", self.levels)
    return functools.reduce(jnp.add, (decoder(x) for decoder, x in zip(decoders, features)))

  def readout(self, features: jax.Array) -> jax.Array:
    """Predicts float32 maps [b, h, w] in [0, 1] from integrated features [b, t/8, h/4, w/4, c]."""
    logits = self.output(features)[:, 0].astype(jnp.float32)
    _, h, w, _ = logits.shape
    logits = nn.resize(logits, (4 * h, 4 * w))
    return jax.nn.sigmoid(logits[..., 0])

  @staticmethod
  def table(config: TSFPConfig) -> Iterator[Entry]:
    """Yields the names of ViNet's checkpoints for the encoder, and our own for the rest."""
    yield from s3d.encoder_table(lambda stage, _: "backbone.base{}.{}".format(*stage), ("encoder",))
    levels = _levels(config)
    if config.architecture == "only_final_level":
      yield from conv("lateral", ("lateral",), bias=True)
    else:
      for level in levels:
        yield from conv(f"pyramid.lateral{level}", ("pyramid", f"lateral{level}"), bias=True)
    for level in levels:
      for i in range(max(level - 1, 1)):
        unit = (f"decoder{level}", f"conv{i + 1}")
        yield from conv(".".join(unit), unit, bias=True)
    yield from conv("output", ("output",), bias=True)


def _levels(config: TSFPConfig) -> tuple[int, ...]:
  return (4,) if config.architecture == "only_final_level" else _LEVELS
