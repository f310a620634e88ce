"""AViNet: ViNet with sound.

Jain et al., ViNet: Pushing the limits of Visual Modality for Audio-Visual Saliency Prediction, IROS
2021. SoundNet's features of the clip's sound are fused with the deepest features of ViNet's encoder
(section 3.2). The authors' PyTorch checkpoints load for the bilinear and the transformer fusion;
they published no code for the third fusion, concatenation.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsal import nn
from jaxsal.errors import UserError
from jaxsal.models import s3d, soundnet, vinet
from jaxsal.models._base import AudioVisualModel
from jaxsal.models._geometry import check_clip
from jaxsal.models._parts import parts
from jaxsal.models._table import Entry, bilinear, conv, conv2d, linear, under, unused
from jaxsal.models.vinet import ViNetConfig
from jaxsal.nn.init import filled, kernel_init


@dataclasses.dataclass(frozen=True, kw_only=True)
class AViNetConfig(ViNetConfig):
  """Configuration of AViNet: ViNet's, and the fusion with the sound.

  Attributes:
    size: height and width; the weights of the bilinear and the transformer fusion fit one size
      only.
    fusion: fusion of the features of frames and sound: `bilinear` (B), which the paper reports,
      `transformer` (T), or `concat` (C).
  """

  fusion: Literal["bilinear", "transformer", "concat"] = "bilinear"

  @property
  def visual(self) -> ViNetConfig:
    """The configuration of ViNet."""
    fields = dataclasses.fields(ViNetConfig)
    return ViNetConfig(**{field.name: getattr(self, field.name) for field in fields})

  @property
  def audio(self) -> soundnet.SoundNetConfig:
    """The configuration of SoundNet, with as many channels as the frames' deepest features."""
    return soundnet.SoundNetConfig(width=self.width, features=self.features)

  @property
  def features(self) -> int:
    """The number of channels of the deepest features."""
    return s3d.stage_channels(self.width)[-1]

  @property
  def positions(self) -> tuple[int, int, int]:
    """The time, height and width of the deepest features."""
    h, w = self.size
    return self.length // 8, h // 32, w // 32


VARIANTS = {
  "base": AViNetConfig(),
  "small": AViNetConfig(width=0.25),
  "tiny": AViNetConfig(width=0.0625, length=8, size=(32, 64)),
  # Section 3.2: the other fusions.
  "transformer": AViNetConfig(fusion="transformer"),
  "concat": AViNetConfig(fusion="concat"),
}

_ENCODER_LAYERS = 3
_HEADS = 4


