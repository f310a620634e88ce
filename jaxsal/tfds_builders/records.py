"""What every builder stores: the features of a record and the table of videos.

A record is one frame. Frames of a video are consecutive records, in order, so that a window of a
video is a run of record numbers; the table of videos, in the metadata of the builder, says where
each video begins.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

import cv2
import numpy as np
import tensorflow_datasets as tfds

FILE_FORMAT = "array_record"  # random access, and readable without TensorFlow

# A blurred map can be more than half of a record. This way it is a third smaller than by OpenCV's
# defaults (differences along the row, run lengths), and decoded in half of the time.
_PNG = [
  *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
  *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
  *(cv2.IMWRITE_PNG_COMPRESSION, 4),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Video:
  """One video as it is stored.

  Attributes:
    name: what the data set calls it, unique within a split.
    frames: number of frames that are stored.
    height, width: of the stored frames, in pixels.
    fps: frames per second of the stored frames.
  """

  name: str
  frames: int
  height: int
  width: int
  fps: float


def features(
  height: int | None = None,
  width: int | None = None,
  *,
  image_format: Literal["jpeg", "png"] = "jpeg",
  density_dtype: type[np.unsignedinteger] = np.uint8,
  **extra: tfds.features.FeatureConnector,
) -> tfds.features.FeaturesDict:
  """The features of a record, of one frame.

  Args:
    height, width: of every frame in pixels, or None where the size differs between videos.
    image_format: of the encoded frames.
    density_dtype: np.uint8 or np.uint16, the depth of the density maps.
    **extra: further features of one data set.
  """
  return tfds.features.FeaturesDict(
    {
      "video": tfds.features.Scalar(np.int32, doc="Number of the video within its split."),
      "index": tfds.features.Scalar(np.int32, doc="Number of the frame within its video."),
      "image": tfds.features.Image(
        shape=(height, width, 3), encoding_format=image_format, doc="The frame, RGB."
      ),
      "density": map_feature(
        height, width, density_dtype, doc="Mean saliency of the observers, any positive scale."
      ),
      "fixations": tfds.features.Tensor(
        shape=(None, 2),
        dtype=np.float32,
        doc="Gaze points (x, y) in pixels of the frame; pixel column i covers [i, i + 1).",
      ),
      **extra,
    }
  )


def map_feature(
  height: int | None, width: int | None, dtype: type[np.unsignedinteger] = np.uint8, *, doc: str
) -> tfds.features.Image:
  """The feature of a map [height, width, 1], stored as PNG."""
  return tfds.features.Image(shape=(height, width, 1), dtype=dtype, encoding_format="png", doc=doc)


def gaze_feature() -> tfds.features.Tensor:
  """The feature of gaze by observer, where that is known; for Human Infinite."""
  return tfds.features.Tensor(
    shape=(None, 3),
    dtype=np.float32,
    doc="Gaze points (x, y, observer): pixels of the frame, and the observer's number.",
  )


def flow_feature(height: int | None, width: int | None) -> tfds.features.Image:
  """The feature of a frame's motion, for GFSalNet."""
  return tfds.features.Image(
    shape=(height, width, 3),
    encoding_format="jpeg",
    doc="Image of the optical flow from the frame before, see jaxsal.data.flow.",
  )


def sound_feature() -> tfds.features.Tensor:
  """The feature of a video's sound track, held by its first record."""
  return tfds.features.Tensor(
    shape=(None,),
    dtype=np.int16,
    encoding="bytes",  # else a sample takes 6 bytes, and 50 times as long to read
    doc="In a video's first record its whole sound, mono, 22,050 Hz; else empty.",
  )


def videos_table(videos: Iterable[Video]) -> list[dict[str, Any]]:
  """The rows of `metadata["videos"][split]`, in the order in which the videos are stored.

  A row has the fields of `Video` and `first`, the number of the video's first record in its split.
  Frame i of the video is record `first + i`; the builder yields that number as the record's key.

  Raises:
    ValueError: a video without frames, or a name that appears twice.
  """
  rows, first, names = [], 0, set()
  for video in videos:
    if video.frames < 1:
      raise ValueError(f"video {video.name!r} has {video.frames} frames; at least 1 is needed")
    if video.name in names:
      raise ValueError(f"two videos of the split are named {video.name!r}; names must be unique")
    names.add(video.name)
    rows.append({"name": video.name, "first": first, **dataclasses.asdict(video)})
    first += video.frames
  return rows


