"""What every saliency network offers beside its own parts."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal.data.waveforms import SAMPLE_RATE
from jaxsal.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaliencyConfig:
  """The fields that every network's configuration has.

  Attributes:
    length: T, the number of frames in a clip.
    size: height and width of the frames and of the map, in pixels.
    target: which frame of the clip the map belongs to: the last, or the (T / 2)-th.
    padding: what stands in front of a video too short for its windows: its first frame, repeated,
      or the video itself, looped (see `jaxsal.data.windows`).
    mean, std: of R, G and B on the scale of 0 to 1; frames reach the network as
      (frame / 255 - mean) / std.
    dtype: what the convolutions compute in; parameters, BatchNorm and the map stay float32.
  """

  length: int = 32
  size: tuple[int, int] = (224, 384)
  target: Literal["last", "middle"] = "last"
  padding: Literal["repeat", "loop"] = "repeat"
  mean: tuple[float, float, float] = IMAGENET_MEAN
  std: tuple[float, float, float] = IMAGENET_STD
  dtype: Literal["float32", "bfloat16"] = "float32"

  def __post_init__(self) -> None:
    for field in dataclasses.fields(self):  # JSON and ConfigDict know lists only
      value = getattr(self, field.name)
      if isinstance(value, list):
        object.__setattr__(self, field.name, tuple(value))
    for name, hint in typing.get_type_hints(type(self)).items():
      allowed = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
      if allowed and getattr(self, name) not in allowed:
        raise UserError(
          f"{name} is {getattr(self, name)!r}: it must be one of {', '.join(allowed)}"
        )


class SaliencyModel(nnx.Module):
  """A network from a clip to the saliency map of its target frame.

  `model(frames)` takes normalised frames [b, t, h, w, 3] and gives maps [b, h, w], in [0, 1].

  Attributes:
    config: its configuration.
    needs_flow: whether a batch must hold optical `flow`.
    samples: length of the waveform that a batch must hold; 0 for none.
  """

  needs_flow = False
  samples = 0
  config: SaliencyConfig

  @property
  def length(self) -> int:
    return self.config.length

  @property
  def size(self) -> tuple[int, int]:
    return self.config.size

  @property
  def target(self) -> str:
    return self.config.target

  @property
  def padding(self) -> str:
    return self.config.padding

  @property
  def mean(self) -> tuple[float, float, float]:
    return self.config.mean

  @property
  def std(self) -> tuple[float, float, float]:
    return self.config.std

  @property
  def encoders(self) -> tuple[nnx.Module, ...]:
    """The parts that published weights of an encoder initialise."""
    return (self.encoder,)

  def batch_spec(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of what `from_batch` takes: `frames`, and `waveform` or `flow` if needed."""
    struct = jax.ShapeDtypeStruct
    spec = {"frames": struct((batch_size, self.length, *self.size, 3), jnp.uint8)}
    if self.samples:
      spec["waveform"] = struct((batch_size, self.samples), jnp.float32)
    if self.needs_flow:
      spec["flow"] = struct((batch_size, *self.size, 3), jnp.uint8)
    return spec

  def normalise(self, frames: jax.Array) -> jax.Array:
    """Frames [..., 3] in R, G, B, uint8 -> float32 in the network's own constants."""
    mean = jnp.asarray(self.mean, jnp.float32)
    std = jnp.asarray(self.std, jnp.float32)
    return (frames.astype(jnp.float32) / 255 - mean) / std

  def from_batch(self, batch: Mapping[str, jax.Array]) -> jax.Array:
    """Maps [b, h, w] for a batch as `jaxsal.data.pipeline` makes it: uint8 `frames`."""
    return self(self.normalise(batch["frames"]))


class AudioVisualModel(SaliencyModel):
  """A network from a clip and its sound to the saliency map of the clip's target frame.

  `model(frames, waveform)` takes normalised frames [b, t, h, w, 3] and mono sound [b, samples] on
  the scale of [-256, 256], the clip's in the middle, and gives maps [b, h, w], in [0, 1].

  Attributes:
    visual: the network without sound that this one is built on; its trained weights are put there
      by `jaxsal.models.copy_weights`.
    audio: the sound encoder, a SoundNet.
    sample_rate: of the waveform, in Hz.
  """

  visual: SaliencyModel
  audio: nnx.Module
  sample_rate = SAMPLE_RATE

  @property
  def samples(self) -> int:
    """Length of the waveform: room for `length` frames at 10 frames a second."""
    return self.sample_rate // 10 * self.length

  @property
  def encoder(self) -> nnx.Module:
    """The encoder of the frames."""
    return self.visual.encoder

  def from_batch(self, batch: Mapping[str, jax.Array]) -> jax.Array:
    """Maps [b, h, w] for a batch of uint8 `frames` and their `waveform`."""
    return self(self.normalise(batch["frames"]), batch["waveform"])

  def check_waveform(self, waveform: jax.Array) -> None:
    """Raises UserError unless the waveform is [b, samples]."""
    if waveform.ndim != 2 or waveform.shape[1] != self.samples:
      raise UserError(
        f"waveform has shape {waveform.shape}: a network of length {self.length} takes "
        f"[b, {self.samples}], mono at {self.sample_rate} Hz"
      )
