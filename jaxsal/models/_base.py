"""The base classes of the networks, and the fields that every saliency configuration has."""

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, Literal, Self, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal.data.waveforms import SAMPLE_RATE
from jaxsal.errors import UserError
from jaxsal.models._table import Entry
from jaxsal.models._weights import SavedModel, set_arrays

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaliencyConfig:
  """The fields that the configuration of every saliency network has.

  Attributes:
    length: T, number of frames in a clip.
    size: height and width of the frames and of the map, in pixels.
    target: frame of the clip that the map belongs to: the last, or the (T / 2)-th.
    padding: frames put before a video that is too short for a clip: its first frame, repeated, or
      the video itself, looped (see `jaxsal.data.windows`).
    mean, std: means and standard deviations of R, G and B on the scale of 0 to 1; the network takes
      frames as (frame / 255 - mean) / std.
    dtype: type that the convolutions compute in; parameters, BatchNorm and the map stay float32.
  """

  length: int = 32
  size: tuple[int, int] = (224, 384)
  target: Literal["last", "middle"] = "last"
  padding: Literal["repeat", "loop"] = "repeat"
  mean: tuple[float, float, float] = IMAGENET_MEAN
  std: tuple[float, float, float] = IMAGENET_STD
  dtype: Literal["float32", "bfloat16"] = "float32"

  def __post_init__(self) -> None:
    for field in dataclasses.fields(self):  # JSON and ConfigDict give lists.
      value = getattr(self, field.name)
      if isinstance(value, list):
        object.__setattr__(self, field.name, tuple(value))
    for name, hint in typing.get_type_hints(type(self)).items():
      allowed = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
      if allowed and getattr(self, name) not in allowed:
        raise UserError(
          f"{name} is {getattr(self, name)!r}: it must be one of {', '.join(allowed)}."
        )


Config = TypeVar("Config")
SaliencyConfigType = TypeVar("SaliencyConfigType", bound=SaliencyConfig)


class BaseNetwork(nnx.Module, Generic[Config]):
  """A network of the registry, which its configuration rebuilds and its table converts.

  Attributes:
    config: configuration of the network, a frozen dataclass.
  """

  config: Config

  def __init__(self, config: Config, *, rngs: nnx.Rngs | None = None) -> None:
    """Keeps the configuration; a subclass adds its parts, with random weights from `rngs`."""
    del rngs
    self.config = config

  @staticmethod
  def table(config: Any) -> Iterator[Entry]:
    """Yields an entry for every name in the state dict of the PyTorch implementation."""
    raise NotImplementedError

  @staticmethod
  def fields_from(names: Iterable[str]) -> dict[str, Any]:
    """Returns the fields of the configuration that follow from the names in a state dict.

    Most networks have no such field.
    """
    del names
    return {}

  def copy_from(self, saved: SavedModel) -> None:
    """Copies the weights of a model folder into this network.

    Raises:
      UserError: the parameters differ.
    """
    set_arrays(self, saved.weights, source=str(saved.file))


class BaseEncoder(nnx.Module):
  """An encoder that the published weights of a classifier can initialise."""

  def published_table(self, names: Iterable[str]) -> Iterator[Entry]:
    """Yields an entry for every name in the classifier's state dict.

    Args:
      names: the names in the state dict at hand, for encoders that are published in two namings.
    """
    raise NotImplementedError


