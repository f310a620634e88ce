"""ViNet: the visual-only network of AViNet.

Jain et al., ViNet: Pushing the limits of Visual Modality for Audio-Visual Saliency Prediction, IROS
2021. ViNet is a U-Net on S3D: 3-D convolutions and upsampling, with the encoder's features
concatenated at each level. The authors' PyTorch checkpoints load into the variants whose code they
published. Where the paper leaves a choice open about the other variants, it is made here.
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
from jaxsal.models._table import Entry, conv, conv_transpose


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViNetConfig(SaliencyConfig):
  """Configuration of ViNet; the defaults are the paper's.

  Attributes:
    length: T, number of frames in a clip: 8 or a multiple of 16 (the paper compares 8, 16, 32 and
      48, table 2).
    size: height and width, multiples of 32.
    levels: number of the encoder's multi-level features that are concatenated, the deepest first:
      from 0 (`without hierarchy`, table 1) to 3.
    upsampling: `trilinear`, or `transposed` 4 x 4 convolutions (section 4.4).
    concatenation: axis of the concatenation of the multi-level features, `time` or `channels`
      (section 4.4). With `channels`, they are max-pooled to the decoder's steps in time, and the
      kernels keep their extent in time, so that there are more parameters, as the paper says.
    width: factor on every channel count.
    batch_norm_momentum: see `jaxsal.models.s3d.S3DConfig`.
  """

  levels: int = 3
  upsampling: Literal["trilinear", "transposed"] = "trilinear"
  concatenation: Literal["time", "channels"] = "time"
  width: float = 1.0
  batch_norm_momentum: float = 0.001

  @property
  def temporal_kernels(self) -> tuple[int, int]:
    """The extents in time of the two convolutions that reduce the decoder's T/8 steps to one."""
    first = min(2, self.length // 8)
    return first, self.length // 8 // first


VARIANTS = {
  "base": ViNetConfig(),
  "small": ViNetConfig(width=0.25),
  "tiny": ViNetConfig(width=0.0625, length=8, size=(32, 64)),
  # Table 1 and the levels between its rows; the clip's length (table 2) is another field.
  "no_hierarchy": ViNetConfig(levels=0),
  "one_level": ViNetConfig(levels=1),
  "two_levels": ViNetConfig(levels=2),
  # Section 4.4.
  "transposed": ViNetConfig(upsampling="transposed"),
  "channels": ViNetConfig(concatenation="channels"),
}

# Channels of the decoding layers D4 and D5; D6 has as many as D5.
_LAST_CHANNELS = (64, 32)
# Steps in time after the concatenation in D2, D3 and D4, for each of the decoder's steps.
_TIME_FACTORS = (3, 5, 5)


class DecodingLayer(nnx.Module):
  """A decoding layer: a convolution, ReLU, and upsampling of height and width by 2.

  If the layer has a feature of the encoder, this is concatenated with the input first.
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    config: ViNetConfig,
    rngs: nnx.Rngs,
    *,
    time: int = 1,
    skip: bool = False,
  ) -> None:
    """Creates the layer.

    Args:
      inputs: number of channels of the input, and of the encoder's feature.
      outputs: number of channels of the output.
      config: configuration of the network.
      rngs: source of the random weights.
      time: extent of the kernel in time, and without a concatenation over channels also its stride.
      skip: whether the layer is given an encoder's feature.
    """
    options = {"use_bias": False, "dtype": config.dtype, "rngs": rngs}
    self.over_channels = skip and config.concatenation == "channels"
    if self.over_channels:
      stride, padding, inputs = 1, time // 2, 2 * inputs
    else:
      stride, padding = time, 0
    self.conv = nn.Conv(inputs, outputs, (time, 3, 3), (stride, 1, 1), (padding, 1, 1), **options)
    self.upsampling = config.upsampling
    if self.upsampling == "transposed":
      self.up = nn.ConvTranspose(outputs, outputs, (1, 4, 4), (1, 2, 2), (0, 1, 1), **options)

  def __call__(self, x: jax.Array, feature: jax.Array | None = None) -> jax.Array:
    """Decodes features.

    Args:
      x: output of the layer before, [b, t, h, w, inputs].
      feature: output of the encoder, [b, t', h, w, inputs], if the layer has one.

    Returns:
      [b, t, 2h, 2w, outputs].
    """
    if feature is not None:
      if self.over_channels:
        k = feature.shape[1] // x.shape[1]
        feature = nn.max_pool3d(feature, (k, 1, 1), (k, 1, 1))
      x = jnp.concatenate([x, feature], axis=-1 if self.over_channels else 1)
    x = jax.nn.relu(self.conv(x))
    return self.up(x) if self.upsampling == "transposed" else nn.upsample(x, (1, 2, 2))


class Decoder(nnx.Module):
  """The decoder, with six decoding layers D1 .. D6 (section 3.3)."""

  def __init__(self, config: ViNetConfig, rngs: nnx.Rngs) -> None:
    # The first layers have the channels of the features that they are concatenated with.
    last = [s3d.channels(c, config.width) for c in _LAST_CHANNELS]
    channels = [*reversed(s3d.stage_channels(config.width)), *last]
    p, q = config.temporal_kernels
    layer = functools.partial(DecodingLayer, config=config, rngs=rngs)
    self.levels = config.levels
    self.d1 = layer(channels[0], channels[1])
    for i, factor in enumerate(_TIME_FACTORS, start=2):
      skip = i - 2 < config.levels
      unit = layer(channels[i - 1], channels[i], time=factor if skip else 1, skip=skip)
      setattr(self, f"d{i}", unit)
    self.d5 = layer(channels[4], channels[5], time=p)
    self.steps = q
    if self.steps > 1:
      # The published code has a bias here for 48 frames, but none for 32.
      options = {"use_bias": _d6_has_bias(config), "dtype": config.dtype, "rngs": rngs}
      self.d6 = nn.Conv(channels[5], channels[5], (q, 1, 1), (q, 1, 1), **options)
    self.output = nn.Conv(channels[5], 1, (1, 1, 1), dtype=config.dtype, rngs=rngs)

  def __call__(self, stages: s3d.Stages) -> jax.Array:
    """Takes the encoder's outputs for frames of h x w; returns the map's logits [b, 1, h, w, 1]."""
    features = (stages.base3, stages.base2, stages.base1)[: self.levels]
    x = self.d1(stages.base4)
    for i, layer in enumerate(parts(self, "d", (2, 3, 4))):
      x = layer(x, features[i] if i < self.levels else None)
    x = self.d5(x)
    if self.steps > 1:
      x = jax.nn.relu(self.d6(x))
    return self.output(x)


class ViNet(SaliencyModel[ViNetConfig]):
  """ViNet (figure 2, without the audio branch) and its variants."""

  def __init__(self, config: ViNetConfig, *, rngs: nnx.Rngs) -> None:
    """Creates the network; raises UserError if it cannot have the size, length or levels."""
    check_size(config.size)
    if config.length != 8 and (config.length % 16 or config.length < 16):
      raise UserError(
        f"length is {config.length}: ViNet takes 8 or a multiple of 16 frames, such as "
        f"{max(16, round(config.length / 16) * 16)}."
      )
    if config.levels not in range(4):
      raise UserError(f"levels is {config.levels}: it must be 0, 1, 2 or 3.")
    super().__init__(config)
    encoder = s3d.S3DConfig(
      width=config.width, batch_norm_momentum=config.batch_norm_momentum, dtype=config.dtype
    )
    self.encoder = s3d.Encoder(encoder, rngs)
    self.decoder = Decoder(config, rngs)

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
    logits = self.decoder(stages)
    return jax.nn.sigmoid(logits[:, 0, :, :, 0].astype(jnp.float32))

  @staticmethod
  def table(config: ViNetConfig) -> Iterator[Entry]:
    """Yields the names in the order of the authors' code.

    A decoding layer is a sequence there: 0 is the convolution, and 2 the upsampling.
    """
    yield from s3d.encoder_table(lambda stage, _: "backbone.base{}.{}".format(*stage), ("encoder",))
    names = [*(f"convtsp{i}.{{}}" for i in (1, 2, 3, 4)), "convtsp4.{}"]
    for i, name in enumerate(names, start=1):
      first = 3 if i == 5 else 0
      path = ("decoder", f"d{i}")
      yield from conv(f"decoder.{name.format(first)}", (*path, "conv"), bias=False)
      if config.upsampling == "transposed":
        yield from conv_transpose(f"decoder.{name.format(first + 2)}", (*path, "up"), bias=False)
    index = 6
    if config.temporal_kernels[1] > 1:
      yield from conv("decoder.convtsp4.6", ("decoder", "d6"), bias=_d6_has_bias(config))
      index = 8
    yield from conv(f"decoder.convtsp4.{index}", ("decoder", "output"), bias=True)


def _d6_has_bias(config: ViNetConfig) -> bool:
  return config.temporal_kernels[1] != 2
