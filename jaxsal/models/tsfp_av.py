"""TSFP-Net with audio.

Chang and Zhu, Temporal-Spatial Feature Pyramid for Video Saliency Detection, arXiv:2105.04213,
section 3.1 and figure 1. A bilinear transformation of base3's features and SoundNet's gives an
attention map. Resized, it weights the integrated visual features, and a residual connection adds
them. The authors published no code; where the paper leaves a choice open, it is made here, and a
docstring says so.
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
  """Configuration of TSFP-Net with audio, which has the fields of TSFP-Net's."""

  @property
  def visual(self) -> TSFPConfig:
    """The configuration of TSFP-Net."""
    return TSFPConfig(**dataclasses.asdict(self))

  @property
  def audio(self) -> soundnet.SoundNetConfig:
    """The configuration of SoundNet, with the width of TSFP-Net."""
    return soundnet.SoundNetConfig(
      width=self.width, features=s3d.channels(soundnet.LAYERS[-1].channels, self.width)
    )


VARIANTS = {
  "base": TSFPAVConfig(),
  "small": TSFPAVConfig(width=0.25),
  "tiny": TSFPAVConfig(width=0.0625, length=8, size=(32, 64)),
}


class SoundAttention(nnx.Module):
  """The attention map tanh(v^T W a + b) of the frames' features v and the sound's features a.

  The paper names a bilinear transformation, and leaves the rest open:

  - W is one matrix for all positions, so that the weights fit any size.
  - The sound's features are averaged over their steps. The waveform is longer than the clip, so
    that its steps are not those of the clip.
  - Both kinds of features are batch-normalised first. After a ReLU they are mostly common to all
    positions and all sounds, which hides the differences. (From random weights and without this,
    the demo run learned nothing from the sound.)
  - W starts at zero, and so does the tanh. Training therefore starts from the visual network, which
    the residual connection is meant to preserve.
  - The form is divided by the root of its number of products, because a sum of 850,000 products
    would saturate after one step.
  """

  def __init__(self, video: int, audio: int) -> None:
    """Creates the attention for these numbers of channels."""
    self.kernel = nnx.Param(filled(0, video, audio, 1))
    self.bias = nnx.Param(filled(0, 1))
    # Momentum is 0.1, because the statistics start from nothing even if the encoders are published.
    self.video_bn = nn.BatchNorm(video, momentum=0.1, epsilon=1e-5)
    self.audio_bn = nn.BatchNorm(audio, momentum=0.1, epsilon=1e-5)

  def __call__(self, video: jax.Array, audio: jax.Array) -> jax.Array:
    """Takes [b, t, h, w, c] and [b, s, d]; returns float32 [b, t, h, w, 1] in [-1, 1]."""
    kernel = self.kernel[...] / math.sqrt(video.shape[-1] * audio.shape[-1])
    weights = jnp.einsum("bd,cdo->bco", self.audio_bn(audio.mean(axis=1)), kernel)
    video = self.video_bn(video.astype(jnp.float32))
    return jnp.tanh(jnp.einsum("bthwc,bco->bthwo", video, weights) + self.bias[...])


class TSFPNetAV(AudioVisualModel[TSFPAVConfig, tsfp.TSFPNet]):
  """TSFP-Net with audio (figure 1); its part `visual` is TSFP-Net without."""

  def __init__(self, config: TSFPAVConfig, *, rngs: nnx.Rngs) -> None:
    """Creates the network; raises UserError if the encoder cannot halve the size or the length."""
    super().__init__(config)
    self.visual = tsfp.TSFPNet(config.visual, rngs=rngs)
    self.audio = soundnet.SoundNet(config.audio, rngs=rngs)
    base3 = s3d.stage_channels(config.width)[2]
    self.attention = SoundAttention(base3, config.audio.features)

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
    return self.from_stages(self.encoder(frames), waveform)

  def from_stages(self, stages: s3d.Stages, waveform: jax.Array) -> jax.Array:
    """Predicts maps [b, h, w] from the encoder's outputs for clips and their waveforms."""
    self.check_waveform(waveform)
    features = self.visual.decode(stages)
    attention = self.attention(stages.base3, self.audio(waveform))
    attention = nn.resize(attention, features.shape[1:4]).astype(features.dtype)
    return self.visual.readout(features * attention + features)

  @staticmethod
  def table(config: TSFPAVConfig) -> Iterator[Entry]:
    """Yields the names of AViNet's checkpoints for the parts, and our own for the rest."""
    yield from under("visual_model", "visual", tsfp.TSFPNet.table(config.visual))
    yield from under("audionet", "audio", soundnet.SoundNet.table(config.audio))
    yield from bilinear("bilinear", ("attention",))
    for name in ("video_bn", "audio_bn"):
      yield from batch_norm(name, ("attention", name))
