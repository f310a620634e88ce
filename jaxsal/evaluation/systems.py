"""The systems that predict the maps of a split, and maps at the size of the ground truth.

A system is a model, a folder of images that any other system wrote, or a bound.
"""

import functools
import hashlib
import math
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from jaxsal import metrics, models
from jaxsal.console import say
from jaxsal.data import naming, transforms
from jaxsal.data.sources import Split
from jaxsal.errors import UserError
from jaxsal.evaluation.bounds import Bound, Frame
from jaxsal.models import SaliencyModel
from jaxsal.prediction import PredictOptions, Predictor
from jaxsal.prediction.predictor import check_stride, load_network

# Number of maps that are resized and scored together; programs are compiled for it. With 16, a CPU
# takes 1.7 times as long per map (benchmarks/metrics.py).
BATCH = 2


class Maps(Protocol):
  """The maps that a system predicts for the videos of a split.

  Attributes:
    about: kind, name, path and weights_sha256 of the system, for reports.
    signature: JSON values that differ between systems, and between states of one system.
    post_processing: processing that the maps went through, in words.
  """

  about: dict[str, Any]
  signature: dict[str, Any]
  post_processing: str

  def of_video(self, number: int, frames: Sequence[int]) -> Generator[np.ndarray, None, None]:
    """Yields the maps of some frames of a video, in order: float32 [h, w] >= 0, all of one size.

    Args:
      number: number of the video in the split.
      frames: numbers of the frames in the video, ascending.
    """
    ...


class ModelMaps:
  """Maps that a model predicts from windows of all frames, on all devices.

  A network with parts of its own for the data set, such as UNISAL, predicts with these.
  """

  def __init__(
    self, model: SaliencyModel | str | Path, split: Split, options: PredictOptions
  ) -> None:
    """Loads the model; `compile` makes it ready.

    Args:
      model: a network, or the path of a model folder or of a training's workdir.
      split: the videos.
      options: how to predict.

    Raises:
      UserError: the model cannot be loaded, the data set lacks the sound that it needs,
        `flow_from` differs from the flow of its training, or it has no stride and one is given.
    """
    path = None if isinstance(model, SaliencyModel) else str(model)
    self._model = load_network(model).for_dataset(split.dataset.partition("/")[0])
    self._split, self._options = split, options
    if self._model.samples and not options.mute:
      split.check_sound()
    # An option that does not fit is reported now, before anything is written.
    models.flow_of(self._model, options.flow_from)
    check_stride(self._model, options)
    names = {row.network: name for name, row in models.MODELS.items()}
    weights = models.weights_sha256(self._model)
    self.about = {
      "kind": "model",
      "name": names.get(type(self._model), type(self._model).__name__),
      "path": path,
      "weights_sha256": weights,
    }
    self.signature = {
      "model": self.about["name"],
      "configuration": str(self._model.config),
      "weights": weights,
      "blur": options.blur,
      "mute": options.mute,
      "stride": (options.stride or self._model.stride) if self._model.recurrent else None,
    }
    size = "{} x {}".format(*self._model.size)
    steps = ["predicted without sound"] if options.mute and self._model.samples else []
    steps += [f"blurred with sigma {options.blur:g} at {size}"] if options.blur else []
    self.post_processing = ", ".join(steps)

  def compile(self) -> None:
    """Compiles the network for all devices, which `of_video` needs.

    Raises:
      UserError: a batch does not fit in the device's memory.
    """
    self._predictor = Predictor(self._model, self._options)
    say(f"{self.about['name']}: {self._predictor.describe()}")

  def of_video(self, number: int, frames: Sequence[int]) -> Generator[np.ndarray, None, None]:
    """Yields the maps of some frames of a video; all of its frames are decoded, for the windows."""
    video, size = self._split.videos[number], self._predictor.size
    decoded = (
      transforms.resize(
        transforms.decode_frame(self._split[record]["image"], self._split.where(record)),
        size,
        self._model.resampling,
      )
      for record in range(video.first, video.first + video.frames)
    )
    sound = None
    if self._predictor.needs_sound and not self._options.mute:
      sound = self._split.sound(video)
    return self._predictor.maps(
      decoded, frozenset(frames), sound=sound, fps=video.fps, times=video.times
    )


