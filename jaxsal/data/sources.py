"""Opens prepared data sets: random access to encoded records, without TensorFlow.

A data set is prepared once by its TFDS builder (`jaxsal.tfds_builders`), with one ArrayRecord
record per frame. It is read from its files alone, without the builder's code.
"""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from jaxsal.data.catalogue import DATASETS
from jaxsal.data.rates import check_fps
from jaxsal.errors import UserError

_Parsed = TypeVar("_Parsed")


@dataclasses.dataclass(frozen=True)
class Video:
  """A row of the `videos` table of a split.

  Attributes:
    name: the data set's name of the video.
    first: number of the record of the first frame; frame i is record `first + i`.
    frames: number of frames.
    height, width: size of the stored frames, in pixels; fixations are in these pixels.
    fps: frames per second.
    times: seconds at which the frames are shown, on the axis of the sound; None if frame i is shown
      at i / fps.
    listed: numbers of the frames that are scored, ascending, if the split is a list of frames;
      otherwise None.
  """

  name: str
  first: int
  frames: int
  height: int
  width: int
  fps: float
  times: tuple[float, ...] | None = None
  listed: tuple[int, ...] | None = None

  @property
  def targets(self) -> Sequence[int]:
    """Numbers of the frames that are predicted and scored. Windows may contain all frames."""
    return range(self.frames) if self.listed is None else self.listed

  def seconds(self, frames: np.ndarray) -> np.ndarray:
    """Returns the times at which frames are shown, by their numbers."""
    return frames / self.fps if self.times is None else np.asarray(self.times)[frames]


def target_records(videos: Collection[Video]) -> np.ndarray:
  """Returns the record numbers of the `targets` of videos, in order: int64 [n]."""
  parts = [video.first + np.asarray(video.targets, np.int64) for video in videos]
  return np.concatenate([np.zeros(0, np.int64), *parts])


