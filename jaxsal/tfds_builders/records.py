"""The records that every builder stores, and the table of videos.

A record is one frame. The frames of a video are consecutive records, in order, so a window of a
video is a run of record numbers. The table of videos, in the metadata of the data set, says where
each video begins.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import cv2
import numpy as np
import tensorflow_datasets as tfds

from jaxsal.data.rates import check_fps

FILE_FORMAT = "array_record"  # random access, and readable without TensorFlow

# A density can be more than half of a record. With these settings it is a third smaller than with
# OpenCV's defaults (differences along the row, run lengths), and decoded in half the time.
_PNG = [
  *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
  *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
  *(cv2.IMWRITE_PNG_COMPRESSION, 4),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Video:
  """One video as it is stored.

  Attributes:
    name: the data set's name of the video, unique within a split.
    frames: number of stored frames.
    height, width: size of the stored frames, in pixels.
    fps: frames per second of the stored frames.
    times: seconds at which the frames are shown, on the axis of the sound; None if frame i is shown
      at i / fps.
  """

  name: str
  frames: int
  height: int
  width: int
  fps: float
  times: list[float] | None = None


def features(
  height: int | None = None,
  width: int | None = None,
  *,
  image_format: Literal["jpeg", "png"] = "jpeg",
  density_dtype: type[np.unsignedinteger] = np.uint8,
  extra: Mapping[str, tfds.features.FeatureConnector] | None = None,
) -> tfds.features.FeaturesDict:
  """Returns the features of a record.

  Args:
    height, width: size of every frame in pixels; None if the size differs between videos.
    image_format: format of the encoded frames.
    density_dtype: depth of the densities, np.uint8 or np.uint16.
    extra: further features of one data set.
  """
  return tfds.features.FeaturesDict(
    {
      "video": tfds.features.Scalar(np.int32, doc="Number of the video within its split."),
      "index": tfds.features.Scalar(np.int32, doc="Number of the frame within its video."),
      "image": tfds.features.Image(
        shape=(height, width, 3), encoding_format=image_format, doc="The frame, RGB."
      ),
      "density": map_feature(
        height, width, density_dtype, doc="Density of the gaze, on any positive scale."
      ),
      "fixations": tfds.features.Tensor(
        shape=(None, 2),
        dtype=np.float32,
        doc="Gaze points (x, y) in pixels of the frame; pixel column i covers [i, i + 1).",
      ),
      **(extra or {}),
    }
  )


def map_feature(
  height: int | None, width: int | None, dtype: type[np.unsignedinteger] = np.uint8, *, doc: str
) -> tfds.features.Image:
  """Returns the feature of a density [height, width, 1], stored as PNG."""
  return tfds.features.Image(shape=(height, width, 1), dtype=dtype, encoding_format="png", doc=doc)


def gaze_feature() -> tfds.features.Tensor:
  """Returns the feature of gaze by observer, from which Human Infinite is computed."""
  return tfds.features.Tensor(
    shape=(None, 3),
    dtype=np.float32,
    doc="Gaze points (x, y, observer): pixels of the frame, and the observer's number.",
  )


def flow_feature(height: int | None, width: int | None) -> tfds.features.Image:
  """Returns the feature of the image of a frame's motion, which GFSalNet takes."""
  return tfds.features.Image(
    shape=(height, width, 3),
    encoding_format="jpeg",
    doc="Image of the optical flow from the previous frame, see jaxsal.data.flow.",
  )


def sound_feature() -> tfds.features.Tensor:
  """Returns the feature of a video's sound, which the video's first record holds."""
  return tfds.features.Tensor(
    shape=(None,),
    dtype=np.int16,
    # By default a sample takes 6 bytes instead of 2, and 50 times as long to read.
    encoding="bytes",
    doc="The video's whole sound, mono, 22,050 Hz, in its first record; empty in the others.",
  )


