"""TASED-Net: a temporally-aggregating spatial encoder-decoder network.

Min and Corso, TASED-Net: Temporally-Aggregating Spatial Encoder-Decoder Network for Video Saliency
Detection, ICCV 2019. The variant `base` is the one of the authors' PyTorch code, whose checkpoints
load. Where the paper leaves a choice open about the other variants, it is made here.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal import nn
from jaxsal.errors import UserError
from jaxsal.models import s3d
from jaxsal.models._base import SaliencyConfig, SaliencyModel
from jaxsal.models._geometry import check_clip, check_size
from jaxsal.models._table import Entry, batch_norm, conv, conv_transpose


@dataclasses.dataclass(frozen=True, kw_only=True)
class TASEDConfig(SaliencyConfig):
  """Configuration of TASED-Net; the defaults are the paper's.

  Attributes:
    length: T, number of frames in a clip: 4, 8 or a multiple of 16 (the paper compares 4 to 64,
      table 5).
    size: height and width, multiples of 32.
    upsampling: upsampling after the spatial decoding blocks: `unpool`, with the switches of the
      auxiliary poolings, or without switches, `trilinear` (TASED-Net-tri) or `transposed`
      (TASED-Net-trp).
    aggregation: order in which the prediction network reduces time to one step, see `Aggregation`.
    width: factor on every channel count.
    batch_norm_momentum: see `jaxsal.models.s3d.S3DConfig`.
    dtype: type that the convolutions compute in. With `unpool`, it is the type of the prediction
      network alone; the encoder, whose maxima are the switches, stays in float32.
  """

  padding: Literal["repeat", "loop"] = "loop"
  mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
  std: tuple[float, float, float] = (0.5, 0.5, 0.5)
  upsampling: Literal["unpool", "trilinear", "transposed"] = "unpool"
  aggregation: Literal["late", "early_two_step", "late_two_step"] = "late_two_step"
  width: float = 1.0
  batch_norm_momentum: float = 0.001

  @property
  def temporal_kernels(self) -> tuple[int, int]:
    """The extents p and q of the two temporal convolutions, which reduce time to one step."""
    return (2, self.length // 16) if self.length >= 16 else (1, 1)


VARIANTS = {
  "base": TASEDConfig(),
  "small": TASEDConfig(width=0.25),
  "tiny": TASEDConfig(width=0.0625, length=8, size=(32, 64)),
  # Table 1: temporal aggregation; the clip's length is another field.
  "late": TASEDConfig(aggregation="late"),
  "early_two_step": TASEDConfig(aggregation="early_two_step"),
  # Table 4: without auxiliary pooling.
  "tri": TASEDConfig(upsampling="trilinear"),
  "trp": TASEDConfig(upsampling="transposed"),
}

# Channels at half the frame's size, and at its size.
_AGGREGATED = (64, 4)
# Window, stride and padding of the poolings that the unpoolings undo: after base3, and after base2
# and base1.
_POOL3 = ((1, 2, 2), (1, 2, 2), (0, 0, 0))
_POOL = ((1, 3, 3), (1, 2, 2), (0, 1, 1))
# Kernel, stride and padding of a transposed convolution that doubles height and width.
_DOUBLING = ((1, 4, 4), (1, 2, 2), (0, 1, 1))
# Order of the parts of the temporal aggregation; see `Aggregation`.
_ORDERS = {
  "late_two_step": ("up1", "p", "reduce", "q", "up2"),
  "early_two_step": ("p", "up1", "reduce", "q", "up2"),
  "late": ("up1", "reduce", "up2", "all"),
}


class Unit(nnx.Module):
  """A convolution, plain or transposed, without bias, then batch normalisation and ReLU."""

  def __init__(self, conv: nn.Conv, momentum: float) -> None:
    self.conv = conv
    self.bn = nn.BatchNorm(conv.kernel.shape[-1], momentum=momentum, epsilon=s3d.BATCH_NORM_EPSILON)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Takes [b, t, h, w, inputs]; returns [b, t', h', w', outputs]."""
    return jax.nn.relu(self.bn(self.conv(x)))


