"""A video with its densities and fixations, in the layout of DHF1K's authors."""

import cv2
import numpy as np
import scipy.io

from jaxsal.tfds_builders import records


def images(frames, size, seed):
  """Draws a bright square that moves over a dark texture: RGB uint8 [frames, h, w, 3]."""
  rng = np.random.default_rng([seed, 0])
  h, w = size
  result = np.repeat(rng.integers(40, 60, (1, h, w, 3), np.uint8), frames, axis=0)
  for image, (x, y) in zip(result, centres(frames, size, seed)):
    cv2.rectangle(image, (x - 3, y - 3), (x + 3, y + 3), (240, 200, 60), -1)
  return result


def centres(frames, size, seed):
  """Returns the square's centres: [frames, 2], (x, y), at least 4 pixels inside."""
  h, w = size
  t = np.arange(frames)
  x = 4 + (3 * seed + 2 * t) % (w - 8)
  y = 4 + (5 * seed + t) % (h - 8)
  return np.stack([x, y], axis=1).tolist()


def fixation_map(centre, size):
  """Marks the square's centre and two pixels next to it: uint8 [h, w], 0 and 255."""
  x, y = centre
  fixated = np.zeros(size, np.uint8)
  fixated[y, [x - 2, x, x + 1]] = 255
  return fixated


def write_annotation(folder, names, size, seed, *, mat=False, unseen=()):
  """Writes `maps/NAME.png` and `fixation/NAME.png`, or `fixation/maps/NAME.mat`, of one video.

  Args:
    folder: of the video.
    names: of its frames.
    size: height and width.
    seed: of the video.
    mat: whether to write MATLAB files.
    unseen: numbers of frames that nobody looked at.
  """
  (folder / "maps").mkdir(parents=True)
  (folder / "fixation" / "maps").mkdir(parents=True)
  for i, (name, centre) in enumerate(zip(names, centres(len(names), size, seed))):
    fixated = fixation_map(centre, size) * (i not in unseen)
    points = np.argwhere(fixated)[:, ::-1] + 0.5
    density = records.blur_fixations(points, size, 3.0)
    (folder / "maps" / f"{name}.png").write_bytes(records.encode_map(density))
    if mat:
      scipy.io.savemat(folder / "fixation" / "maps" / f"{name}.mat", {"I": fixated // 255})
    else:
      cv2.imwrite(str(folder / "fixation" / f"{name}.png"), fixated)


def write_frames(folder, names, size, seed):
  """Writes every frame as `NAME.png`."""
  folder.mkdir(parents=True)
  for name, image in zip(names, images(len(names), size, seed)):
    cv2.imwrite(str(folder / f"{name}.png"), image[..., ::-1])
