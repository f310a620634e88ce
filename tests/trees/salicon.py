"""SALICON's folder, as it was released in 2017."""

import cv2
import numpy as np
import scipy.io

from jaxsal.tfds_builders import records
from trees import annotated

SPLITS = {"train": 4, "val": 3, "test": 2}


def write(folder, splits=SPLITS, size=(48, 64), *, flat=False):
  """Writes a number of images of each split; those of `test` have no annotation.

  Args:
    folder: to make.
    splits: SALICON's name of a split -> number of its images.
    size: height and width.
    flat: whether all images lie in one folder.
  """
  for split, number in splits.items():
    for image in range(1, number + 1):
      name = f"COCO_{split}2014_{image:012}"
      write_image(folder / "images" / ("" if flat else split) / f"{name}.jpg", size, image)
      if split != "test":
        write_annotation(folder, split, name, size, image)
  return folder


def write_image(path, size, seed):
  path.parent.mkdir(parents=True, exist_ok=True)
  cv2.imwrite(str(path), annotated.images(1, size, seed)[0, ..., ::-1])


def write_annotation(folder, split, name, size, seed):
  """Writes the density and the gaze of three observers: at the square, next to it, and outside."""
  observers = gaze(size, seed)
  points = np.concatenate(observers) - 0.5
  points = points[(points < size[::-1]).all(axis=1)]
  density = records.encode_map(records.blur_fixations(points, size, 3.0))
  for kind in ("maps", "fixations"):
    (folder / kind / split).mkdir(parents=True, exist_ok=True)
  (folder / "maps" / split / f"{name}.png").write_bytes(density)
  structures = np.zeros((len(observers), 1), [(key, object) for key in ("location", "fixations")])
  for structure, fixations in zip(structures[:, 0], observers):
    structure["location"] = np.zeros((5, 2))  # positions of the mouse, many per second
    structure["fixations"] = fixations.astype(np.uint16)
  scipy.io.savemat(
    folder / "fixations" / split / f"{name}.mat",
    {"image": name, "resolution": np.array([size]), "gaze": structures},
  )


def gaze(size, seed):
  """Returns each observer's fixations [n, 2], (x, y) from 1 on; the third has none inside."""
  ((x, y),) = annotated.centres(1, size, seed)
  outside = [[size[1] + 1, 5]] if seed % 2 else np.zeros((0, 2))
  return [np.array(p) for p in ([[x + 1, y + 1], [x + 2, y + 1]], [[x + 4, y + 1]], outside)]
