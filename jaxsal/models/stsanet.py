"""STSANet: a spatio-temporal self-attention network.

Wang et al., Spatio-Temporal Self-Attention Network for Video Saliency Prediction, arXiv:2108.10696.
Each of S3D's four blocks is followed by a Spatio-Temporal Self-Attention module (STSA), and
Attentional Multi-Scale Fusion modules (AMSF) fuse the four levels from the top down. Widths that
the paper leaves open are those of the authors' PyTorch code, whose checkpoints load. The blocks are
numbered 1 .. 4 as in figure 2.
"""

import dataclasses
from collections.abc import Iterator
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal import nn
from jaxsal.errors import UserError
from jaxsal.models import s3d
from jaxsal.models._base import SaliencyConfig, SaliencyModel
from jaxsal.models._geometry import check_size
from jaxsal.models._parts import parts
from jaxsal.models._table import Entry, conv
from jaxsal.nn.attention import attention
from jaxsal.nn.init import filled, kernel_init

# Number of steps in time of every STSA module's input and output.
STEPS = 4
LENGTH = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class STSANetConfig(SaliencyConfig):
  """Configuration of STSANet; the defaults are the paper's.

  Attributes:
    length: T, number of frames in a clip: 32, because base4 must have the STSA modules' 4 steps in
      time.
    size: height and width, multiples of 32. The layer normalisations have a parameter for every
      position, so that weights fit one size only.
    target: frame of the clip that the map belongs to: `middle`, or `last` (table VI).
    stsa_blocks: numbers of the encoder's blocks that have attention. A block without it keeps the
      convolution of its STSA module, which reduces the channels for the fusion.
    stsa_layers: numbers of the STSA layers that the modules have: I (1), II (2).
    relations: attention between steps in time: `exchange` with other steps; `per_step`, where each
      step attends to itself (figure 6 (a)); or `single_matrix`, where all steps attend to all
      (figure 6 (b)). The last two have one attention layer, followed by the convolution.
    skips: whether blocks 1 to 3 are fused; without them, the network is the paper's single-stream
      baseline.
    weighting: combination of AMSF's two inputs: `add` or `concat` after attentional weighting
      (figures 4 and 7), or `none` to add them without weighting.
    multi_scale: whether AMSF has the spatio-temporal multi-scale structure; without it, AMSF has
      one 3x3x3 convolution, with about as many parameters.
    width: factor on every channel count.
    batch_norm_momentum: see `jaxsal.models.s3d.S3DConfig`.
    dtype: type that the convolutions compute in. With bfloat16, block 1 with its STSA module,
      fusion and readout stay float32, because the places of maxima in the spatial bottleneck do not
      survive rounding (see `STSANet`).
  """

  target: Literal["last", "middle"] = "middle"
  stsa_blocks: tuple[int, ...] = (1, 2, 3, 4)
  stsa_layers: tuple[int, ...] = (1, 2)
  relations: Literal["exchange", "per_step", "single_matrix"] = "exchange"
  skips: bool = True
  weighting: Literal["add", "concat", "none"] = "add"
  multi_scale: bool = True
  width: float = 1.0
  batch_norm_momentum: float = 0.001

  @property
  def blocks(self) -> tuple[int, ...]:
    """The numbers of the encoder's blocks that are used."""
    return (1, 2, 3, 4) if self.skips else (4,)

  def attention_layers(self, block: int) -> tuple[int, ...]:
    """Returns the numbers of the STSA layers after one of the encoder's blocks."""
    if block not in self.stsa_blocks:
      return ()
    return self.stsa_layers if self.relations == "exchange" else (1,)


_UNET = {"weighting": "none", "multi_scale": False}