class Split:
  """The records of a split, as they are stored: images are encoded bytes.

  `split[i]` is record i: `video` and `index` (int), `image` and `density` (bytes), `fixations`
  (float32 [n, 2]) and the further features of the data set. A split pickles as its path, so that a
  worker process opens the files itself.

  A data set may also have lists. A list is a part of a stored split that opens like a split: some
  of its videos (such as a fold of a cross-validation), or some of the frames of these videos.
  Records are numbered within the list, as if only its videos were stored.

  Attributes:
    dataset: full name with configuration and version, as in `demo/tiny/1.1.0`.
    name: name of the split or list.
    stored: name of the stored split; for a list, the split that the list is a part of.
    names: names of all splits and lists of the data set.
    videos: videos of the split, in the order of their records.
    metadata: further facts about the whole data set.
    features: names of the features of a record.
  """

  def __init__(self, directory: str | pathlib.Path, name: str) -> None:
    """Opens a split in the directory of one version of a data set; see `open_split`."""
    self._directory = pathlib.Path(directory)
    try:
      builder = tfds.builder_from_directory(self._directory)
      self.metadata = dict(builder.info.metadata or {})
      videos = self.metadata.get("videos")
    except Exception as error:  # TFDS raises errors of many types.
      raise UserError(_damaged(self._directory, error)) from error
    self.dataset, self.name = builder.info.full_name, name
    lists = _lists(self.metadata)
    self.names = (*builder.info.splits, *lists)
    if name not in self.names:
      raise UserError(
        f"Split {name!r} is not in {self.dataset}: use one of {', '.join(self.names)}."
      )
    self.stored, selection = lists.get(name, (name, None))
    if videos is None or self.stored not in videos:
      raise UserError(
        f"{self.dataset} in {self._directory} has no table of videos for {name!r}: it was not"
        f" written by one of this project's builders, {', '.join(DATASETS)}."
      )
    stored_videos = tuple(map(_video, videos[self.stored]))
    for video in stored_videos:
      check_fps(video.fps, f"{self._directory}, video {video.name!r}")
    missing = [path for path in builder.info.splits[self.stored].filepaths if not path.exists()]
    if missing:
      raise UserError(_damaged(self._directory, f"{missing[0].name} is missing"))
    self._records: Any = builder.as_data_source(
      self.stored,  # pyright: ignore[reportCallIssue]  (TFDS wraps the method)
      deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
    )
    features = builder.info.features
    assert isinstance(features, tfds.features.FeaturesDict)
    self.features = frozenset(features.keys())
    encoded = {
      key: tfds.decode.SkipDecoding()
      for key, feature in features.items()
      if isinstance(feature, tfds.features.Image)
    }
    # Any, because TFDS's types do not tell that a dictionary of features gives a dictionary.
    self._parse: Any = functools.partial(features.deserialize_example_np, decoders=encoded)
    fixations = tfds.features.FeaturesDict({"fixations": features["fixations"]})
    self._parse_fixations: Any = fixations.deserialize_example_np
    if len(self._records) != sum(video.frames for video in stored_videos):
      reason = f"{len(self._records)} records do not fit the table of videos"
      raise UserError(_damaged(self._directory, reason))
    self.videos, self._numbers = stored_videos, np.arange(len(self._records))
    if selection is not None:
      self.videos, self._numbers = _select(stored_videos, selection)

  def __reduce__(self) -> tuple[type["Split"], tuple[pathlib.Path, str]]:
    return Split, (self._directory, self.name)

  def __repr__(self) -> str:
    return f"Split({self.dataset}, {self.name}, {len(self.videos)} videos, {len(self)} frames)"

  def __len__(self) -> int:
    """Returns the number of records; each record is a frame."""
    return len(self._numbers)

  def __getitem__(self, record: int) -> dict[str, Any]:
    return self._read(record, self._parse)

  def image(self, record: int) -> bytes:
    """Reads the encoded frame only, in half the time that the whole record takes."""
    return self._read(record, _image)

  def fixations(self, record: int) -> np.ndarray:
    """Reads the fixations of a frame: float32 [n, 2], (x, y) in pixels."""
    return self._read(record, self._parse_fixations)["fixations"]

  def _read(self, record: int, parse: Callable[[bytes], _Parsed]) -> _Parsed:
    if not 0 <= record < len(self):
      raise IndexError(f"Record {record} is not in 0..{len(self) - 1} of {self.where()}.")
    try:
      return parse(self._records[int(self._numbers[record])])
    except Exception as error:  # The C++ reader and protobuf have their own types of errors.
      reason = f"record {record} of {self.name!r}: {error}"
      raise UserError(_damaged(self._directory, reason)) from error

  def stated(self, key: str, default: Any) -> Any:
    """Returns the metadata's entry `key` for the stored split, as for `annotated`."""
    return self.metadata.get(key, {}).get(self.stored, default)

  def check_sound(self) -> None:
    """Raises UserError if the set was built without sound."""
    if "audio" not in self.features:
      raise UserError(
        f"{self.dataset} has no sound, which the network needs: use an audio-visual set."
      )

  @property
  def flow_method(self) -> str:
    """The method of the stored optical flow; without stored flow, of that computed in its place."""
    return self.metadata.get("flow") or "dis"

  def sound(self, video: Video) -> np.ndarray:
    """Reads the sound of a video: int16 [n] at 22,050 Hz, empty if the video has none."""
    return self[video.first]["audio"]

  def where(self, record: int | None = None) -> str:
    """Names the split, or one of its records, for errors."""
    split = f"split {self.name!r} of {self.dataset}"
    return split if record is None else f"record {record} of {split}"


def _video(row: dict[str, Any]) -> Video:
  """Makes a video from its row in the metadata, where tuples have become lists."""
  video = Video(**row)
  return video if video.times is None else dataclasses.replace(video, times=tuple(video.times))


def _image(record: bytes) -> bytes:
  """Parses the frame of a record. TFDS's own parser takes longer than reading the record."""
  example = tf_example_pb2.Example.FromString(record)  # pyright: ignore[reportAttributeAccessIssue]
  return example.features.feature["image"].bytes_list.value[0]


