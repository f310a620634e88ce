"""GFSalNet: two streams, appearance and motion, and a gate that weighs them at every pixel.

Kocak, Erdem and Erdem, A Gated Fusion Network for Dynamic Saliency Prediction, IEEE TCDS 2021. The
parts are named as in figures 2 and 3. The paper is the source; where it leaves a choice open, it is
made here, and a comment says so.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal import nn
from jaxsal.errors import UserError
from jaxsal.models import resnet
from jaxsal.models._base import SaliencyConfig, SaliencyModel
from jaxsal.models._parts import parts
from jaxsal.models._table import Entry, conv2d, linear, under
from jaxsal.models._weights import SavedModel, set_arrays
from jaxsal.models.s3d import channels
from jaxsal.nn.init import kernel_init


@dataclasses.dataclass(frozen=True, kw_only=True)
class GFSalConfig(SaliencyConfig):
  """Configuration of GFSalNet; the defaults are the paper's.

  Attributes:
    length: number of frames in a clip, always 1: motion is in the image of the optical flow.
    size: height and width of the frames and the flow images (section IV-B).
    streams: `both`, or a single stream: `appearance` takes the frame (it is trained on SALICON, and
      called `spatial` in tables I to VI), `temporal` the flow image.
    fusion: fusion of the two streams: `gated` (section III-C), or a 1 x 1 `convolution` (table
      VII).
    multi_level: whether a stream has the multi-level information block (section III-A).
    spatial_attention: whether a stream has the spatial attention block (section III-B).
    channel_attention: whether a stream has the channel-wise attention block (section III-B).
    width: factor on every channel count.
    blocks: numbers of residual units in the four layers of ResNet.
    batch_norm_momentum: weight of a new batch in the running statistics.
    flow: method that computed the optical flow for training (`jaxsal.data.flow.Estimator.method`);
      the trainer sets it, and prediction uses the same method.
  """

  length: int = 1
  size: tuple[int, int] = (480, 640)
  streams: Literal["both", "appearance", "temporal"] = "both"
  fusion: Literal["gated", "convolution"] = "gated"
  multi_level: bool = True
  spatial_attention: bool = True
  channel_attention: bool = True
  width: float = 1.0
  blocks: tuple[int, int, int, int] = resnet.BLOCKS
  batch_norm_momentum: float = 0.1
  flow: str = "dis"

  @property
  def encoder(self) -> resnet.ResNetConfig:
    """The configuration of each stream's ResNet-50."""
    return resnet.ResNetConfig(
      width=self.width,
      blocks=self.blocks,
      batch_norm_momentum=self.batch_norm_momentum,
      dtype=self.dtype,
    )


VARIANTS = {
  "base": GFSalConfig(),
  "small": GFSalConfig(width=0.25),
  "tiny": GFSalConfig(width=0.0625, blocks=(1, 1, 1, 1), size=(64, 64)),
  # Tables I to VI: single streams.
  "spatial": GFSalConfig(streams="appearance"),
  "temporal": GFSalConfig(streams="temporal"),
  # Table VII: ablations.
  "no_spatial_attention": GFSalConfig(spatial_attention=False),
  "no_channel_attention": GFSalConfig(channel_attention=False),
  "no_attention": GFSalConfig(spatial_attention=False, channel_attention=False),
  "no_multi_level": GFSalConfig(multi_level=False),
  "no_gated_fusion": GFSalConfig(fusion="convolution"),
}

# Channels of the features before the prediction, and inside the channel-wise attention (section
# III-B). The paper does not say how many of the features come from the main stream and how many
# from the multi-level block; here it is one half each.
_FEATURES = 96
_BOTTLENECK = 24
# Channels of the multi-level block's convolutions, at the sizes of ResBlocks 3, 2 and 1. The last
# number follows from the halves above. The paper leaves the others open; here they double as the
# size is halved.
_MULTI_LEVEL = (192, 96, 48)
# Initial factor from the difference of the streams' maps to the gate's logits: P is 0.02 to 0.98.
_START = 4.0


