"""Where the maps of a prepared split come from, a network or a folder of images, and how they get
to the size of the ground truth."""

import functools
import hashlib
import math
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from jaxsal.console import console
from jaxsal.data import transforms
from jaxsal.data.sources import Split
from jaxsal.errors import UserError
from jaxsal.prediction.predictor import Predictor

if TYPE_CHECKING:
  import jax

  from jaxsal.models import SaliencyModel

# Maps that are brought to size, and scored, together: programs are compiled for this number. With
# 16, a CPU takes 1.7 times as long per map (benchmarks/metrics.py).
BATCH = 2


class Maps(Protocol):
  """The maps that a system predicts for the videos of a split.

  Attributes:
    about: kind, name, path and weights_sha256 of the system, for reports.
    signature: JSON values; another system, or another state of it, has others.
    post_processing: what was done to the maps, in words.
  """

  about: dict[str, Any]
  signature: dict[str, Any]
  post_processing: str

  def of_video(self, number: int, frames: Sequence[int]) -> Generator[np.ndarray, None, None]:
    """The maps of some frames of a video, in order: float32 [h, w] >= 0, all of one size."""
    ...


class ModelMaps:
  """Maps of a network: windows over every frame, on all devices."""

  def __init__(
    self,
    model: "SaliencyModel | str | Path",
    split: Split,
    *,
    blur: float = 0.0,
    batch_size: int | None = None,
    mute: bool = False,
    flow_from: str | Path | None = None,
    sharing: bool = True,
  ) -> None:
    """Loads the network, which `compile` makes ready.

    Args:
      model: a network, or the path of a model folder or of a training's workdir.
      split: the videos.
      blur, batch_size, flow_from, sharing: see `jaxsal.prediction.predictor.Predictor`.
      mute: leave an audio-visual network without sound.

    Raises:
      UserError: there is no such model, the set lacks the sound that it needs, or `flow_from` is
        not what it was trained with.
    """
    from jaxsal import models

    path = str(model) if isinstance(model, str | Path) else None
    self._model = models.load(path) if path else model
    self._split, self._blur, self._batch_size, self._mute = split, blur, batch_size, mute
    self._flow_from, self._sharing = flow_from, sharing
    if self._model.samples and not mute:
      split.check_sound()
    models.flow_of(self._model, flow_from)  # raises now, and not after something was written
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
      "blur": blur,
      "mute": mute,
    }
    size = "{} x {}".format(*self._model.size)
    steps = ["predicted without sound"] if mute and self._model.samples else []
    steps += [f"blurred with sigma {blur:g} at {size}"] if blur else []
    self.post_processing = ", ".join(steps)

  def compile(self) -> None:
    """Compiles the network for all devices; needed before `of_video`.

    Raises:
      UserError: the network cannot be used so; `blur` or `batch_size` is out of range.
    """
    predictor = Predictor(
      self._model,
      batch_size=self._batch_size,
      blur=self._blur,
      flow_from=self._flow_from,
      sharing=self._sharing,
    )
    console.print(
      f"{self.about['name']}: {predictor.batch_size} clips at a time on {predictor.device}, "
      f"compiled in {predictor.compile_seconds:.1f} s",
      soft_wrap=True,
      highlight=False,
    )
    self._predictor = predictor

  def of_video(self, number: int, frames: Sequence[int]) -> Generator[np.ndarray, None, None]:
    """See `Maps`. All frames of the video are decoded, for the windows; these get a map."""
    video, size = self._split.videos[number], self._predictor.size
    decoded = (
      transforms.resize(
        transforms.decode_frame(self._split[record]["image"], self._split.where(record)), size
      )
      for record in range(video.first, video.first + video.frames)
    )
    sound = None
    if self._predictor.needs_sound and not self._mute:
      sound = self._split.sound(video)
    targets = frozenset(frames)
    return self._predictor.maps(decoded, targets, sound=sound, fps=video.fps)


class FolderMaps:
  """Maps of any system, in a folder of images: FOLDER/<video>/<frame>.png, as DHF1K takes them.

  A video's images are grey PNGs of any one size, one for each frame. Their names only say the
  order; shorter names come first, so that 2.png precedes 10.png.
  """

  def __init__(self, folder: str | Path, split: Split) -> None:
    """Looks whether all images are there.

    Raises:
      UserError: that lists all videos without a folder or with another number of images.
    """
    self._folder = Path(folder).expanduser()
    if not self._folder.is_dir():
      raise UserError(f"{folder}: no such folder. Maps are read from FOLDER/<video>/<frame>.png.")
    self._images: list[list[Path]] = []
    problems = []
    for video in split.videos:
      directory = self._folder / video.name
      images = sorted(directory.glob("*.png"), key=lambda path: (len(path.name), path.name))
      if not directory.is_dir():
        problems.append(f"{video.name}: missing")
      elif len(images) != video.frames:
        problems.append(f"{video.name}: {len(images)} images for {video.frames} frames")
      self._images.append(images)
    if problems:
      raise UserError(
        f"{folder} does not fit {split.where()}; each video needs a folder of its name with one PNG"
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
    """A digest of the images' names, sizes and times: it changes when they are written anew."""
    digest = hashlib.sha256()
    for path in (path for images in self._images for path in images):
      stat = path.stat()
      name = path.relative_to(self._folder)
      digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()

  def of_video(self, number: int, frames: Sequence[int]) -> Generator[np.ndarray, None, None]:
    """See `Maps`.

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
      yield image.astype(np.float32) / np.iinfo(image.dtype).max


def stack(rows: Sequence[np.ndarray]) -> np.ndarray:
  """[BATCH, ...], whose last rows are copies of the last one given where there are too few."""
  return np.stack([*rows, *[rows[-1]] * (BATCH - len(rows))])


@functools.cache
def finisher(size: tuple[int, int], blur: float) -> Callable[[np.ndarray], "jax.Array"]:
  """The function that brings maps [..., h, w] to the ground truth's size, on the device.

  Bicubic, and not below 0, where a cubic overshoots; then, with `blur`, a Gaussian.

  Args:
    size: height and width of the ground truth.
    blur: the Gaussian's standard deviation in pixels of that size, or 0. It is cut off after 2.5 of
      them: ViNet's 11 x 11 kernel of sigma 2.
  """
  import jax
  import jax.numpy as jnp

  from jaxsal import metrics

  # Along each axis the blur is a product with a matrix, the blur of the unit vectors.
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