def _lists(metadata: dict[str, Any]) -> dict[str, tuple[str, dict[str, list[int] | None]]]:
  """Returns, for each list, the name of its stored split and the list's part of it."""
  return {
    name: (stored, selection)
    for stored, of_split in metadata.get("lists", {}).items()
    for name, selection in of_split.items()
  }


def _select(
  stored: Sequence[Video], selection: dict[str, list[int] | None]
) -> tuple[tuple[Video, ...], np.ndarray]:
  """Returns the videos of a list, and the stored number of each of its records: int64 [n]."""
  videos, numbers, first = [], [np.zeros(0, np.int64)], 0
  for video in stored:
    if video.name in selection:
      frames = selection[video.name]
      listed = None if frames is None else tuple(frames)
      videos.append(dataclasses.replace(video, first=first, listed=listed))
      numbers.append(np.arange(video.first, video.first + video.frames))
      first += video.frames
  return tuple(videos), np.concatenate(numbers)


def open_split(dataset: str, split: str, data_dir: str | pathlib.Path) -> Split:
  """Opens a split or a list of a prepared data set.

  Args:
    dataset: `name` or `name/config`, as in `demo` or `demo/tiny`.
    split: name of the split, as in `train`, or of the list, as in `train_1`.
    data_dir: directory of prepared data sets.

  Raises:
    UserError: the directory, the data set or the split does not exist, or files are damaged.
  """
  return Split(pathlib.Path(_read_builder(dataset, data_dir).data_path), split)


def folds(dataset: str, split: str, data_dir: str | pathlib.Path) -> list[str]:
  """Returns the names of the folds of a split: SPLIT_1, SPLIT_2 and so on.

  The list is empty if the data set has no folds, or has a split SPLIT as well.

  Raises:
    UserError: the directory or the data set does not exist, or files are damaged.
  """
  info = _read_builder(dataset, data_dir).info
  names = (*info.splits, *_lists(info.metadata or {}))
  numbered = re.compile(re.escape(split) + r"_\d+")
  return [] if split in names else [name for name in names if numbered.fullmatch(name)]


def _read_builder(dataset: str, data_dir: str | pathlib.Path) -> tfds.core.DatasetBuilder:
  """Finds a prepared data set, of any version, without a look at its splits."""
  data_dir = pathlib.Path(data_dir).expanduser()
  name, _ = parse_name(dataset)
  if not (data_dir / name).is_dir() and name not in DATASETS:
    raise UserError(
      f"Data set {dataset!r} is unknown: there is no {data_dir / name}, and the sets that can be"
      f" prepared are {', '.join(DATASETS)}."
    )
  build = f"jaxsal prepare {dataset} --data-dir={data_dir}"
  if not data_dir.is_dir():
    raise UserError(
      f"Data directory {data_dir} does not exist. To build the set there, run `{build}`."
    )
  unprepared = f"Data set {dataset!r} is not prepared in {data_dir}. To build it, run `{build}`."
  if not (data_dir / dataset).is_dir():
    raise UserError(unprepared)
  try:
    # With a version, TFDS looks for files before it looks for the builder's code.
    builder = tfds.builder(dataset, data_dir=data_dir, version="*.*.*")
  except tfds.core.DatasetNotFoundError as error:
    raise UserError(unprepared) from error
  except Exception as error:  # TFDS raises errors of many types.
    raise UserError(_damaged(data_dir / dataset, error)) from error
  if not pathlib.Path(builder.data_path).is_dir():  # TFDS found the builder's code alone.
    raise UserError(unprepared)
  return builder


def parse_name(dataset: str) -> tuple[str, str | None]:
  """Splits `name` or `name/config` into name and configuration; raises UserError otherwise."""
  if not re.fullmatch(r"\w+(/[\w.-]+)?", dataset):
    raise UserError(f"Data set {dataset!r} must be named NAME or NAME/CONFIG, as in demo/tiny.")
  name, _, config = dataset.partition("/")
  return name, config or None


def _damaged(directory: pathlib.Path, reason: object) -> str:
  return (
    f"The data set in {directory} is damaged ({reason}): delete that directory and prepare the set"
    " again."
  )