VARIANTS = {
  "base": STSANetConfig(),
  "small": STSANetConfig(width=0.25),
  "tiny": STSANetConfig(width=0.0625, size=(32, 64)),
  # Table III: main components.
  "single_stream": STSANetConfig(skips=False, stsa_blocks=(), **_UNET),
  "unet": STSANetConfig(stsa_blocks=(), **_UNET),
  "unet_stsa": STSANetConfig(**_UNET),
  "unet_amsf": STSANetConfig(stsa_blocks=()),
  # Table IV: the structure of the STSA module, and networks without the module after one block.
  "no_temporal_relations": STSANetConfig(relations="per_step"),
  "single_matrix": STSANetConfig(relations="single_matrix"),
  "no_stsa_layer1": STSANetConfig(stsa_layers=(2,)),
  "no_stsa_layer2": STSANetConfig(stsa_layers=(1,)),
  "no_stsa1": STSANetConfig(stsa_blocks=(2, 3, 4)),
  "no_stsa2": STSANetConfig(stsa_blocks=(1, 3, 4)),
  "no_stsa3": STSANetConfig(stsa_blocks=(1, 2, 4)),
  "no_stsa4": STSANetConfig(stsa_blocks=(1, 2, 3)),
  # Table V: the AMSF module.
  "concat_amsf": STSANetConfig(weighting="concat"),
  "no_weighting": STSANetConfig(weighting="none"),
  "no_multi_scale": STSANetConfig(multi_scale=False),
  # Table VI: supervision.
  "last": STSANetConfig(target="last"),
}

# Four numbers for each block: steps in time of the encoder's output for each step of the STSA
# module; channels after the module; channels of queries and keys in its layers I and II; channels
# after the AMSF with this block.
_TIME_FACTORS = {1: 4, 2: 4, 3: 2, 4: 1}
_CHANNELS = {1: 192, 2: 240, 3: 416, 4: 512}
_EMBEDDING = {1: (96, 96), 2: (224, 128), 3: (416, 208), 4: (512, 256)}
_FUSED = {1: 192, 2: 192, 3: 240}

# A layer splits time into equal parts, and updates part i with the query of part _PARTNERS[..][i].
_PARTNERS = {
  ("exchange", 1): (1, 0, 3, 2),
  ("exchange", 2): (1, 0),
  ("per_step", 1): (0, 1, 2, 3),
  ("single_matrix", 1): (0,),
}
# Window and stride of the pooling in the spatial bottleneck (figure 3 (c)).
_BOTTLENECK = (1, 2, 2)


