"""TSFP-Net with audio.

Chang and Zhu, Temporal-Spatial Feature Pyramid for Video Saliency Detection, arXiv:2105.04213,
section 3.1 and figure 1: a bilinear transformation of base3's features and SoundNet's, enlarged, is
an attention map that weights the integrated visual features, beside a residual connection. The
authors published no code; where the paper leaves a choice open it is made here and said so.
"""

import dataclasses
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal import nn
from jaxsal.models import s3d, soundnet, tsfp
from jaxsal.models._base import AudioVisualModel
from jaxsal.models._geometry import check_clip
from jaxsal.models._table import Entry, batch_norm, bilinear, under
from jaxsal.models.tsfp import TSFPConfig
from jaxsal.nn.init import filled


@dataclasses.dataclass(frozen=True, kw_only=True)
class TSFPAVConfig(TSFPConfig):
  """Configuration of TSFP-Net with audio: TSFP-Net's."""

  @property
  def visual(self) -> TSFPConfig:
    """The same, of TSFP-Net."""
    return TSFPConfig(**dataclasses.asdict(self))

  @property
  def audio(self) -> soundnet.SoundNetConfig:
    """SoundNet of the same width."""
    return soundnet.SoundNetConfig(
      width=self.width, features=s3d.channels(soundnet.LAYERS[-1].channels, self.width)
    )


VARIANTS = {
  "base": TSFPAVConfig(),
  "small": TSFPAVConfig(width=0.25),
  "tiny": TSFPAVConfig(width=0.0625, length=8, size=(32, 64)),
}


class SoundAttention(nnx.Module):
  """Where, and when, the frames' features v fit the sound's a: tanh(v^T W a + b).

  The paper names a bilinear transformation and no more. Here it is one form for all positions, so
  that weights fit any size, with the sound averaged over its steps: the waveform is longer than the
  clip, so that they are not the clip's. Both are batch-normalised before: behind a ReLU most of
  what they are is common to all positions and all sounds, and hides what tells them apart (from
  random weights, the demo run learned nothing from the sound without it). W starts at zero and tanh
  passes through zero: training starts as the visual network, which the residual connection is there
  to preserve. The form is divided by the root of its number of products, as a sum of 850,000 would
  saturate after one step.
  """

  def __init__(self, video: int, audio: int) -> None:
    """Numbers of channels."""
    self.kernel = nnx.Param(filled(0, video, audio, 1))
    self.bias = nnx.Param(filled(0, 1))
    # Their statistics start from nothing also where the encoders' come from a checkpoint.
    self.video_bn = nn.BatchNorm(video, momentum=0.1, epsilon=1e-5)
    self.audio_bn = nn.BatchNorm(audio, momentum=0.1, epsilon=1e-5)

  def __call__(self, video: jax.Array, audio: jax.Array) -> jax.Array:
    """[b, t, h, w, c] and [b, s, d] -> [b, t, h, w, 1], float32 in [-1, 1]."""
    kernel = self.kernel[...] / math.sqrt(video.shape[-1] * audio.shape[-1])
    weights = jnp.einsum("bd,cdo->bco", self.audio_bn(audio.mean(axis=1)), kernel)
    video = self.video_bn(video.astype(jnp.float32))
    return jnp.tanh(jnp.einsum("bthwc,bco->bthwo", video, weights) + self.bias[...])


class TSFPNetAV(AudioVisualModel[TSFPAVConfig, tsfp.TSFPNet]):
  """TSFP-Net with audio (figure 1); TSFP-Net is the part `visual`."""

  def __init__(self, config: TSFPAVConfig, *, rngs: nnx.Rngs) -> None:
    """Raises UserError as TSFP-Net does."""
    self.config = config
    self.visual = tsfp.TSFPNet(config.visual, rngs=rngs)
    self.audio = soundnet.SoundNet(config.audio, rngs=rngs)
    base3 = s3d.stage_channels(config.width)[2]
    self.attention = SoundAttention(base3, config.audio.features)

  @property
  def encoder(self) -> s3d.Encoder:
    """The encoder of the frames."""
    return self.visual.encoder

  def __call__(self, frames: jax.Array, waveform: jax.Array) -> jax.Array:
    """Frames and sound -> map of the last frame.

    Args:
      frames: [b, t, h, w, 3], normalised.
      waveform: [b, samples], on the scale of [-256, 256].

    Returns:
      float32 [b, h, w] in [0, 1].

    Raises:
      UserError: if the clip or its sound is not of the configuration's length, or the frames of
        an unfit size.
    """
    check_clip(frames, self.config)
    return self.from_stages(self.encoder(frames), waveform)

  def from_stages(self, stages: s3d.Stages, waveform: jax.Array) -> jax.Array:
    """The encoder's outputs for a clip, and its sound -> its map; see `__call__`."""
    self.check_waveform(waveform)
    features = self.visual.decode(stages)
    attention = self.attention(stages.base3, self.audio(waveform))
    attention = nn.resize(attention, features.shape[1:4]).astype(features.dtype)
    return self.visual.readout(features * attention + features)

  @staticmethod
  def table(config: TSFPAVConfig) -> Iterator[Entry]:
    """Names for PyTorch: those of AViNet's checkpoints for the parts."""
    yield from under("visual_model", "visual", tsfp.TSFPNet.table(config.visual))
    yield from under("audionet", "audio", soundnet.SoundNet.table(config.audio))
    yield from bilinear("bilinear", ("attention",))
    for name in ("video_bn", "audio_bn"):
      yield from batch_norm(name, ("attention", name))