class FolderMaps:
  """Maps of any system, in a folder of images: FOLDER/<video>/<frame>.png, as DHF1K takes them.

  A video has one grey PNG for each frame, all of one size, whichever that is. The names of the
  images only give their order, in which 2.png precedes 10.png.
  """

  def __init__(self, folder: str | Path, split: Split) -> None:
    """Checks that all images exist.

    Raises:
      UserError: videos have no folder or another number of images; the error lists them all.
    """
    self._folder = Path(folder).expanduser()
    if not self._folder.is_dir():
      raise UserError(f"{folder}: no such folder. Maps are read from FOLDER/<video>/<frame>.png.")
    self._images: list[list[Path]] = []
    problems = []
    for video in split.videos:
      directory = self._folder / video.name
      images = naming.files(directory, ".png")
      if not directory.is_dir():
        problems.append(f"{video.name}: missing")
      elif len(images) != video.frames:
        problems.append(f"{video.name}: {len(images)} images for {video.frames} frames")
      elif doubled := naming.doubled(images):
        problems.append(f"{video.name}: {doubled}")
      self._images.append(images)
    if problems:
      raise UserError(
        f"{folder} does not fit {split.where()}. Each video needs a folder of its name with one PNG"
        " for each frame:\n  " + "\n  ".join(problems)
      )
    self.about = {
      "kind": "maps",
      "name": self._folder.resolve().name,
      "path": str(folder),
      "weights_sha256": None,
    }
    self.signature = {"maps": self._listing()}
    self.post_processing = "as the maps come"

  def _listing(self) -> str:
    """A digest of the images' names, sizes and times, which changes when they are rewritten."""
    digest = hashlib.sha256()
    for path in (path for images in self._images for path in images):
      stat = path.stat()
      name = path.relative_to(self._folder)
      digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()

  def of_video(self, number: int, frames: Sequence[int]) -> Generator[np.ndarray, None, None]:
    """Yields the maps of some frames of a video.

    Raises:
      UserError: an image cannot be decoded, or differs in size from those before it.
    """
    size = None
    for path in (self._images[number][frame] for frame in frames):
      image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
      if image is None:
        raise UserError(f"{path}: the image cannot be decoded. Write it again.")
      if image.shape != (size := size or image.shape):
        raise UserError(
          f"{path}: {image.shape[0]} x {image.shape[1]} pixels, after images of {size[0]} x "
          f"{size[1]}. All maps of a video must have one size."
        )
      yield image.astype(np.float32) / np.iinfo(image.dtype.name).max


class BoundSystem:
  """A bound in the place of a model: a bound that has a system's name and signature."""

  def __init__(self, name: str, bound: Bound) -> None:
    self.about = {"kind": "bound", "name": name, "path": None, "weights_sha256": None}
    self.signature = {"bound": name}
    self.post_processing = ""
    self._bound = bound

  def __call__(self, frame: Frame) -> tuple[np.ndarray, Frame]:
    """Returns the prediction of a frame, and the frame with the truth to score it against."""
    return self._bound(frame)


def stack(rows: Sequence[np.ndarray]) -> np.ndarray:
  """Stacks at most BATCH arrays to [BATCH, ...]; copies of the last one fill the batch."""
  return np.stack([*rows, *[rows[-1]] * (BATCH - len(rows))])


def check_blur(sigma: float) -> None:
  """Raises UserError if a blur for `finisher` is out of range."""
  if not 0 <= sigma < math.inf:
    raise UserError(f"blur {sigma}: must be 0 (none) or a standard deviation in pixels.")


@functools.cache
def finisher(size: tuple[int, int], blur: float) -> Callable[[np.ndarray], jax.Array]:
  """Returns the function that brings maps [..., h, w] to the ground truth's size, on the device.

  It resizes bicubically, replaces negative values, which a cubic causes, by 0, and blurs.

  Args:
    size: height and width of the ground truth.
    blur: standard deviation of a Gaussian in pixels of that size, or 0 for none. The Gaussian is
      cut off after 2.5 standard deviations, as in ViNet's 11 x 11 kernel of sigma 2.
  """
  # Along each axis the blur is a product with a matrix: the blurred unit vectors.
  kernel = 1, 2 * math.ceil(2.5 * blur) + 1
  rows, columns = (
    cv2.GaussianBlur(np.eye(n, dtype=np.float32), kernel, blur) if blur else None for n in size
  )

  @jax.jit
  def finish(maps: jax.Array) -> jax.Array:
    maps = jnp.maximum(metrics.to_size(maps, size), 0)
    if blur:
      maps = jnp.einsum("iy,...yx,jx->...ij", rows, maps, columns, precision="highest")
    return maps

  return finish
