"""STSANet: a spatio-temporal self-attention network.

Wang et al., Spatio-Temporal Self-Attention Network for Video Saliency Prediction, arXiv:2108.10696.
S3D's four blocks, each followed by a Spatio-Temporal Self-Attention module (STSA), fused from the
top down by Attentional Multi-Scale Fusion modules (AMSF). Widths that the paper leaves open are
those of the authors' PyTorch code, whose checkpoints load. Blocks are numbered 1 .. 4 as in the
paper's figure 2.
"""

import dataclasses
import typing
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
from jaxsal.models._table import Entry, conv
from jaxsal.nn.attention import attention
from jaxsal.nn.init import filled

# Steps in time of every STSA module's input and output.
STEPS = 4
LENGTH = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class STSANetConfig(SaliencyConfig):
  """Configuration of STSANet; the defaults are the paper's.

  Attributes:
    length: T; 32, because base4 must have the STSA modules' 4 steps in time.
    size: height and width, multiples of 32. The layer normalisations have a parameter for every
      position, so that weights fit one size only.
    target: `middle`, or `last` (table VI).
    stsa_blocks: numbers of the encoder's blocks that have attention. A block without keeps the
      convolution of its STSA module, which halves the channels for the fusion.
    stsa_layers: which STSA layers the modules have: I (1), II (2).
    relations: `exchange` between time steps; `per_step` lets each step attend to itself (figure
      6 (a)), `single_matrix` all steps to all (figure 6 (b)). These two have one attention layer,
      followed by the convolution.
    skips: False leaves out blocks 1 to 3 and all fusion (the paper's single-stream baseline).
    weighting: how AMSF weights its two inputs: `add` or `concat` after weighting (figures 4 and 7),
      `none` to add them as they are.
    multi_scale: AMSF's spatio-temporal multi-scale structure; False puts one 3x3x3 convolution,
      of about as many parameters, in its place.
    width: factor on every channel count.
    dtype: with bfloat16, block 1 and its STSA module stay float32, and so do fusion and readout:
      the places of maxima in the spatial bottleneck do not survive rounding (see `STSANet`).
    batch_norm_momentum: see `jaxsal.models.s3d.S3DConfig`.
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
    """The encoder's blocks in use."""
    return (1, 2, 3, 4) if self.skips else (4,)

  def attention_layers(self, block: int) -> tuple[int, ...]:
    """The STSA layers after one of the encoder's blocks."""
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
  # Table IV: structure of the STSA module; the module after one block removed.
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

# By block. Steps in time of the encoder's output for each of the STSA module's; channels after the
# module; channels of queries and keys in layers I and II; channels after AMSF with this block.
_TIME_FACTORS = {1: 4, 2: 4, 3: 2, 4: 1}
_CHANNELS = {1: 192, 2: 240, 3: 416, 4: 512}
_EMBEDDING = {1: (96, 96), 2: (224, 128), 3: (416, 208), 4: (512, 256)}
_FUSED = {1: 192, 2: 192, 3: 240}

# A layer splits time into equal parts; part i is updated with the query of part _PARTNERS[..][i].
_PARTNERS = {
  ("exchange", 1): (1, 0, 3, 2),
  ("exchange", 2): (1, 0),
  ("per_step", 1): (0, 1, 2, 3),
  ("single_matrix", 1): (0,),
}
# Window and stride of the pooling in the spatial bottleneck (figure 3 (c)).
_BOTTLENECK = (1, 2, 2)