class MultiLevelInformation(nnx.Module):
  """The multi-level information block (figure 2b-i), from ResBlock4 to the size of ResBlock1."""

  def __init__(self, config: GFSalConfig, rngs: nnx.Rngs) -> None:
    *shallower, inputs = resnet.stage_channels(config.width)
    for block, count in zip((3, 2, 1), _MULTI_LEVEL):
      outputs = channels(count, config.width)
      conv = nn.Conv2d(inputs + shallower[block - 1], outputs, 1, dtype=config.dtype, rngs=rngs)
      setattr(self, f"fuse{block}", conv)
      inputs = outputs

  def __call__(self, stages: resnet.Stages) -> jax.Array:
    """Fuses the encoder's outputs to features [b, h, w, c] at the size of ResBlock1."""
    x = stages.layer4
    for fuse, block in zip(parts(self, "fuse", (3, 2, 1)), stages[2::-1]):
      x = jnp.concatenate([nn.resize(x, block.shape[1:3]), block], axis=-1)
      x = jax.nn.relu(fuse(x))
    return x


class SpatialAttention(nnx.Module):
  """The spatial attention block (figure 2b-ii): a weight for every position."""

  def __init__(self, inputs: int, dtype: str, rngs: nnx.Rngs) -> None:
    self.conv = nn.Conv2d(inputs, 1, 1, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Weights features [b, h, w, c]."""
    return x * jax.nn.sigmoid(self.conv(x))


class ChannelAttention(nnx.Module):
  """The channel-wise attention block (figure 2b-iii): a weight for every channel.

  All weights start at one. In the paper a ReLU follows the last layer; a channel whose weight
  started below zero would never get a gradient.
  """

  def __init__(self, config: GFSalConfig, rngs: nnx.Rngs) -> None:
    features, inner = (channels(c, config.width) for c in (_FEATURES, _BOTTLENECK))
    self.fc1 = nnx.Linear(features, inner, kernel_init=kernel_init, rngs=rngs)
    init = nnx.initializers
    self.fc2 = nnx.Linear(
      inner, features, kernel_init=init.zeros_init(), bias_init=init.ones_init(), rngs=rngs
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    """Weights features [b, h, w, c]."""
    weights = jax.nn.relu(self.fc1(x.astype(jnp.float32).mean(axis=(1, 2))))
    weights = jax.nn.relu(self.fc2(weights)).astype(x.dtype)
    return x * weights[:, None, None]


class Stream(nnx.Module):
  """A stream (figure 2a), from an image to a saliency map.

  A 1 x 1 convolution reduces the channels of the main stream, which is then resized to the
  multi-level features and concatenated with them; the prediction is another 1 x 1 convolution. In a
  stream without the multi-level block, all channels are the main stream's, at ResBlock4's size.
  """

  def __init__(self, config: GFSalConfig, rngs: nnx.Rngs) -> None:
    self.config = config
    self.encoder = resnet.Encoder(config.encoder, rngs)
    inputs = resnet.stage_channels(config.width)[-1]
    main = features = channels(_FEATURES, config.width)
    if config.spatial_attention:
      self.spatial_attention = SpatialAttention(inputs, config.dtype, rngs)
    if config.multi_level:
      self.multi_level = MultiLevelInformation(config, rngs)
      main -= channels(_MULTI_LEVEL[-1], config.width)
    self.main = nn.Conv2d(inputs, main, 1, dtype=config.dtype, rngs=rngs)
    if config.channel_attention:
      self.channel_attention = ChannelAttention(config, rngs)
    self.prediction = nn.Conv2d(features, 1, 1, dtype=config.dtype, rngs=rngs)

  def __call__(self, images: jax.Array) -> jax.Array:
    """Takes normalised images [b, h, w, 3]; returns float32 maps [b, h, w] in [0, 1]."""
    stages = self.encoder(images)
    x = stages.layer4
    if self.config.spatial_attention:
      x = self.spatial_attention(x)
    x = jax.nn.relu(self.main(x))
    if self.config.multi_level:
      levels = self.multi_level(stages)
      x = jnp.concatenate([nn.resize(x, levels.shape[1:3]), levels], axis=-1)
    if self.config.channel_attention:
      x = self.channel_attention(x)
    logits = self.prediction(x).astype(jnp.float32)
    return jax.nn.sigmoid(nn.resize(logits, images.shape[1:3])[..., 0])

  def copy_from(self, saved: SavedModel) -> None:
    """Copies the weights of a GFSalNet of a single stream into this stream.

    Raises:
      UserError: the model folder holds something else, or the parameters differ.
    """
    if not _is_single_stream(saved):
      raise UserError(
        f"{saved.file.parent} holds a {saved.name}: a stream starts from a GFSalNet of one stream, "
        "such as the variants spatial and temporal."
      )
    prefix = f"{saved.config.streams}."
    weights = {name.removeprefix(prefix): value for name, value in saved.weights.items()}
    set_arrays(self, weights, source=str(saved.file))


class GatedFusion(nnx.Module):
  """The gated fusion block (figure 3).

  At the start, the gate prefers at every pixel the stream with the higher value: its logits are
  4 (S_A - S_T). The paper leaves the start open. It matters, because the gate is three numbers,
  which at the learning rate of all others stay near their start.

  If `gated` is False, the block is the one of `w/o gated fusion` (table VII): a convolution, which
  weighs the streams alike at all pixels.
  """

  def __init__(self, rngs: nnx.Rngs, *, gated: bool) -> None:
    self.gated = gated
    self.conv = nn.Conv2d(2, 1, 1, rngs=rngs)
    if gated:
      self.conv.kernel[...] = jnp.reshape(jnp.array([_START, -_START], jnp.float32), (1, 1, 2, 1))

  def __call__(
    self, appearance: jax.Array, temporal: jax.Array
  ) -> tuple[jax.Array, jax.Array | None]:
    """Fuses the streams' maps (equations 1 to 3).

    Args:
      appearance: S_A, [b, h, w].
      temporal: S_T, [b, h, w].

    Returns:
      S = S_A P + S_T (1 - P), and P, or None without a gate; both are [b, h, w].
    """
    y = jax.nn.sigmoid(self.conv(jnp.stack([appearance, temporal], axis=-1))[..., 0])
    return (appearance * y + temporal * (1 - y), y) if self.gated else (y, None)


class Maps(NamedTuple):
  """The maps that GFSalNet computes, float32 [b, h, w] in [0, 1].

  Attributes:
    saliency: S, the prediction.
    gate: P, weight of the appearance stream; the temporal stream has 1 - P. None without a gate.
    appearance: S_A, map of the appearance stream; None without this stream.
    temporal: S_T, map of the temporal stream; None without this stream.
  """

  saliency: jax.Array
  gate: jax.Array | None
  appearance: jax.Array | None
  temporal: jax.Array | None


class GFSalNet(SaliencyModel[GFSalConfig]):
  """GFSalNet (figure 2) and its variants.

  Unlike the other networks, it takes single frames, each with an image of its optical flow (see
  `jaxsal.data.flow`). Frames and flow images are normalised by the same constants.
  """

  def __init__(self, config: GFSalConfig, *, rngs: nnx.Rngs) -> None:
    """Creates the network; raises UserError for a length other than 1."""
    if config.length != 1:
      raise UserError(
        f"length is {config.length}: GFSalNet takes one frame and its flow, so it must be 1."
      )
    super().__init__(config)
    if config.streams != "temporal":
      self.appearance = Stream(config, rngs)
    if config.streams != "appearance":
      self.temporal = Stream(config, rngs)
    if config.streams == "both":
      self.fusion = GatedFusion(rngs, gated=config.fusion == "gated")

  @property
  def needs_flow(self) -> bool:
    """Whether a batch must contain `flow`."""
    return self.config.streams != "appearance"

  @property
  def streams(self) -> tuple[Stream, ...]:
    """The streams that the variant has."""
    names = ("appearance", "temporal") if self.config.streams == "both" else (self.config.streams,)
    return tuple(getattr(self, name) for name in names)

  @property
  def encoders(self) -> tuple[resnet.Encoder, ...]:
    """The encoders of the streams."""
    return tuple(stream.encoder for stream in self.streams)

  def __call__(self, frames: jax.Array | None, flow: jax.Array | None = None) -> jax.Array:
    """Predicts float32 maps [b, h, w] in [0, 1].

    Args:
      frames: normalised frames [b, h, w, 3]; a single temporal stream does not use them.
      flow: normalised flow images [b, h, w, 3]; a single appearance stream does not use them.

    Raises:
      UserError: a needed input is missing or not [b, h, w, 3], or the two differ in shape.
    """
    return self.maps(frames, flow).saliency

  def maps(self, frames: jax.Array | None, flow: jax.Array | None = None) -> Maps:
    """Computes the prediction and the maps of the streams and the gate; see `__call__`."""
    images = {"appearance": frames, "temporal": flow}
    if self.config.streams != "both":
      images = {self.config.streams: images[self.config.streams]}
    _check_images(images)
    maps = {stream: getattr(self, stream)(x) for stream, x in images.items()}
    if self.config.streams != "both":
      return Maps(maps[self.config.streams], None, maps.get("appearance"), maps.get("temporal"))
    saliency, gate = self.fusion(maps["appearance"], maps["temporal"])
    return Maps(saliency, gate, maps["appearance"], maps["temporal"])

  def from_batch(self, batch: Mapping[str, jax.Array]) -> jax.Array:
    """Returns maps [b, h, w] for a batch of uint8 `frames` and `flow` images."""
    return self.maps_from_batch(batch).saliency

  def maps_from_batch(self, batch: Mapping[str, jax.Array]) -> Maps:
    """Returns all maps for a batch of uint8 `frames` and `flow` images."""
    flow = self.normalise(batch["flow"]) if "flow" in batch else None
    return self.maps(self.normalise(batch["frames"])[:, 0], flow)

  def copy_from(self, saved: SavedModel) -> None:
    """Copies the weights of a model folder into the network.

    The weights of a single stream are copied into every stream, and the fusion is unchanged.

    Raises:
      UserError: the parameters differ.
    """
    if not _is_single_stream(saved):
      super().copy_from(saved)
      return
    for stream in self.streams:
      stream.copy_from(saved)

  @staticmethod
  def table(config: GFSalConfig) -> Iterator[Entry]:
    """Yields torchvision's names for the encoders, and our own for the rest."""
    for name in ("appearance", "temporal"):
      if config.streams in ("both", name):
        yield from under(name, name, _stream_table(config))
    if config.streams == "both":
      yield from conv2d("fusion.conv", ("fusion", "conv"))


def _is_single_stream(saved: SavedModel) -> bool:
  return saved.network is GFSalNet and saved.config.streams != "both"


def _stream_table(config: GFSalConfig) -> Iterator[Entry]:
  yield from under("encoder", "encoder", resnet.encoder_table(config.blocks))
  if config.spatial_attention:
    yield from conv2d("spatial_attention.conv", ("spatial_attention", "conv"))
  if config.multi_level:
    for i in (3, 2, 1):
      yield from conv2d(f"multi_level.fuse{i}", ("multi_level", f"fuse{i}"))
  yield from conv2d("main", ("main",))
  if config.channel_attention:
    for i in (1, 2):
      yield from linear(f"channel_attention.fc{i}", ("channel_attention", f"fc{i}"))
  yield from conv2d("prediction", ("prediction",))


def _check_images(images: dict[str, jax.Array | None]) -> None:
  shapes = []
  for stream, x in images.items():
    if x is None or x.ndim != 4 or x.shape[-1] != 3:
      have = "nothing" if x is None else f"shape {x.shape}"
      raise UserError(f"the {stream} stream takes images [b, h, w, 3], and was given {have}.")
    shapes.append(x.shape)
  if shapes[0] != shapes[-1]:
    raise UserError(
      f"frames have shape {shapes[0]}, flow {shapes[-1]}: every frame needs its flow image."
    )