# List -> video -> the frames of it that count, numbered from 0, or None for all of them.
Lists = dict[str, dict[str, list[int] | None]]


def lists_table(lists: Lists, videos: Iterable[Video]) -> Lists:
  """A row of `metadata["lists"]`: the lists of a stored split.

  A list is a part of a split that is opened by a name of its own, as a fold of a cross-validation
  or the frames of a benchmark; nothing is stored twice.

  Args:
    lists: may name videos that are not stored, as they are missing or damaged; these are left out,
      and so are lists without any video.
    videos: that are stored.

  Raises:
    ValueError: a frame that the video does not have, or frames that are none or not ascending.
  """
  frames = {video.name: video.frames for video in videos}
  for title, selection in lists.items():
    for name, listed in selection.items():
      if listed is None or name not in frames:
        continue
      if (
        not listed
        or sorted(set(listed)) != listed
        or not 0 <= listed[0] <= listed[-1] < frames[name]
      ):
        raise ValueError(
          f"list {title!r}: the frames of {name!r} must ascend within 0..{frames[name] - 1}"
        )
  stored = {
    title: {name: listed for name, listed in selection.items() if name in frames}
    for title, selection in lists.items()
  }
  return {title: selection for title, selection in stored.items() if selection}


def record(
  *,
  video: int,
  index: int,
  image: bytes,
  density: bytes,
  fixations: np.ndarray,
  size: tuple[int, int],
  **extra: Any,
) -> dict[str, Any]:
  """One frame as the builder yields it.

  Args:
    video: number of the video within its split.
    index: number of the frame within its video.
    image: the frame, encoded; TFDS cannot encode arrays without TensorFlow.
    density: the density map, encoded as PNG (see `encode_map`).
    fixations: [n, 2], (x, y) in pixels, n >= 0.
    size: height and width of the frame, in pixels.
    **extra: further features of one data set.

  Raises:
    ValueError: a point that lies outside the frame.
  """
  fixations = np.asarray(fixations, np.float32).reshape(-1, 2)
  height, width = size
  # Positively stated, so that NaN fails too.
  if not np.all((fixations >= 0) & (fixations < np.float32([width, height]))):
    raise ValueError(
      f"video {video}, frame {index}: fixations must lie in [0, {width}) x [0, {height}),"
      f" got x and y from {fixations.min(axis=0)} to {fixations.max(axis=0)}"
    )
  return {
    "video": video,
    "index": index,
    "image": image,
    "density": density,
    "fixations": fixations,
    **extra,
  }


def encode_jpeg(image: np.ndarray, quality: int = 95, *, full_colour: bool = False) -> bytes:
  """A frame [h, w, 3] in RGB, uint8, as JPEG; `full_colour` keeps colour as fine as brightness."""
  # A code of its own for each frame: the same pixels in 4 % fewer bytes.
  parameters = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
  if full_colour:
    parameters += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
  ok, data = cv2.imencode(".jpg", image[..., ::-1], parameters)
  if not ok:
    raise ValueError(f"OpenCV cannot encode an image of shape {image.shape} as JPEG")
  return data.tobytes()


def encode_map(density: np.ndarray, dtype: type[np.unsignedinteger] = np.uint8) -> bytes:
  """A map [h, w] >= 0 as PNG, scaled so that its maximum is the greatest value of `dtype`.

  A map of zeros (a frame that nobody looked at) stays zero.
  """
  peak = density.max()
  scaled = density * (np.iinfo(dtype).max / peak) if peak > 0 else density
  ok, data = cv2.imencode(".png", np.rint(scaled).astype(dtype), _PNG)
  if not ok:
    raise ValueError(f"OpenCV cannot encode a map of shape {density.shape} as PNG")
  return data.tobytes()


def blur_fixations(fixations: np.ndarray, size: tuple[int, int], sigma: float) -> np.ndarray:
  """Density of gaze points: each counts as 1 in its pixel, blurred with a Gaussian.

  Args:
    fixations: [n, 2], (x, y) in pixels, inside the frame.
    size: height and width of the map, in pixels.
    sigma: of the Gaussian, in pixels. Outside the frame there is nothing.

  Returns:
    float32 [h, w].
  """
  counts = np.zeros(size, np.float32)
  columns, rows = np.floor(fixations).astype(int).T
  np.add.at(counts, (rows, columns), 1)
  # OpenCV's own choice of the kernel's size cuts float images at 4 sigma.
  return cv2.GaussianBlur(counts, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