class BilinearFusion(nnx.Module):
  """The bilinear fusion y = x1^T A x2 + b (equation 1).

  For each channel, x1 are the positions of the frames' features and x2 the steps of the sound's. A
  and b are the same for all channels.
  """

  def __init__(self, config: AViNetConfig, audio_steps: int, rngs: nnx.Rngs) -> None:
    t, h, w = config.positions
    self.window = min(4, t)
    pooled = ((t - self.window) // 2 + 1) * h * ((w - 1) // 2 + 1)
    shape = (pooled, audio_steps, t * h * w)
    self.kernel = nnx.Param(kernel_init(rngs.params(), shape, jnp.float32))
    self.bias = nnx.Param(filled(0, shape[-1]))

  def __call__(self, video: jax.Array, audio: jax.Array) -> jax.Array:
    """Takes [b, t, h, w, c] and [b, s, c]; returns float32 [b, t, h, w, c]."""
    b, _, _, _, c = video.shape
    # The authors' code pools the frames' features over time, and takes every second column.
    pooled = nn.max_pool3d(video.astype(jnp.float32), (self.window, 1, 1), (2, 1, 2))
    products = jnp.einsum("bic,bjc->bcij", pooled.reshape(b, -1, c), audio)
    fused = jnp.einsum("bcij,ijo->boc", products, self.kernel[...])
    return (fused + self.bias[...][:, None]).reshape(video.shape)


class EncoderLayer(nnx.Module):
  """A layer of a transformer's encoder, normalised after each addition, without dropout."""

  def __init__(self, width: int, rngs: nnx.Rngs) -> None:
    options = {"kernel_init": kernel_init, "rngs": rngs}
    self.qkv = nnx.Linear(width, 3 * width, **options)
    self.projection = nnx.Linear(width, width, **options)
    self.linear1 = nnx.Linear(width, width, **options)
    self.linear2 = nnx.Linear(width, width, **options)
    self.norm1 = nnx.LayerNorm(width, epsilon=1e-5, use_fast_variance=False, rngs=rngs)
    self.norm2 = nnx.LayerNorm(width, epsilon=1e-5, use_fast_variance=False, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Takes tokens [b, n, c]; returns tokens of that shape."""
    b, n, c = x.shape
    q, k, v = jnp.split(self.qkv(x).reshape(b, n, 3 * _HEADS, c // _HEADS), 3, axis=2)
    attended = jax.nn.dot_product_attention(q, k, v).reshape(b, n, c)
    x = self.norm1(x + self.projection(attended))
    return self.norm2(x + self.linear2(jax.nn.relu(self.linear1(x))))


class Transformer(nnx.Module):
  """A transformer's encoder: sinusoidal positions are added to the tokens, then come its layers."""

  def __init__(self, tokens: int, width: int, rngs: nnx.Rngs) -> None:
    # The positions are never trained, but saved with the weights, as in the authors' checkpoints.
    self.positions = nnx.BatchStat(jnp.asarray(sinusoids(tokens, width))[None])
    for i in range(_ENCODER_LAYERS):
      setattr(self, f"layer{i}", EncoderLayer(width, rngs))

  def __call__(self, x: jax.Array) -> jax.Array:
    """Takes tokens [b, n, c]; returns tokens of that shape."""
    x += self.positions[...]
    for layer in parts(self, "layer", range(_ENCODER_LAYERS)):
      x = layer(x)
    return x


class TransformerFusion(nnx.Module):
  """The transformer fusion.

  The positions of the frames' features and the steps of the sound's features are tokens, which
  attend to each other.
  """

  def __init__(self, config: AViNetConfig, audio_steps: int, rngs: nnx.Rngs) -> None:
    width = config.features // 2
    self.video_conv = nn.Conv(config.features, width, (1, 1, 1), rngs=rngs)
    self.audio_conv = nnx.Conv(config.features, width, (1, 1), kernel_init=kernel_init, rngs=rngs)
    self.transformer = Transformer(math.prod(config.positions) + audio_steps, width, rngs)

  def __call__(self, video: jax.Array, audio: jax.Array) -> jax.Array:
    """Takes [b, t, h, w, c] and [b, s, c]; returns float32 [b, t, h, w, c].

    The second half of the channels is the mean of the sound's tokens, at all positions.
    """
    b, t, h, w, c = video.shape
    video = self.video_conv(video.astype(jnp.float32)).reshape(b, t * h * w, c // 2)
    audio = self.audio_conv(audio[:, :, None])[:, :, 0]
    tokens = self.transformer(jnp.concatenate([video, audio], axis=1))
    video, audio = jnp.split(tokens, [t * h * w], axis=1)
    audio = jnp.broadcast_to(audio.mean(axis=1, keepdims=True), video.shape)
    return jnp.concatenate([video, audio], axis=-1).reshape(b, t, h, w, c)


class ConcatFusion(nnx.Module):
  """The fusion by concatenation.

  The mean of the sound's features over its steps is concatenated with the frames' features at every
  position, and a 1x1x1 convolution follows.
  """

  def __init__(self, config: AViNetConfig, rngs: nnx.Rngs) -> None:
    self.conv = nn.Conv(2 * config.features, config.features, (1, 1, 1), rngs=rngs)

  def __call__(self, video: jax.Array, audio: jax.Array) -> jax.Array:
    """Takes [b, t, h, w, c] and [b, s, c]; returns float32 [b, t, h, w, c]."""
    audio = jnp.broadcast_to(audio.mean(axis=1)[:, None, None, None], video.shape)
    return self.conv(jnp.concatenate([video.astype(jnp.float32), audio], axis=-1))


class AViNet(AudioVisualModel[AViNetConfig, vinet.ViNet]):
  """AViNet (figure 2) with one of the three fusions; its part `visual` is ViNet."""

  def __init__(self, config: AViNetConfig, *, rngs: nnx.Rngs) -> None:
    """Creates the network.

    Raises:
      UserError: ViNet cannot have the size or the length, or the transformer the width.
    """
    super().__init__(config)
    self.visual = vinet.ViNet(config.visual, rngs=rngs)
    self.audio = soundnet.SoundNet(config.audio, rngs=rngs)
    steps = soundnet.steps(self.samples)
    if config.fusion == "bilinear":
      self.fusion = BilinearFusion(config, steps, rngs)
    elif config.fusion == "concat":
      self.fusion = ConcatFusion(config, rngs)
    elif config.features % (2 * _HEADS):
      raise UserError(
        f"width is {config.width}, which makes {config.features} features: the transformer fusion "
        f"needs a multiple of {2 * _HEADS}, such as width 1, 0.5 or 0.25 gives."
      )
    else:
      self.fusion = TransformerFusion(config, steps, rngs)

  @property
  def encoder(self) -> s3d.Encoder:
    """The encoder of the frames."""
    return self.visual.encoder

  def __call__(self, frames: jax.Array, waveform: jax.Array) -> jax.Array:
    """Predicts the map of the last frame.

    Args:
      frames: normalised frames [b, t, h, w, 3].
      waveform: sound [b, samples] on the scale of [-256, 256].

    Returns:
      float32 maps [b, h, w] in [0, 1].

    Raises:
      UserError: the frames or the sound have another length than the configuration, or the frames
        a size that does not fit.
    """
    check_clip(frames, self.config)
    if self.config.fusion != "concat" and frames.shape[2:4] != self.size:
      raise UserError(
        f"frames are {frames.shape[2]} x {frames.shape[3]}: the {self.config.fusion} fusion's "
        f"weights fit {' x '.join(map(str, self.size))} only; resize the frames, or build the "
        "network with their size."
      )
    return self.from_stages(self.encoder(frames), waveform)

  def from_stages(self, stages: s3d.Stages, waveform: jax.Array) -> jax.Array:
    """Predicts maps [b, h, w] from the encoder's outputs for clips and their waveforms."""
    self.check_waveform(waveform)
    fused = self.fusion(stages.base4, self.audio(waveform)).astype(self.config.dtype)
    logits = self.visual.decoder(stages._replace(base4=fused))
    return jax.nn.sigmoid(logits[:, 0, :, :, 0].astype(jnp.float32))

  @staticmethod
  def table(config: AViNetConfig) -> Iterator[Entry]:
    """Yields the names in the order of the authors' code.

    Their network with the transformer fusion also has a layer `bilinear`, which it does not use.
    """
    yield from under("visual_model", "visual", vinet.ViNet.table(config.visual))
    audio = under("audionet", "audio", soundnet.SoundNet.table(config.audio))
    if config.fusion == "bilinear":
      yield from audio
      yield from bilinear("bilinear", ("fusion",))
    elif config.fusion == "concat":
      yield from audio
      yield from conv("conv_1x1", ("fusion", "conv"), bias=True)
    else:
      yield from conv("conv_in_1x1", ("fusion", "video_conv"), bias=True)
      yield from _transformer_table("transformer", ("fusion", "transformer"))
      yield from audio
      yield from conv2d("audio_conv_1x1", ("fusion", "audio_conv"))
      yield unused("bilinear.weight", (336, 42, 3))  # The shape is for 224 x 384 at any size.
      yield unused("bilinear.bias", (336,))


def sinusoids(tokens: int, width: int) -> np.ndarray:
  """Computes the positional encoding [tokens, width] of a transformer.

  Vaswani et al., Attention is all you need, 2017, section 3.5.
  """
  angles = np.arange(tokens)[:, None] * np.exp(np.arange(0, width, 2) * (-math.log(1e4) / width))
  return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(tokens, width).astype("f4")


def _transformer_table(name: str, path: tuple[str, ...]) -> Iterator[Entry]:
  yield Entry(f"{name}.pos_encoder.pe", (*path, "positions"), (1, 0, 2))
  for i in range(_ENCODER_LAYERS):
    there, here = f"{name}.transformer_encoder.layers.{i}", (*path, f"layer{i}")
    yield Entry(f"{there}.self_attn.in_proj_weight", (*here, "qkv", "kernel"), (1, 0))
    yield Entry(f"{there}.self_attn.in_proj_bias", (*here, "qkv", "bias"))
    yield from linear(f"{there}.self_attn.out_proj", (*here, "projection"))
    yield from linear(f"{there}.linear1", (*here, "linear1"))
    yield from linear(f"{there}.linear2", (*here, "linear2"))
    for norm in ("norm1", "norm2"):
      yield Entry(f"{there}.{norm}.weight", (*here, norm, "scale"))
      yield Entry(f"{there}.{norm}.bias", (*here, norm, "bias"))