class SaliencyModel(BaseNetwork[SaliencyConfigType]):
  """A network that predicts the saliency map of a clip's target frame.

  `model(frames)` takes normalised frames [b, t, h, w, 3] and returns maps [b, h, w] in [0, 1].

  Attributes:
    needs_flow: whether a batch must contain optical `flow`.
    samples: length of the waveform that a batch must contain; 0 for none.
    recurrent: whether the network predicts frame by frame with a state, by `densities`.
    resampling: how frames are resized to the size of the network (`jaxsal.data.transforms.resize`).
  """

  needs_flow = False
  samples = 0
  recurrent = False
  resampling: Literal["area", "lanczos"] = "area"

  @property
  def length(self) -> int:
    return self.config.length

  @property
  def size(self) -> tuple[int, int]:
    return self.config.size

  @property
  def target(self) -> Literal["last", "middle"]:
    return self.config.target

  @property
  def padding(self) -> Literal["repeat", "loop"]:
    return self.config.padding

  @property
  def mean(self) -> tuple[float, float, float]:
    return self.config.mean

  @property
  def std(self) -> tuple[float, float, float]:
    return self.config.std

  @property
  def stride(self) -> int:
    """Every how many frames a recurrent network's sequence takes one, unless another is asked."""
    return 1

  @property
  def encoders(self) -> tuple[BaseEncoder, ...]:
    """The encoders that published weights initialise; none if the network has no `encoder`."""
    encoder = getattr(self, "encoder", None)
    return () if encoder is None else (encoder,)

  def batch_spec(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes and types of the arrays that `from_batch` takes."""
    struct = jax.ShapeDtypeStruct
    spec = {"frames": struct((batch_size, self.length, *self.size, 3), jnp.uint8)}
    if self.samples:
      spec["waveform"] = struct((batch_size, self.samples), jnp.float32)
    if self.needs_flow:
      spec["flow"] = struct((batch_size, *self.size, 3), jnp.uint8)
    return spec

  def for_dataset(self, dataset: str) -> Self:
    """Returns the network for a data set: this one, unless it has parts of its own for the set."""
    del dataset
    return self

  def for_size(self, height: int, width: int) -> Self:
    """Returns the network for frames of a size: this one, unless it adapts its own size."""
    del height, width
    return self

  def for_images(self) -> Self:
    """Returns the network for still images: this one, unless it treats them apart."""
    return self

  def initial_state(self, sequences: int, size: tuple[int, int]) -> jax.Array:
    """Returns the state of a recurrent network before the first frames of some sequences."""
    raise NotImplementedError

  def densities(
    self, frames: jax.Array, state: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array]:
    """Returns a recurrent network's log-densities of all frames [b, t, h, w], and its state."""
    raise NotImplementedError

  def normalise(self, frames: jax.Array) -> jax.Array:
    """Normalises uint8 frames [..., 3] in R, G, B by the network's own constants, to float32."""
    mean = jnp.asarray(self.mean, jnp.float32)
    std = jnp.asarray(self.std, jnp.float32)
    return (frames.astype(jnp.float32) / 255 - mean) / std

  def from_batch(self, batch: Mapping[str, jax.Array]) -> jax.Array:
    """Returns maps [b, h, w] for a batch of `jaxsal.data.pipeline`, with uint8 `frames`."""
    return self(self.normalise(batch["frames"]))


VisualModel = TypeVar("VisualModel", bound=SaliencyModel[Any])


class AudioVisualModel(SaliencyModel[SaliencyConfigType], Generic[SaliencyConfigType, VisualModel]):
  """A network that predicts the saliency map of a clip's target frame from frames and sound.

  `model(frames, waveform)` takes normalised frames [b, t, h, w, 3] and a mono waveform [b, samples]
  on the scale of [-256, 256], with the sound of the clip in its middle, and returns maps [b, h, w]
  in [0, 1].

  Attributes:
    visual: network without sound that this one extends.
    audio: encoder of the sound, a SoundNet.
    sample_rate: samples of the waveform per second.
  """

  visual: VisualModel
  audio: BaseNetwork[Any]
  sample_rate = SAMPLE_RATE

  @property
  def samples(self) -> int:
    """Length of the waveform, which has room for `length` frames at 10 frames a second."""
    return self.sample_rate // 10 * self.length

  def from_batch(self, batch: Mapping[str, jax.Array]) -> jax.Array:
    """Returns maps [b, h, w] for a batch of uint8 `frames` and their `waveform`."""
    return self(self.normalise(batch["frames"]), batch["waveform"])

  def copy_from(self, saved: SavedModel) -> None:
    """Copies the weights of a model folder into the network.

    If the folder has the network `visual` or the SoundNet alone, that part takes the weights and
    the rest of the network is unchanged.

    Raises:
      UserError: the parameters differ.
    """
    for part in (self.visual, self.audio):
      if type(part) is saved.network:
        part.copy_from(saved)
        return
    super().copy_from(saved)

  def check_waveform(self, waveform: jax.Array) -> None:
    """Raises UserError unless the waveform is [b, samples]."""
    if waveform.ndim != 2 or waveform.shape[1] != self.samples:
      raise UserError(
        f"waveform has shape {waveform.shape}: a network of length {self.length} takes "
        f"[b, {self.samples}], mono at {self.sample_rate} Hz."
      )