def videos_table(videos: Iterable[Video]) -> list[dict[str, Any]]:
  """Returns the rows of `metadata["videos"][split]`, in the order of the stored videos.

  A row has the fields of `Video`, without `times` if that is None, and `first`, the number of the
  video's first record in its split.
  Frame i of the video is record `first + i`.

  Raises:
    ValueError: a video has no frames, or a name appears twice.
    UserError: a video has no frame rate.
  """
  rows, first, names = [], 0, set()
  for video in videos:
    if video.frames < 1:
      raise ValueError(f"Video {video.name!r} has {video.frames} frames; at least 1 is needed.")
    if video.name in names:
      raise ValueError(f"Two videos of a split are named {video.name!r}; names must be unique.")
    check_fps(video.fps, f"Video {video.name!r}")
    names.add(video.name)
    row = {"name": video.name, "first": first, **dataclasses.asdict(video)}
    if video.times is None:
      del row["times"]
    rows.append(row)
    first += video.frames
  return rows


# For each list and video: the frames that belong to the list, numbered from 0; None for all frames.
Lists = dict[str, dict[str, list[int] | None]]


def lists_table(lists: Lists, videos: Iterable[Video]) -> Lists:
  """Returns the lists of a stored split for `metadata["lists"]`.

  A list is a part of a split that is opened by a name of its own, such as a fold of a
  cross-validation or the frames of a benchmark. Nothing is stored twice.

  Args:
    lists: the lists. Videos that are not stored, because they are missing or damaged, are left out,
      and so are lists without any video.
    videos: the stored videos.

  Raises:
    ValueError: a list names a frame that its video does not have, or names no frame of a video, or
      its frames do not ascend.
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
          f"In list {title!r}: the frames of {name!r} must ascend within 0..{frames[name] - 1}."
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
  """Returns the record of one frame.

  Args:
    video: number of the video within its split.
    index: number of the frame within its video.
    image: the encoded frame; TFDS cannot encode arrays without TensorFlow.
    density: the density, encoded as PNG by `encode_map`.
    fixations: [n, 2], (x, y) in pixels, n >= 0.
    size: height and width of the frame, in pixels.
    **extra: values of further features.

  Raises:
    ValueError: a fixation lies outside the frame.
  """
  fixations = np.asarray(fixations, np.float32).reshape(-1, 2)
  height, width = size
  # The test is for what is allowed, so that NaN fails it too.
  if not np.all((fixations >= 0) & (fixations < np.array([width, height], np.float32))):
    raise ValueError(
      f"Video {video}, frame {index}: fixations must lie in [0, {width}) x [0, {height}); their x"
      f" and y are from {fixations.min(axis=0)} to {fixations.max(axis=0)}."
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
  """Encodes a frame [h, w, 3], RGB uint8, as JPEG.

  Args:
    image: the frame.
    quality: JPEG quality, 0 to 100.
    full_colour: whether colour keeps the resolution of brightness.
  """
  # Optimised Huffman tables store the same pixels in 4 % fewer bytes.
  parameters = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
  if full_colour:
    parameters += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
  ok, data = cv2.imencode(".jpg", image[..., ::-1], parameters)
  if not ok:
    raise ValueError(f"OpenCV cannot encode an image of shape {image.shape} as JPEG.")
  return data.tobytes()


def encode_map(density: np.ndarray, dtype: type[np.unsignedinteger] = np.uint8) -> bytes:
  """Encodes a density [h, w] >= 0 as PNG, scaled to the range of `dtype`.

  The maximum becomes the greatest value of `dtype`. A density of zeros (a frame that nobody looked
  at) stays zero.
  """
  peak = density.max()
  scaled = density * (np.iinfo(dtype).max / peak) if peak > 0 else density
  ok, data = cv2.imencode(".png", np.rint(scaled).astype(dtype), _PNG)
  if not ok:
    raise ValueError(f"OpenCV cannot encode a density of shape {density.shape} as PNG.")
  return data.tobytes()


def blur_fixations(fixations: np.ndarray, size: tuple[int, int], sigma: float) -> np.ndarray:
  """Makes a density from fixations: each counts as 1 in its pixel and is blurred by a Gaussian.

  Args:
    fixations: [n, 2], (x, y) in pixels, inside the frame.
    size: height and width of the density, in pixels.
    sigma: standard deviation of the Gaussian, in pixels.

  Returns:
    float32 [h, w]. The part of the blur outside the frame is lost.
  """
  counts = np.zeros(size, np.float32)
  columns, rows = np.floor(fixations).astype(int).T
  np.add.at(counts, (rows, columns), 1)
  # With size (0, 0) OpenCV cuts the kernel of float images at 4 sigma.
  return cv2.GaussianBlur(counts, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