class Compression(nnx.Module):
  """A (k, 1, 1) convolution with stride k, which compresses time.

  It is computed as k matrix products. Compared with `jaxsal.nn.conv3d`, the rounding errors are a
  third smaller, and the gradients are faster on CPU.
  """

  def __init__(self, channels: int, k: int, dtype: str, rngs: nnx.Rngs) -> None:
    self.dtype = dtype
    shape = (k, 1, 1, channels, channels)
    self.kernel = nnx.Param(kernel_init(rngs.params(), shape, jnp.float32))
    self.bias = nnx.Param(filled(0, channels))

  def __call__(self, x: jax.Array) -> jax.Array:
    """Takes [b, t, h, w, c]; returns [b, t/k, h, w, c]."""
    b, t, h, w, c = x.shape
    kernel = self.kernel[...].astype(self.dtype)
    k = len(kernel)
    x = x.astype(self.dtype).reshape(b, t // k, k, h, w, c)
    y = self.bias[...]
    for i in range(k):
      y += jnp.matmul(x[:, :, i], kernel[i, 0, 0], preferred_element_type=jnp.float32)
    return y.astype(self.dtype)


class LayerNorm(nnx.Module):
  """A layer normalisation over all axes but the batch, with a scale and bias for every element."""

  def __init__(self, shape: tuple[int, ...]) -> None:
    self.scale = nnx.Param(filled(1, *shape))
    self.bias = nnx.Param(filled(0, *shape))

  def __call__(self, x: jax.Array) -> jax.Array:
    """Normalises x [b, *shape], with float32 statistics."""
    y = x.astype(jnp.float32)
    y = y - _mean(y)
    y = y * jax.lax.rsqrt(_mean(jnp.square(y)) + 1e-5)
    return (y * self.scale[...] + self.bias[...]).astype(x.dtype)


class Embedding(nnx.Module):
  """The query, key and value of one part of the time axis (figure 3 (b))."""

  def __init__(self, inputs: int, embedding: int, dtype: str, rngs: nnx.Rngs) -> None:
    options = {"dtype": dtype, "rngs": rngs}
    self.query1 = nn.Conv(inputs, embedding, (1, 1, 1), **options)
    self.query2 = nn.Conv(embedding, embedding, (1, 3, 3), padding=(0, 1, 1), **options)
    self.key1 = nn.Conv(inputs, embedding, (1, 1, 1), **options)
    self.key2 = nn.Conv(embedding, embedding, (1, 3, 3), padding=(0, 1, 1), **options)
    self.value1 = nn.Conv(inputs, inputs, (1, 3, 1), padding=(0, 1, 0), **options)
    self.value2 = nn.Conv(inputs, inputs, (1, 1, 3), padding=(0, 0, 1), **options)

  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Takes [b, t, h, w, c]; returns query, key [b, t*h*w, embedding] and value [b, t*h*w, c]."""

    def embed(conv1: nn.Conv, conv2: nn.Conv) -> jax.Array:
      y = jax.nn.relu(conv2(jax.nn.relu(conv1(x))))
      return y.reshape(y.shape[0], -1, y.shape[-1])

    query, key = embed(self.query1, self.query2), embed(self.key1, self.key2)
    return query, key, embed(self.value1, self.value2)


class STSALayer(nnx.Module):
  """The STSA layer I or II: parts of the time axis attend to each other (equations 1 to 8)."""

  def __init__(
    self,
    shape: tuple[int, int, int, int],
    embedding: int,
    partners: tuple[int, ...],
    bottleneck: bool,
    dtype: str,
    rngs: nnx.Rngs,
  ) -> None:
    """Creates the layer.

    Args:
      shape: t, h, w, c of the input.
      embedding: number of channels of queries and keys.
      partners: for each part of the time axis, the part whose query updates it.
      bottleneck: whether height and width are halved for the attention (figure 3 (c)).
      dtype: type that the convolutions compute in.
      rngs: source of the random weights.
    """
    self.partners, self.bottleneck = partners, bottleneck
    for part in range(len(partners)):
      setattr(self, f"embedding{part}", Embedding(shape[-1], embedding, dtype, rngs))
    self.norm = LayerNorm(shape)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Updates features [b, t, h, w, c]."""
    _, t, h, w, _ = x.shape
    y, switches = x, None
    if self.bottleneck:
      y, switches = nn.max_pool3d_with_switches(x, _BOTTLENECK, _BOTTLENECK)
    pieces = jnp.split(y, len(self.partners), axis=1)
    embeddings = parts(self, "embedding", range(len(pieces)))
    queries, keys, values = zip(*(embed(piece) for embed, piece in zip(embeddings, pieces)))
    updated = [
      attention(queries[partner], keys[i], values[i]).reshape(pieces[i].shape)
      for i, partner in enumerate(self.partners)
    ]
    y = jnp.concatenate(updated, axis=1)
    if switches is not None:
      y = nn.max_unpool3d(y, switches, (t, h, w), _BOTTLENECK, _BOTTLENECK)
    return x + self.norm(y)


class STSA(nnx.Module):
  """The Spatio-Temporal Self-Attention module: layer I, a convolution, layer II (figure 3 (a))."""

  def __init__(
    self,
    block: int,
    inputs: int,
    size: tuple[int, int],
    config: STSANetConfig,
    dtype: str,
    rngs: nnx.Rngs,
  ) -> None:
    """Creates the module.

    Args:
      block: number of the encoder's block before the module.
      inputs: number of channels of the block's output.
      size: height and width of the block's output.
      config: configuration of the network.
      dtype: type that the convolutions compute in.
      rngs: source of the random weights.
    """
    outputs = s3d.channels(_CHANNELS[block], config.width)

    def layer(number: int, channels: int) -> STSALayer:
      return STSALayer(
        shape=(STEPS, *size, channels),
        embedding=s3d.channels(_EMBEDDING[block][number - 1], config.width),
        partners=_PARTNERS[config.relations, number],
        bottleneck=block == 1,  # Block 1 has too many positions.
        dtype=dtype,
        rngs=rngs,
      )

    self.layers = config.attention_layers(block)
    if 1 in self.layers:
      self.layer1 = layer(1, inputs)
    if 2 in self.layers:
      self.layer2 = layer(2, outputs)
    self.conv = nn.Conv(inputs, outputs, (1, 3, 3), padding=(0, 1, 1), dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Takes [b, 4, h, w, inputs]; returns [b, 4, h, w, outputs]."""
    if 1 in self.layers:
      x = self.layer1(x)
    x = jax.nn.relu(self.conv(x))
    return self.layer2(x) if 2 in self.layers else x


class SpatialMask(nnx.Module):
  """A 1x1x1 convolution of two concatenated inputs to one channel, and a sigmoid.

  Each input is multiplied by its half of the kernel, because a concatenation would write both
  inputs to memory again.
  """

  def __init__(self, channels: int, rngs: nnx.Rngs) -> None:
    """Creates the convolution for two inputs with this number of channels each."""
    shape = (1, 1, 1, 2 * channels, 1)
    self.kernel = nnx.Param(kernel_init(rngs.params(), shape, jnp.float32))
    self.bias = nnx.Param(filled(0, 1))

  def __call__(self, high: jax.Array, low: jax.Array) -> jax.Array:
    """Takes two inputs [b, t, h, w, c]; returns [b, t, h, w, 1] in [0, 1]."""
    kernel_high, kernel_low = jnp.split(self.kernel[...], 2, axis=3)
    y = nn.conv3d(high, kernel_high) + nn.conv3d(low, kernel_low) + self.bias[...]
    return jax.nn.sigmoid(y)


class AttentionWeighting(nnx.Module):
  """AMSF's attentional weighting (AW): weights for the channels of both inputs, at each step."""

  def __init__(self, channels: int, rngs: nnx.Rngs) -> None:
    """Creates the weighting for two inputs with this number of channels each."""
    hidden = max(1, channels // 2)
    self.spatial = SpatialMask(channels, rngs)
    self.squeeze = nn.Conv(2 * channels, hidden, (1, 1, 1), rngs=rngs)
    self.norm = LayerNorm((STEPS, 1, 1, hidden))
    self.excite = nn.Conv(hidden, 2 * channels, (1, 1, 1), rngs=rngs)

  def __call__(self, high: jax.Array, low: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Weights two inputs [b, 4, h, w, c]."""
    mask = self.spatial(high, low)
    pooled = [_weighted_mean(x, mask) for x in (high, low)]
    weights = self.squeeze(jnp.concatenate(pooled, axis=-1))
    weights = self.excite(jax.nn.relu(self.norm(weights)))
    weight_high, weight_low = jnp.split(jax.nn.sigmoid(weights), 2, axis=-1)
    return high * weight_high, low * weight_low


def _weighted_mean(x: jax.Array, weights: jax.Array) -> jax.Array:
  """Returns the mean over space of x * weights, [b, t, 1, 1, c].

  It is computed as a matrix product. With `(x * weights).mean()`, XLA on CPU computes the gradient
  of the weights, which are sums over channels, on one core and thirty times as slowly.

  Args:
    x: [b, t, h, w, c].
    weights: [b, t, h, w, 1].
  """
  b, t, h, w, c = x.shape
  weights = weights.reshape(b, t, 1, h * w) / (h * w)
  mean = jnp.matmul(weights, x.reshape(b, t, h * w, c), precision="highest")
  return mean.reshape(b, t, 1, 1, c)


class MultiScale(nnx.Module):
  """AMSF's spatio-temporal multi-scale structure (STMS): the sum of four branches."""

  def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> None:
    self.point = nn.Conv(inputs, outputs, (1, 1, 1), rngs=rngs)
    self.time3 = nn.Conv(inputs, outputs, (3, 1, 1), padding=(1, 0, 0), rngs=rngs)
    self.space3 = nn.Conv(outputs, outputs, (1, 3, 3), padding=(0, 1, 1), rngs=rngs)
    self.time5 = nn.Conv(inputs, outputs, (3, 1, 1), padding=(1, 0, 0), rngs=rngs)
    self.space5 = nn.Conv(outputs, outputs, (1, 5, 5), padding=(0, 2, 2), rngs=rngs)
    self.pooled = nn.Conv(inputs, outputs, (1, 1, 1), rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Takes [b, t, h, w, inputs]; returns [b, t, h, w, outputs]."""
    y = self.point(x) + self.space3(jax.nn.relu(self.time3(x)))
    y += self.space5(jax.nn.relu(self.time5(x)))
    return y + self.pooled(nn.max_pool3d(x, (3, 3, 3), (1, 1, 1), (1, 1, 1)))


class AMSF(nnx.Module):
  """The Attentional Multi-Scale Fusion of two neighbouring levels (figure 4)."""

  def __init__(self, block: int, config: STSANetConfig, rngs: nnx.Rngs) -> None:
    """Creates the fusion of the level of `block` with the level above."""
    channels = s3d.channels(_CHANNELS[block], config.width)
    outputs = s3d.channels(_FUSED[block], config.width)
    self.fusion = config.weighting
    if config.skips and self.fusion != "none":
      self.weighting = AttentionWeighting(channels, rngs)
    inputs = channels * (2 if config.skips and self.fusion == "concat" else 1)
    if config.multi_scale:
      self.scales = MultiScale(inputs, outputs, rngs)
    else:
      self.scales = nn.Conv(inputs, outputs, (3, 3, 3), padding=(1, 1, 1), rngs=rngs)

  def __call__(self, high: jax.Array, low: jax.Array | None) -> jax.Array:
    """Fuses two levels.

    Args:
      high: level above, [b, 4, h, w, c].
      low: level of the block, [b, 4, h, w, c], or None without skips.

    Returns:
      [b, 4, h, w, outputs].
    """
    x = high
    if low is not None:
      if self.fusion != "none":
        high, low = self.weighting(high, low)
      x = jnp.concatenate([high, low], axis=-1) if self.fusion == "concat" else high + low
    return jax.nn.relu(self.scales(x))


class Readout(nnx.Module):
  """The readout: the fused features are upsampled, then time is reduced to one step."""

  def __init__(self, inputs: int, width: float, rngs: nnx.Rngs) -> None:
    # With fewer channels, narrow networks could start with all of them dead after the ReLU.
    c1, c2 = (max(8, s3d.channels(c, width)) for c in (64, 32))
    self.conv1 = nn.Conv(inputs, c1, (1, 3, 3), padding=(0, 1, 1), rngs=rngs)
    self.conv2 = nn.Conv(c1, c2, (2, 3, 3), (2, 1, 1), (0, 1, 1), rngs=rngs)
    self.conv3 = nn.Conv(c2, c2, (2, 1, 1), (2, 1, 1), use_bias=False, rngs=rngs)
    self.conv4 = nn.Conv(c2, 1, (1, 3, 3), padding=(0, 1, 1), rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Takes [b, 4, h/2, w/2, inputs]; returns float32 [b, 1, h, w, 1]."""
    x = nn.upsample(jax.nn.relu(self.conv1(x)), (1, 2, 2))
    x = jax.nn.relu(self.conv3(jax.nn.relu(self.conv2(x))))
    return self.conv4(x)


class STSANet(SaliencyModel[STSANetConfig]):
  """STSANet (figure 2) and its ablations.

  The spatial bottleneck puts values back where its pooling found them. If a rounding error moves a
  maximum, a value moves by a pixel. In float32, this happens about once in a million pooling
  windows. With block 1 in bfloat16, it is so frequent that maps of random weights have a
  correlation of 0.994 with the exact maps. With block 1, fusion and readout in float32 and the rest
  in bfloat16, the correlation is 0.9995; with the fusion in bfloat16 too, it is 0.9984 to 0.9991 on
  different CPUs.
  """

  def __init__(self, config: STSANetConfig, *, rngs: nnx.Rngs) -> None:
    """Creates the network; raises UserError if it cannot have the size, length or STSA layers."""
    _check(config)
    super().__init__(config)
    encoder = s3d.S3DConfig(
      width=config.width, batch_norm_momentum=config.batch_norm_momentum, dtype=config.dtype
    )
    self.encoder = s3d.Encoder(encoder, rngs)
    for unit in (self.encoder.conv_1a, self.encoder.conv_2b, self.encoder.conv_2c):
      for _, part in nnx.iter_graph(unit):
        if isinstance(part, nn.Conv):
          part.dtype = "float32"
    for block in config.blocks:
      c, k = s3d.stage_channels(config.width)[block - 1], _TIME_FACTORS[block]
      dtype = "float32" if block == 1 else config.dtype
      if k > 1:
        setattr(self, f"compress{block}", Compression(c, k, dtype, rngs))
      h, w = (n // 2 ** (block + 1) for n in config.size)
      setattr(self, f"stsa{block}", STSA(block, c, (h, w), config, dtype, rngs))
    top, below = (s3d.channels(_CHANNELS[block], config.width) for block in (4, 3))
    self.reduce = nn.Conv(top, below, (1, 3, 3), padding=(0, 1, 1), rngs=rngs)
    for block in (3, 2, 1):
      setattr(self, f"amsf{block}", AMSF(block, config, rngs))
    fused = s3d.channels(_FUSED[1], config.width)
    self.readout = Readout(fused, config.width, rngs)

  def __call__(self, frames: jax.Array) -> jax.Array:
    """Predicts the map of the target frame.

    Args:
      frames: normalised frames [b, 32, h, w, 3].

    Returns:
      float32 maps [b, h, w] in [0, 1].

    Raises:
      UserError: the clip has another length or size than the configuration.
    """
    expected = (self.length, *self.size)
    if frames.shape[1:4] != expected:
      raise UserError(
        f"a clip of {' x '.join(map(str, frames.shape[1:4]))} (frames, height, width) does not fit "
        f"an STSANet of {' x '.join(map(str, expected))}: resize it, or build the network with "
        "that size (its weights fit one size only)."
      )
    return self.from_stages(self.encoder(frames))

  def from_stages(self, stages: s3d.Stages) -> jax.Array:
    """Predicts float32 maps [b, h, w] in [0, 1] from the encoder's outputs."""
    levels = {}
    for block in self.config.blocks:
      x = stages[block - 1]
      if _TIME_FACTORS[block] > 1:
        x = jax.nn.relu(getattr(self, f"compress{block}")(x))
      levels[block] = getattr(self, f"stsa{block}")(x).astype(jnp.float32)
    x = nn.upsample(jax.nn.relu(self.reduce(levels[4])), (1, 2, 2))
    for block, amsf in zip((3, 2, 1), parts(self, "amsf", (3, 2, 1))):
      x = nn.upsample(amsf(x, levels.get(block)), (1, 2, 2))
    return jax.nn.sigmoid(self.readout(x)[:, 0, :, :, 0])

  @staticmethod
  def table(config: STSANetConfig) -> Iterator[Entry]:
    """Yields the names in the order of the authors' code, which counts blocks from 0.

    The parts that only ablations have are named by the same scheme.
    """
    yield from s3d.encoder_table(lambda stage, _: "base{}.{}".format(*stage), ("encoder",))
    blocks = [(block, f"branch{block - 1}") for block in config.blocks]
    for block, _ in blocks:
      for layer in config.attention_layers(block):
        path = (f"stsa{block}", f"layer{layer}", "norm")
        yield from _layer_norm(f"ln_{block - 1}_{layer - 1}", path)
    for block, branch in blocks:
      if _TIME_FACTORS[block] > 1:
        yield from conv(f"{branch}_pre.0", (f"compress{block}",), bias=True)
      yield from conv(f"{branch}_mid.0", (f"stsa{block}", "conv"), bias=True)
    yield from conv("branch3_beh_0.0", ("reduce",), bias=True)
    for block, branch in blocks:
      for layer in config.attention_layers(block):
        for part in range(len(_PARTNERS[config.relations, layer])):
          pair = part // 2 if layer == 1 else 2
          for letter, name in zip("qkv", ("query", "key", "value")):
            unit = f"{branch}_{pair}_{'ab'[part % 2]}_{letter}"
            path = (f"stsa{block}", f"layer{layer}", f"embedding{part}")
            yield from conv(f"{unit}.0", (*path, f"{name}1"), bias=True)
            yield from conv(f"{unit}.2", (*path, f"{name}2"), bias=True)
    fusions = [(i, f"amsf{block}") for i, block in enumerate((3, 2, 1))]
    if config.skips and config.weighting != "none":
      for i, amsf in fusions:
        yield from conv(f"SA_{i}.0", (amsf, "weighting", "spatial"), bias=True)
      for i, amsf in fusions:
        yield from conv(f"CA_{i}.1", (amsf, "weighting", "squeeze"), bias=True)
        yield from _layer_norm(f"CA_{i}.2", (amsf, "weighting", "norm"))
        yield from conv(f"CA_{i}.4", (amsf, "weighting", "excite"), bias=True)
    for i, amsf in fusions:
      if not config.multi_scale:
        yield from conv(f"conv_{i}.0", (amsf, "scales"), bias=True)
        continue
      yield from conv(f"inc_{i}_0.0", (amsf, "scales", "point"), bias=True)
      for j, k in ((1, 3), (2, 5)):
        yield from conv(f"inc_{i}_{j}.0", (amsf, "scales", f"time{k}"), bias=True)
        yield from conv(f"inc_{i}_{j}.2", (amsf, "scales", f"space{k}"), bias=True)
      yield from conv(f"inc_{i}_3.1", (amsf, "scales", "pooled"), bias=True)
    yield from conv("readout_1.0", ("readout", "conv1"), bias=True)
    yield from conv("readout_2.0", ("readout", "conv2"), bias=True)
    yield from conv("readout_2.2", ("readout", "conv3"), bias=False)
    yield from conv("readout_2.4", ("readout", "conv4"), bias=True)


def _mean(x: jax.Array) -> jax.Array:
  """Returns the mean over all axes but the first, which are kept with size 1.

  The axes are reduced one after the other, because a single sum over millions of elements, as XLA
  may compute it, has an error of 1e-4 of its value.
  """
  for axis in reversed(range(1, x.ndim)):
    x = x.mean(axis, keepdims=True)
  return x


def _layer_norm(name: str, path: tuple[str, ...]) -> Iterator[Entry]:
  """Yields the entries of a layer normalisation: [c, t, h, w] is [t, h, w, c] here."""
  yield Entry(f"{name}.weight", (*path, "scale"), (1, 2, 3, 0))
  yield Entry(f"{name}.bias", (*path, "bias"), (1, 2, 3, 0))


def _check(config: STSANetConfig) -> None:
  check_size(config.size)
  if config.length != LENGTH:
    raise UserError(
      f"length is {config.length}: STSANet takes {LENGTH} frames, from which the encoder makes the "
      f"{STEPS} steps in time of the attention."
    )
  for field, known in (("stsa_blocks", {1, 2, 3, 4}), ("stsa_layers", {1, 2})):
    value = getattr(config, field)
    if set(value) - known:
      raise UserError(f"{field} is {value}: give some of {', '.join(map(str, sorted(known)))}.")
  if config.relations != "exchange" and config.stsa_layers != (1, 2):
    raise UserError(
      f"relations={config.relations!r} has one attention layer of its own: leave stsa_layers at "
      f"(1, 2), or set relations='exchange' for stsa_layers={config.stsa_layers}."
    )