class Compression(nn.Conv):
  """(k, 1, 1) convolution with stride k, which compresses time, as k matrix products.

  Beside `conv3d` its rounding errors are a third smaller and its gradients faster on CPU.
  """

  def __init__(self, channels: int, k: int, dtype: str, rngs: nnx.Rngs) -> None:
    super().__init__(channels, channels, (k, 1, 1), (k, 1, 1), dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """[b, t, h, w, c] -> [b, t/k, h, w, c]."""
    b, t, h, w, c = x.shape
    kernel = self.kernel[...].astype(self.dtype)
    k = len(kernel)
    x = x.astype(self.dtype).reshape(b, t // k, k, h, w, c)
    y = self.bias[...]
    for i in range(k):
      y += jnp.matmul(x[:, :, i], kernel[i, 0, 0], preferred_element_type=jnp.float32)
    return y.astype(self.dtype)


class LayerNorm(nnx.Module):
  """Layer normalisation over all axes but the batch, with a scale and a bias for every element."""

  def __init__(self, shape: tuple[int, ...]) -> None:
    self.scale = nnx.Param(filled(1, *shape))
    self.bias = nnx.Param(filled(0, *shape))

  def __call__(self, x: jax.Array) -> jax.Array:
    """[b, *shape] -> the same shape and dtype; statistics are float32."""
    y = x.astype(jnp.float32)
    y = y - _mean(y)
    y = y * jax.lax.rsqrt(_mean(jnp.square(y)) + 1e-5)
    return (y * self.scale[...] + self.bias[...]).astype(x.dtype)


class Embedding(nnx.Module):
  """Query, key and value of one part of the time axis (figure 3 (b))."""

  def __init__(self, inputs: int, embedding: int, dtype: str, rngs: nnx.Rngs) -> None:
    options = {"dtype": dtype, "rngs": rngs}
    for name in ("query", "key"):
      setattr(self, f"{name}1", nn.Conv(inputs, embedding, (1, 1, 1), **options))
      unit = nn.Conv(embedding, embedding, (1, 3, 3), padding=(0, 1, 1), **options)
      setattr(self, f"{name}2", unit)
    self.value1 = nn.Conv(inputs, inputs, (1, 3, 1), padding=(0, 1, 0), **options)
    self.value2 = nn.Conv(inputs, inputs, (1, 1, 3), padding=(0, 0, 1), **options)

  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """[b, t, h, w, c] -> query, key [b, t*h*w, embedding] and value [b, t*h*w, c]."""
    relu = jax.nn.relu
    query = relu(self.query2(relu(self.query1(x))))
    key = relu(self.key2(relu(self.key1(x))))
    value = relu(self.value2(relu(self.value1(x))))
    return tuple(y.reshape(y.shape[0], -1, y.shape[-1]) for y in (query, key, value))


class STSALayer(nnx.Module):
  """STSA layer I or II: parts of the time axis attend to each other (equations 1 to 8)."""

  def __init__(
    self,
    shape: tuple[int, int, int, int],
    embedding: int,
    partners: tuple[int, ...],
    bottleneck: bool,
    dtype: str,
    rngs: nnx.Rngs,
  ) -> None:
    """`shape` is the input's t, h, w, c; `bottleneck` halves h and w for the attention."""
    self.partners, self.bottleneck = partners, bottleneck
    for part in range(len(partners)):
      setattr(self, f"embedding{part}", Embedding(shape[-1], embedding, dtype, rngs))
    self.norm = LayerNorm(shape)

  def __call__(self, x: jax.Array) -> jax.Array:
    """[b, t, h, w, c] -> the same shape."""
    y = x
    if self.bottleneck:
      y, switches = nn.max_pool3d_with_switches(x, _BOTTLENECK, _BOTTLENECK)
    parts = jnp.split(y, len(self.partners), axis=1)
    embedded = [getattr(self, f"embedding{i}")(part) for i, part in enumerate(parts)]
    queries, keys, values = zip(*embedded)
    updated = [
      attention(queries[partner], keys[i], values[i]).reshape(parts[i].shape)
      for i, partner in enumerate(self.partners)
    ]
    y = jnp.concatenate(updated, axis=1)
    if self.bottleneck:
      y = nn.max_unpool3d(y, switches, x.shape[1:4], _BOTTLENECK, _BOTTLENECK)
    return x + self.norm(y)


class STSA(nnx.Module):
  """Spatio-Temporal Self-Attention module: layer I, a convolution, layer II (figure 3 (a))."""

  def __init__(
    self,
    block: int,
    inputs: int,
    size: tuple[int, int],
    config: STSANetConfig,
    dtype: str,
    rngs: nnx.Rngs,
  ) -> None:
    """`size` is height and width of the block's output, `inputs` its channels."""
    outputs = s3d.channels(_CHANNELS[block], config.width)
    self.layers = config.attention_layers(block)
    for layer in self.layers:
      unit = STSALayer(
        shape=(STEPS, *size, inputs if layer == 1 else outputs),
        embedding=s3d.channels(_EMBEDDING[block][layer - 1], config.width),
        partners=_PARTNERS[config.relations, layer],
        bottleneck=block == 1,  # its positions are too many
        dtype=dtype,
        rngs=rngs,
      )
      setattr(self, f"layer{layer}", unit)
    self.conv = nn.Conv(inputs, outputs, (1, 3, 3), padding=(0, 1, 1), dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """[b, 4, h, w, inputs] -> [b, 4, h, w, outputs]."""
    if 1 in self.layers:
      x = self.layer1(x)
    x = jax.nn.relu(self.conv(x))
    return self.layer2(x) if 2 in self.layers else x


class AttentionWeighting(nnx.Module):
  """AMSF's attentional weighting (AW): weights for the channels of both inputs, at each step."""

  def __init__(self, channels: int, rngs: nnx.Rngs) -> None:
    """`channels` of each of the two inputs."""
    hidden = max(1, channels // 2)
    self.spatial = nn.Conv(2 * channels, 1, (1, 1, 1), rngs=rngs)
    self.squeeze = nn.Conv(2 * channels, hidden, (1, 1, 1), rngs=rngs)
    self.norm = LayerNorm((STEPS, 1, 1, hidden))
    self.excite = nn.Conv(hidden, 2 * channels, (1, 1, 1), rngs=rngs)

  def __call__(self, high: jax.Array, low: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two inputs [b, 4, h, w, c] -> the inputs, weighted."""
    # A product with each half of the kernel: to concatenate the inputs would be to write them anew.
    kernel_high, kernel_low = jnp.split(self.spatial.kernel[...], 2, axis=3)
    mask = nn.conv3d(high, kernel_high) + nn.conv3d(low, kernel_low) + self.spatial.bias[...]
    mask = jax.nn.sigmoid(mask)
    pooled = [_weighted_mean(x, mask) for x in (high, low)]
    weights = self.squeeze(jnp.concatenate(pooled, axis=-1))
    weights = self.excite(jax.nn.relu(self.norm(weights)))
    weight_high, weight_low = jnp.split(jax.nn.sigmoid(weights), 2, axis=-1)
    return high * weight_high, low * weight_low


def _weighted_mean(x: jax.Array, weights: jax.Array) -> jax.Array:
  """The mean over space of x [b, t, h, w, c] times weights [b, t, h, w, 1]: [b, t, 1, 1, c].

  As a product of matrices: of `(x * weights).mean()` XLA on CPU takes the gradient of the weights,
  sums over channels, on one core and thirty times as slowly.
  """
  b, t, h, w, c = x.shape
  weights = weights.reshape(b, t, 1, h * w) / (h * w)
  mean = jnp.matmul(weights, x.reshape(b, t, h * w, c), precision="highest")
  return mean.reshape(b, t, 1, 1, c)


class MultiScale(nnx.Module):
  """AMSF's spatio-temporal multi-scale structure (STMS): the sum of four branches."""

  def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> None:
    self.point = nn.Conv(inputs, outputs, (1, 1, 1), rngs=rngs)
    for k in (3, 5):
      unit = nn.Conv(inputs, outputs, (3, 1, 1), padding=(1, 0, 0), rngs=rngs)
      setattr(self, f"time{k}", unit)
      p = k // 2
      unit = nn.Conv(outputs, outputs, (1, k, k), padding=(0, p, p), rngs=rngs)
      setattr(self, f"space{k}", unit)
    self.pooled = nn.Conv(inputs, outputs, (1, 1, 1), rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """[b, t, h, w, inputs] -> [b, t, h, w, outputs]."""
    y = self.point(x) + self.space3(jax.nn.relu(self.time3(x)))
    y += self.space5(jax.nn.relu(self.time5(x)))
    return y + self.pooled(nn.max_pool3d(x, (3, 3, 3), (1, 1, 1), (1, 1, 1)))


class AMSF(nnx.Module):
  """Attentional Multi-Scale Fusion of two neighbouring levels (figure 4)."""

  def __init__(self, block: int, config: STSANetConfig, rngs: nnx.Rngs) -> None:
    """`block` is the number of the lower level's."""
    channels = s3d.channels(_CHANNELS[block], config.width)
    outputs = s3d.channels(_FUSED[block], config.width)
    self.skips, self.fusion = config.skips, config.weighting
    if self.skips and self.fusion != "none":
      self.weighting = AttentionWeighting(channels, rngs)
    inputs = channels * (2 if self.skips and self.fusion == "concat" else 1)
    if config.multi_scale:
      self.scales = MultiScale(inputs, outputs, rngs)
    else:
      self.scales = nn.Conv(inputs, outputs, (3, 3, 3), padding=(1, 1, 1), rngs=rngs)

  def __call__(self, high: jax.Array, low: jax.Array | None) -> jax.Array:
    """Two levels [b, 4, h, w, c] (`low` is None without skips) -> [b, 4, h, w, outputs]."""
    x = high
    if self.skips:
      if self.fusion != "none":
        high, low = self.weighting(high, low)
      x = jnp.concatenate([high, low], axis=-1) if self.fusion == "concat" else high + low
    return jax.nn.relu(self.scales(x))


class Readout(nnx.Module):
  """From the fused features to logits of the map: full size, then time taken away."""

  def __init__(self, inputs: int, width: float, rngs: nnx.Rngs) -> None:
    # With a few channels, narrow networks would start with all of them dead behind the ReLU.
    c1, c2 = (max(8, s3d.channels(c, width)) for c in (64, 32))
    self.conv1 = nn.Conv(inputs, c1, (1, 3, 3), padding=(0, 1, 1), rngs=rngs)
    self.conv2 = nn.Conv(c1, c2, (2, 3, 3), (2, 1, 1), (0, 1, 1), rngs=rngs)
    self.conv3 = nn.Conv(c2, c2, (2, 1, 1), (2, 1, 1), use_bias=False, rngs=rngs)
    self.conv4 = nn.Conv(c2, 1, (1, 3, 3), padding=(0, 1, 1), rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """[b, 4, h/2, w/2, inputs] -> [b, 1, h, w, 1], float32."""
    x = nn.upsample(jax.nn.relu(self.conv1(x)), (1, 2, 2))
    x = jax.nn.relu(self.conv3(jax.nn.relu(self.conv2(x))))
    return self.conv4(x)


class STSANet(SaliencyModel[STSANetConfig]):
  """STSANet (figure 2) and its ablations.

  The spatial bottleneck puts values back where its pooling found them: a rounding error that moves
  a maximum moves a value by a pixel. In float32 that happens about once in a million windows; with
  block 1 in bfloat16, so often that maps of random weights correlate with the exact ones by 0.994.
  With block 1, fusion and readout in float32 and all else in bfloat16 it is 0.9995; with the fusion
  in bfloat16 too, 0.9984 to 0.9991 on different CPUs.
  """

  def __init__(self, config: STSANetConfig, *, rngs: nnx.Rngs) -> None:
    """Raises UserError for a size, a length or a selection of STSA layers that cannot be."""
    _check(config)
    self.config = config
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
      size = tuple(n // 2 ** (block + 1) for n in config.size)
      setattr(self, f"stsa{block}", STSA(block, c, size, config, dtype, rngs))
    top, below = (s3d.channels(_CHANNELS[block], config.width) for block in (4, 3))
    self.reduce = nn.Conv(top, below, (1, 3, 3), padding=(0, 1, 1), rngs=rngs)
    for block in (3, 2, 1):
      setattr(self, f"amsf{block}", AMSF(block, config, rngs))
    fused = s3d.channels(_FUSED[1], config.width)
    self.readout = Readout(fused, config.width, rngs)

  def __call__(self, frames: jax.Array) -> jax.Array:
    """Normalised frames [b, 32, h, w, 3] -> map of the target frame [b, h, w], in [0, 1].

    Raises:
      UserError: if the frames are not of the configuration's length and size.
    """
    expected = (self.length, *self.size)
    if frames.shape[1:4] != expected:
      raise UserError(
        f"a clip of {' x '.join(map(str, frames.shape[1:4]))} (frames, height, width) does not fit "
        f"an STSANet of {' x '.join(map(str, expected))}: resize it, or build the network with "
        "that size (its weights fit one size only)"
      )
    return self.from_stages(self.encoder(frames))

  def from_stages(self, stages: s3d.Stages) -> jax.Array:
    """The encoder's outputs for a clip -> its map [b, h, w], float32 in [0, 1]."""
    levels = {}
    for block in self.config.blocks:
      x = stages[block - 1]
      if _TIME_FACTORS[block] > 1:
        x = jax.nn.relu(getattr(self, f"compress{block}")(x))
      levels[block] = getattr(self, f"stsa{block}")(x).astype(jnp.float32)
    x = nn.upsample(jax.nn.relu(self.reduce(levels[4])), (1, 2, 2))
    for block in (3, 2, 1):
      x = getattr(self, f"amsf{block}")(x, levels.get(block))
      x = nn.upsample(x, (1, 2, 2))
    return jax.nn.sigmoid(self.readout(x)[:, 0, :, :, 0])

  @staticmethod
  def table(config: STSANetConfig) -> Iterator[Entry]:
    """Names and order of the authors' code, which counts blocks from 0; ours for ablations."""
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
  """Mean over all axes but the first, which stay with size 1.

  One axis after the other: a single sum over millions of elements, as XLA may compute it, is off by
  1e-4 of its value.
  """
  for axis in reversed(range(1, x.ndim)):
    x = x.mean(axis, keepdims=True)
  return x


def _layer_norm(name: str, path: tuple[str, ...]) -> Iterator[Entry]:
  """[C, T, H, W] there, [t, h, w, c] here."""
  yield Entry(f"{name}.weight", (*path, "scale"), (1, 2, 3, 0))
  yield Entry(f"{name}.bias", (*path, "bias"), (1, 2, 3, 0))


def _check(config: STSANetConfig) -> None:
  check_size(config.size)
  if config.length != LENGTH:
    raise UserError(
      f"length is {config.length}: STSANet takes {LENGTH} frames, which the encoder makes the "
      f"{STEPS} steps in time that the attention is between"
    )
  for field in ("relations", "weighting"):
    known = typing.get_args(STSANetConfig.__annotations__[field])
    if getattr(config, field) not in known:
      raise UserError(f"{field} is {getattr(config, field)!r}: give one of {', '.join(known)}")
  for field, known in (("stsa_blocks", {1, 2, 3, 4}), ("stsa_layers", {1, 2})):
    value = getattr(config, field)
    if set(value) - known:
      raise UserError(f"{field} is {value}: give some of {', '.join(map(str, sorted(known)))}")
  if config.relations != "exchange" and config.stsa_layers != (1, 2):
    raise UserError(
      f"relations={config.relations!r} has one attention layer of its own: leave stsa_layers at "
      f"(1, 2), or set relations='exchange' for stsa_layers={config.stsa_layers}"
    )
