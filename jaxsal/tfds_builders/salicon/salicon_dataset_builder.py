"""TFDS builder of SALICON: `jaxsal prepare salicon --from=DOWNLOADED --data-dir=DATA`."""

import pathlib
from collections.abc import Iterator

import cv2
import numpy as np
import tensorflow_datasets as tfds

from jaxsal.data import naming, transforms
from jaxsal.errors import UserError
from jaxsal.tfds_builders import annotations, video_builder
from jaxsal.tfds_builders.annotations import Frame, Recording
from jaxsal.tfds_builders.video_builder import Register, SizeConfig

# The names of the splits in the release.
_SPLITS = {"train": "train", "validation": "val", "test": "test"}
# Standard deviation of the Gaussians of the densities, in pixels of images 640 pixels wide: the
# default of `buildFixMap` in the authors' github.com/NUS-VIP/salicon-api.
_SIGMA, _WIDTH = 19.0, 640


class Builder(video_builder.VideoBuilder):
  """Builds Saliency in Context (Jiang et al., CVPR 2015), the release of 2017.

      images/train/COCO_train2014_000000000009.jpg     20,000 images of 640 x 480 pixels
      maps/train/COCO_train2014_000000000009.png       density
      fixations/train/COCO_train2014_000000000009.mat  `gaze`: a structure per observer, whose
                                                       `fixations` are [n, 2], (x, y) from 1 on

  The folders `val` have the same layout. The 5000 images of `test` have no annotation. The images
  may also be directly in `images/`. An image is stored as a video of one frame.
  """

  MANUAL_DOWNLOAD_INSTRUCTIONS = """
  Fetch the images, fixations and maps of SALICON's release of 2017 from
  salicon.net/challenge-2017 and unpack them into one folder, with `images/`, `fixations/` and
  `maps/` in it.
  """
  HOMEPAGE = "http://salicon.net"
  DESCRIPTION = "20,000 images of MS COCO; the gaze is the position of a mouse that uncovers them."
  CITATION = "M. Jiang, S. Huang, J. Duan, Q. Zhao. SALICON: Saliency in Context. CVPR 2015."
  REGISTER = {  # noqa: RUF012
    "train": Register(10_000, 10_000),
    "validation": Register(5000, 5000),
    "test": Register(5000, 5000),
  }
  ANNOTATED = ("train", "validation")
  GAZE = True
  BUILDER_CONFIGS = [  # noqa: RUF012
    *(config for config in video_builder.size_configs() if not config.flow),
    SizeConfig(name="480x640", size=(480, 640), description="GFSalNet's size, and the native one."),
  ]

  def _info(self) -> tfds.core.DatasetInfo:
    info = super()._info()
    assert isinstance(info.metadata, dict)
    info.metadata["blur_sigma"] = _SIGMA / _WIDTH
    return info

  def _recordings(self, folder: pathlib.Path, problems: list[str]) -> dict[str, list[Recording]]:
    found = {}
    for split, short in _SPLITS.items():
      kinds = {"images": sorted(folder.glob(f"images/**/COCO_{short}2014_*.jpg"))}
      if split in self.ANNOTATED:
        kinds["maps"] = naming.files(folder / "maps" / short, ".png")
        kinds["fixations"] = naming.files(folder / "fixations" / short, ".mat")
      paths = {kind: {path.stem: path for path in files} for kind, files in kinds.items()}
      names = sorted(set().union(*paths.values()))
      for kind, there in paths.items():
        lacking = [name for name in names if name not in there]
        if lacking:
          problems.append(f"{split}: no {kind} of {', '.join(video_builder.shortened(lacking, 3))}")
      whole = [name for name in names if all(name in there for there in paths.values())]
      found[split] = [
        _recording(**{kind: there[name] for kind, there in paths.items()}) for name in whole
      ]
    return found

  def _frames(self, recording: Recording) -> Iterator[Frame]:
    data = recording.images.read_bytes()
    image = annotations.decode(data, cv2.IMREAD_COLOR_RGB, recording.images)
    size = image.shape[:2]
    density, png, gaze = np.zeros(size, np.float32), None, np.zeros((0, 3), np.float32)
    if recording.maps is not None and recording.fixations is not None:
      density, png = annotations.read_density(recording.maps, size)
      gaze = _read_gaze(recording.fixations, size)
      _check_order(recording.fixations, gaze[:, :2], density)
    yield Frame(image, data, density, png, gaze[:, :2], gaze)


def _recording(
  images: pathlib.Path, maps: pathlib.Path | None = None, fixations: pathlib.Path | None = None
) -> Recording:
  return Recording(
    name=images.stem,
    frames=1,
    images=images,
    maps=maps,
    fixations=fixations,
    fps=1.0,  # a still has no rate
    gaze=() if fixations is None else (fixations,),
  )


def _read_gaze(path: pathlib.Path, size: tuple[int, int]) -> np.ndarray:
  """Reads the fixations of all observers: float32 [n, 3], x and y in pixels, and the observer."""
  gaze, resolution = annotations.read_mat(path, "gaze", "resolution")
  if sorted(np.ravel(resolution)) != sorted(size):
    raise UserError(f"{path} is of an image of {resolution}, its image is {size[0]} x {size[1]}.")
  rows = [np.zeros((0, 3))]
  for number, observer in enumerate(np.atleast_1d(np.asarray(gaze, object)), start=1):
    points = np.asarray(observer.get("fixations") if isinstance(observer, dict) else None)
    if points.size and points.shape[-1:] != (2,):
      raise UserError(f"{path}: each structure of gaze must have fixations, n x 2.")
    # MATLAB's pixel 1 is column 0, whose centre is at 0.5.
    rows += [np.array([[x - 0.5, y - 0.5, number]]) for x, y in points.reshape(-1, 2)]
  found = np.vstack(rows).astype(np.float32)
  return found[transforms.inside(found[:, :2], size)]


def _check_order(path: pathlib.Path, points: np.ndarray, density: np.ndarray) -> None:
  """Raises UserError if points (x, y) look like (row, column).

  A density is a sum of Gaussians at the fixations. Its mean at its own points is at least as high
  as at mirrored ones, because Gaussians are positive definite.
  """
  as_given, turned = (_mean_at(density, p) for p in (points, points[:, ::-1]))
  if as_given < 0.9 * turned:
    raise UserError(
      f"{path}: the fixations look like (row, column), because the density is {turned:.0f} there on"
      f" average, and {as_given:.0f} at (x, y). They must be (x, y), from 1 on."
    )


def _mean_at(density: np.ndarray, points: np.ndarray) -> float:
  """Returns the mean of a density [h, w] at points (x, y), and 0 outside of it."""
  inside = points[transforms.inside(points, density.shape)]
  columns, rows = np.floor(inside).astype(int).T
  return float(density[rows, columns].sum() / max(len(points), 1))
