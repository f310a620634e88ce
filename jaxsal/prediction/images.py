"""Saliency maps of images that are no video, written into a folder."""

import collections
import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from jaxsal import console, files
from jaxsal.data import images
from jaxsal.data.transforms import resize
from jaxsal.errors import UserError
from jaxsal.pictures import heat_overlay, resize_map, to_grey
from jaxsal.prediction.files import Report, check_free
from jaxsal.prediction.options import PredictOptions
from jaxsal.prediction.predictor import Predictor, load_network
from jaxsal.prediction.prefetch import prefetch

if TYPE_CHECKING:
  from jaxsal.models import SaliencyModel

_JPEG_QUALITY = 95


def predict_images(
  model: "SaliencyModel | str | Path",
  paths: Sequence[Path],
  out: str | Path,
  *,
  maps: bool = True,
  overlay: bool = True,
  overwrite: bool = False,
  options: PredictOptions | None = None,
  **changes: Any,
) -> Report:
  """Writes the saliency maps of images into a folder, each image predicted by itself.

  - `maps/NAME.png` for an image NAME.jpg: at the image's own size, 8-bit grey, scaled so that its
    maximum is 255.
  - `overlays/NAME.jpg`: the image under its heat map.

  Images that differ only in their ending keep it, as in `maps/NAME.jpg.png`. A network that treats
  images apart from videos, such as UNISAL, does so. One program is compiled for all images that the
  network takes at one size.

  Args:
    model: a network, a name in the table of weights, or the path of a model folder or of a
      training's workdir.
    paths: the image files.
    out: path of the folder to make.
    maps: whether to write the first output.
    overlay: whether to write the second output.
    overwrite: whether to replace the folder of an earlier prediction.
    options: how to predict; the defaults of `PredictOptions` if None.
    **changes: values for single fields of the options, as in `blur=7`.

  Raises:
    UserError: the model or an option cannot be used, `out` is in the way, or there is nothing to
      write. If images cannot be read, the maps of all others are written, and the error says so.
  """
  if not maps and not overlay:
    raise UserError("Nothing to write: ask for maps or overlays.")
  out = Path(os.path.abspath(out))
  check_free(out, overwrite)
  names = _names(paths)
  start, model_seconds = time.perf_counter(), 0.0
  problems: list[UserError] = []
  sizes = _sizes(paths, problems)
  if not sizes:
    raise UserError("\n".join(map(str, problems)))
  network = load_network(model).for_images()
  options = (options or PredictOptions()).with_(**changes).with_(stride=None, batch_size=1)
  with contextlib.ExitStack() as stack:
    folder = stack.enter_context(files.replacing_folder(out))
    for wanted, name in ((maps, "maps"), (overlay, "overlays")):
      if wanted:
        (folder / name).mkdir()
    bar = stack.enter_context(console.progress(out.name, len(sizes), unit="images"))
    for predictor, alike in _by_size(network, sizes, options):
      read = stack.enter_context(contextlib.closing(prefetch(_read(alike), depth=2)))
      for path, image in read:
        if isinstance(image, UserError):
          problems.append(image)
          continue
        resized = resize(image, predictor.size, network.resampling)
        (saliency,) = predictor.maps([resized])
        grey = to_grey(resize_map(saliency, image.shape[:2]))
        if maps:
          _write(folder / "maps" / f"{names[path]}.png", grey)
        if overlay:
          shown = heat_overlay(image, grey)[..., ::-1]
          _write(folder / "overlays" / f"{names[path]}.jpg", shown)
        bar.advance()
      model_seconds += predictor.model_seconds
    done = len(paths) - len(problems)
    if not done:
      raise UserError("\n".join(map(str, problems)))
  if problems:
    kept = f"The maps of all other images ({done}) are in {out}."
    raise UserError("\n".join([*map(str, problems), kept]))
  return Report(len(paths), time.perf_counter() - start, model_seconds, out)


def _names(paths: Sequence[Path]) -> dict[Path, str]:
  """Returns a name for the outputs of each image: without its ending, if that is unique."""
  stems = collections.Counter(path.stem for path in paths)
  names = {path: path.stem if stems[path.stem] == 1 else path.name for path in paths}
  for name, count in collections.Counter(names.values()).items():
    if count > 1:
      raise UserError(f"Two of the images are called {name!r}: predict them in runs of their own.")
  return names


def _sizes(paths: Sequence[Path], problems: list[UserError]) -> dict[Path, tuple[int, int]]:
  """Returns height and width of all images that have a header; notes what is wrong with others."""
  sizes = {}
  for path in paths:
    try:
      sizes[path] = images.size(path)
    except UserError as error:
      problems.append(error)
  return sizes


def _by_size(
  network: "SaliencyModel", sizes: dict[Path, tuple[int, int]], options: PredictOptions
) -> Iterator[tuple[Predictor, list[Path]]]:
  """Yields a predictor for each size that the network takes images at, and these images."""
  taken = {size: network.for_size(*size).size for size in set(sizes.values())}
  alike: dict[tuple[int, int], list[Path]] = {}
  for path, size in sizes.items():
    alike.setdefault(taken[size], []).append(path)
  for paths in alike.values():
    # An image is a video of one frame, which needs neither a stride nor a batch.
    predictor = Predictor(network.for_size(*sizes[paths[0]]), options)
    h, w = predictor.size
    console.say(
      f"{len(paths)} of {len(sizes)} images: at {h} x {w} on {predictor.device}, "
      f"compiled in {predictor.compile_seconds:.1f} s"
    )
    yield predictor, paths


def _read(paths: Sequence[Path]) -> Iterator[tuple[Path, np.ndarray | UserError]]:
  """Yields images, or the errors in their place."""
  for path in paths:
    try:
      yield path, images.read(path)
    except UserError as error:
      yield path, error


def _write(path: Path, image: np.ndarray) -> None:
  parameters = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else []
  _, encoded = cv2.imencode(path.suffix, image, parameters)
  path.write_bytes(encoded.tobytes())