class Aggregation(nnx.Module):
  """The temporal aggregation, from features at a quarter of the frame's size to logits (figure 4).

  Two transposed convolutions, up1 and up2, double height and width, and temporal convolutions
  reduce time to one step. There are three orders:

  - late_two_step: up1, p, reduce, q, up2, as in the authors' code.
  - early_two_step: a temporal convolution before each upsampling: p, up1, reduce, q, up2.
  - late: a single temporal convolution over all steps, after both: up1, reduce, up2, all.

  Every convolution is followed by batch normalisation and ReLU, except an up2 that is directly
  before the output's 1x1x1 convolution.
  """

  def __init__(self, inputs: int, config: TASEDConfig, rngs: nnx.Rngs) -> None:
    options = {"use_bias": False, "dtype": config.dtype, "rngs": rngs}
    momentum = config.batch_norm_momentum
    c1, c2 = (s3d.channels(c, config.width) for c in _AGGREGATED)
    p, q = config.temporal_kernels

    def temporal(channels: int, k: int) -> Unit:
      return Unit(nn.Conv(channels, channels, (k, 1, 1), (k, 1, 1), **options), momentum)

    self.order = _ORDERS[config.aggregation]
    self.up1 = Unit(nn.ConvTranspose(inputs, c1, *_DOUBLING, **options), momentum)
    self.reduce = Unit(nn.ConvTranspose(c1, c2, (1, 1, 1), **options), momentum)
    self.up2 = nn.ConvTranspose(c2, c2, *_DOUBLING, **options)
    if config.aggregation == "late":
      self.up2 = Unit(self.up2, momentum)
      self.all = temporal(c2, p * q)
    else:
      self.p = temporal(inputs if config.aggregation == "early_two_step" else c1, p)
      self.q = temporal(c2, q)
    self.output = nn.Conv(c2, 1, (1, 1, 1), dtype=config.dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Takes [b, p*q, h/4, w/4, inputs]; returns [b, 1, h, w, 1]."""
    for name in self.order:
      x = getattr(self, name)(x)
    return self.output(x)


class PredictionNetwork(nnx.Module):
  """The prediction network (figure 2): spatial decoding, then temporal aggregation."""

  def __init__(self, config: TASEDConfig, rngs: nnx.Rngs) -> None:
    options = {"use_bias": False, "dtype": config.dtype, "rngs": rngs}
    momentum = config.batch_norm_momentum
    base1, base2, base3, base4 = s3d.stage_channels(config.width)
    self.upsampling = config.upsampling
    self.redistribute = Unit(nn.Conv(base4, base4, (1, 1, 1), **options), momentum)
    inputs = base4
    for i, outputs in enumerate((base3, base2, base1), start=1):
      block = nn.ConvTranspose(inputs, outputs, (1, 3, 3), padding=(0, 1, 1), **options)
      setattr(self, f"decode{i}", Unit(block, momentum))
      if self.upsampling == "transposed":
        up = nn.ConvTranspose(outputs, outputs, *_DOUBLING, **options)
        setattr(self, f"up{i}", Unit(up, momentum))
      inputs = outputs
    self.aggregation = Aggregation(inputs, config, rngs)

  def __call__(self, stages: s3d.Stages) -> jax.Array:
    """Takes the encoder's outputs for frames of h x w; returns the map's logits [b, 1, h, w, 1]."""
    x = self.redistribute(stages.base4)
    pooled = ((stages.base3, _POOL3), (stages.base2, _POOL), (stages.base1, _POOL))
    for i, (stage, pool) in enumerate(pooled, start=1):
      x = getattr(self, f"decode{i}")(x)
      if self.upsampling == "unpool":
        steps, (_, _, h, w, _) = x.shape[1], stage.shape
        x = nn.max_unpool3d(x, auxiliary_pooling(stage, steps, pool), (steps, h, w), *pool)
      elif self.upsampling == "trilinear":
        x = nn.upsample(x, (1, 2, 2))
      else:
        x = getattr(self, f"up{i}")(x)
    return self.aggregation(x)


def auxiliary_pooling(
  stage: jax.Array, steps: int, pool: tuple[tuple[int, int, int], ...]
) -> jax.Array:
  """Computes the switches for the unpooling of features with fewer steps in time (figure 3).

  Args:
    stage: an output of the encoder [b, t, h, w, c].
    steps: number of steps in time of the features.
    pool: window, stride and padding of the pooling in space.

  Returns:
    Switches [b, steps, h/2, w/2, c].
  """
  k = stage.shape[1] // steps
  pooled = nn.max_pool3d(stage, (k, 1, 1), (k, 1, 1))
  return nn.max_pool3d_with_switches(pooled, *pool)[1]


class TASEDNet(SaliencyModel[TASEDConfig]):
  """TASED-Net (figure 2) and its variants."""

  def __init__(self, config: TASEDConfig, *, rngs: nnx.Rngs) -> None:
    """Creates the network; raises UserError if it cannot have the size or the length."""
    check_size(config.size)
    if config.length not in (4, 8) and (config.length % 16 or config.length < 16):
      raise UserError(
        f"length is {config.length}: TASED-Net takes 4, 8 or a multiple of 16 frames, such as "
        f"{max(16, round(config.length / 16) * 16)}."
      )
    super().__init__(config)
    # Rounded features would move the switches: the CC of the map and float32's would fall to 0.91.
    dtype = "float32" if config.upsampling == "unpool" else config.dtype
    encoder = s3d.S3DConfig(
      width=config.width, batch_norm_momentum=config.batch_norm_momentum, dtype=dtype
    )
    self.encoder = s3d.Encoder(encoder, rngs)
    self.prediction = PredictionNetwork(config, rngs)

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
    logits = self.prediction(stages)
    return jax.nn.sigmoid(logits[:, 0, :, :, 0].astype(jnp.float32))

  @staticmethod
  def table(config: TASEDConfig) -> Iterator[Entry]:
    """Yields the names in the order of the authors' code; the variants continue its numbers."""
    yield from s3d.encoder_table(lambda stage, _: "base{}.{}".format(*stage), ("encoder",))
    yield from _unit("convtsp1.0", "convtsp1.1", ("prediction", "redistribute"), conv)
    for i, first in ((1, 3), (2, 0), (3, 0)):  # Block, and its index in the Sequential.
      name = f"convtsp{i}"
      yield from _unit(f"{name}.{first}", f"{name}.{first + 1}", ("prediction", f"decode{i}"))
      if config.upsampling == "transposed":
        yield from _unit(f"{name}.{first + 3}", f"{name}.{first + 4}", ("prediction", f"up{i}"))
    index = 0
    for part in _ORDERS[config.aggregation]:
      path, name = ("prediction", "aggregation", part), f"convtsp4.{index}"
      if part == "up2" and config.aggregation != "late":
        yield from conv_transpose(name, path, bias=False)
        index += 1
      else:
        row = conv_transpose if part in ("up1", "reduce", "up2") else conv
        yield from _unit(name, f"convtsp4.{index + 1}", path, row)
        index += 3
    yield from conv(f"convtsp4.{index}", ("prediction", "aggregation", "output"), bias=True)


def _unit(
  conv_name: str,
  bn_name: str,
  path: tuple[str, ...],
  row: Callable[..., Iterator[Entry]] = conv_transpose,
) -> Iterator[Entry]:
  yield from row(conv_name, (*path, "conv"), bias=False)
  yield from batch_norm(bn_name, (*path, "bn"))
