"""Prepared data sets: random access to encoded records, without TensorFlow.

A data set is prepared once by its TFDS builder (`tfds_builders`, one ArrayRecord record per frame)
and read from its files alone; the builder's code is not needed for that.
"""

import dataclasses
import importlib
import pathlib
import pkgutil
import re
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import read_only_builder

from jaxsal.console import console
from jaxsal.errors import UserError


@dataclasses.dataclass(frozen=True)
class Video:
  """A row of the `videos` table of a split.

  Attributes:
    name: the data set's own name of the video.
    first: record number of its first frame; frame i is record `first + i`.
    frames: number of frames.
    height, width: of the stored frames, in pixels; fixations are in these pixels.
    fps: frames per second.
  """

  name: str
  first: int
  frames: int
  height: int
  width: int
  fps: float


class Split:
  """The records of a split, as they are stored: images are encoded bytes.

  `split[i]` is record i: `video` and `index` (int), `image` and `density` (bytes), `fixations`
  (float32 [n, 2]) and what else the data set has. It pickles as its path, so that a worker process
  opens the files for itself.

  Attributes:
    dataset: full name with configuration and version, as in `demo/tiny/1.1.0`.
    name: of the split.
    videos: its videos, in the order of their records.
    metadata: what else the builder says of the whole data set.
    features: names of what a record holds.
  """

  def __init__(self, directory: str | pathlib.Path, name: str) -> None:
    """Opens a split in the directory of one version of a data set; see `open_split`."""
    self._directory = pathlib.Path(directory)
    try:
      builder = tfds.builder_from_directory(self._directory)
      self.metadata = dict(builder.info.metadata or {})
      videos = self.metadata.get("videos")
    except Exception as error:  # TFDS has many
      raise UserError(f"{_damaged(self._directory)} ({error})") from error
    self.dataset, self.name = builder.info.full_name, name
    if name not in builder.info.splits:
      raise UserError(
        f"Split {name!r} is not in {self.dataset}: use one of {', '.join(builder.info.splits)}."
      )
    if videos is None or name not in videos:
      raise UserError(
        f"{self.dataset} in {self._directory} has no table of videos for {name!r}: it was not"
        f" written by a builder of this project (they are {', '.join(known_datasets())})."
      )
    self.videos = tuple(Video(**row) for row in videos[name])
    missing = [path for path in builder.info.splits[name].filepaths if not path.exists()]
    if missing:
      raise UserError(f"{_damaged(self._directory)} ({missing[0].name} is missing)")
    encoded = {
      key: tfds.decode.SkipDecoding()
      for key, feature in builder.info.features.items()
      if isinstance(feature, tfds.features.Image)
    }
    self.features = frozenset(builder.info.features)
    self._records = builder.as_data_source(name, decoders=encoded)
    if len(self) != sum(video.frames for video in self.videos):
      raise UserError(
        f"{_damaged(self._directory)} ({len(self)} records do not fit the table of videos)"
      )

  def __reduce__(self) -> tuple[type["Split"], tuple[pathlib.Path, str]]:
    return Split, (self._directory, self.name)

  def __repr__(self) -> str:
    return f"Split({self.dataset}, {self.name}, {len(self.videos)} videos, {len(self)} frames)"

  def __len__(self) -> int:
    """Number of records, which are frames."""
    return len(self._records)

  def __getitem__(self, record: int) -> dict[str, Any]:
    if not 0 <= record < len(self):
      raise IndexError(f"Record {record} is not in 0..{len(self) - 1} of {self.where()}.")
    try:
      return self._records[int(record)]
    except Exception as error:  # the C++ reader and protobuf have their own types of error
      raise UserError(
        f"{_damaged(self._directory)} (record {record} of {self.name!r}: {error})"
      ) from error

  def fixations(self, record: int) -> np.ndarray:
    """Fixations of a frame, float32 [n, 2], (x, y) in pixels; decodes no image."""
    return self[record]["fixations"]

  def check_sound(self) -> None:
    """Raises UserError if the set was built without sound."""
    if "audio" not in self.features:
      raise UserError(
        f"{self.dataset} has no sound, which the network needs: use an audio-visual set."
      )

  def sound(self, video: Video) -> np.ndarray:
    """The sound track of a video, int16 [n] at 22,050 Hz (see `jaxsal.data.audio`).

    The video's first record holds it, whole; it is empty where there is none.
    """
    return self[video.first]["audio"]

  def where(self, record: int | None = None) -> str:
    """Names the split, or one of its records, for messages."""
    split = f"split {self.name!r} of {self.dataset}"
    return split if record is None else f"record {record} of {split}"


def open_split(dataset: str, split: str, data_dir: str | pathlib.Path) -> Split:
  """Opens a split of a prepared data set.

  Args:
    dataset: `name` or `name/config`, as in `demo` or `demo/tiny`.
    split: name of the split, as in `train`.
    data_dir: directory in which data sets were prepared.

  Raises:
    UserError: there is no such directory, data set or split, or its files are damaged.
  """
  data_dir = pathlib.Path(data_dir).expanduser()
  name, _ = _parse(dataset)
  if not (data_dir / name).is_dir() and name not in known_datasets():
    raise UserError(
      f"Data set {dataset!r} is unknown: there is no {data_dir / name}, and the sets that can be"
      f" prepared are {', '.join(known_datasets())}."
    )
  build = f"jaxsal prepare {dataset} --data-dir={data_dir}"
  if not data_dir.is_dir():
    raise UserError(f"Data directory {data_dir} does not exist. To build the set there: {build}")
  try:
    builder = read_only_builder.builder_from_files(dataset, data_dir=data_dir)
  except tfds.core.DatasetNotFoundError as error:
    raise UserError(
      f"Data set {dataset!r} is not prepared in {data_dir}. To build it: {build}"
    ) from error
  except Exception as error:  # TFDS has many
    raise UserError(f"{_damaged(data_dir / dataset)} ({error})") from error
  return Split(builder.data_path, split)


def prepare(
  dataset: str,
  data_dir: str | pathlib.Path,
  source: str | pathlib.Path | None = None,
  *,
  skip_bad: bool = False,
  jobs: int = 1,
) -> pathlib.Path:
  """Builds a data set of this project, or finds it built.

  It is written beside its place and renamed when it is whole, so that an interrupted build leaves
  nothing that `open_split` would open. Called again, a build of a downloaded set continues.

  Args:
    dataset: `name` or `name/config`.
    data_dir: directory that holds, or will hold, prepared data sets.
    source: the folder that the user downloaded; the demo sets need none.
    skip_bad: leave out videos that are missing or damaged, and list them, instead of stopping.
    jobs: processes that work on it; more than one needs Apache Beam.

  Returns:
    The data set's directory.

  Raises:
    UserError: there is no builder, or no configuration, of that name; the download is missing,
      incomplete or damaged.
  """
  name, config = _parse(dataset)
  if name not in known_datasets():
    raise UserError(
      f"Data set {dataset!r} is unknown: the sets that can be prepared are"
      f" {', '.join(known_datasets())}."
    )
  builder_class = _builder_class(name)
  if config and config not in builder_class.builder_configs:
    configs = ", ".join(f"{name}/{config}" for config in builder_class.builder_configs)
    raise UserError(f"Data set {dataset!r} has no such configuration: use one of {configs}.")
  downloaded = not is_simulated(name)
  options = {"skip_bad": skip_bad} if downloaded else {}
  data_dir = pathlib.Path(data_dir).expanduser()
  builder = builder_class(data_dir=data_dir, config=config, **options)
  directory = pathlib.Path(builder.data_path)
  if directory.exists():
    return directory
  if downloaded:
    source = _check_source(builder_class, name, source)
  console.print(f"preparing {builder.info.full_name} in {directory}", soft_wrap=True)
  if not console.is_terminal:
    tfds.disable_progress_bar()
  # The line above says it.
  builder._log_download_bytes = builder._log_download_done = lambda: None
  builder.download_and_prepare(
    file_format="array_record",
    download_config=tfds.download.DownloadConfig(
      manual_dir=source, beam_options=_beam_options(jobs) if jobs > 1 else None
    ),
  )
  return directory


def is_simulated(dataset: str) -> bool:
  """Whether `prepare` makes a data set of this project without anything to download."""
  name, _ = _parse(dataset)
  return name in known_datasets() and not _builder_class(name).MANUAL_DOWNLOAD_INSTRUCTIONS


def _check_source(
  builder_class: type[tfds.core.DatasetBuilder], name: str, source: str | pathlib.Path | None
) -> pathlib.Path:
  how = " ".join(builder_class.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
  if source is None:
    raise UserError(
      f"{name} has to be downloaded by you: {how} Then: jaxsal prepare {name} --from=FOLDER"
    )
  source = pathlib.Path(source).expanduser().absolute()
  if not source.is_dir():
    raise UserError(f"{source} is not a folder. {how}")
  return source


def _beam_options(jobs: int) -> Any:
  try:
    from apache_beam.options.pipeline_options import PipelineOptions
  except ImportError as error:
    raise UserError(
      f"{jobs} jobs need Apache Beam: pip install 'jaxsal[beam]', or leave out --jobs"
    ) from error
  return PipelineOptions(
    [],
    direct_num_workers=jobs,
    direct_running_mode="multi_processing",
    default_sdk_harness_log_level="ERROR",
  )


def known_datasets() -> list[str]:
  """Names of the data sets that this project has builders for."""
  builders = importlib.import_module("tfds_builders")
  return sorted(module.name for module in pkgutil.iter_modules(builders.__path__) if module.ispkg)


def _parse(dataset: str) -> tuple[str, str | None]:
  if not re.fullmatch(r"\w+(/[\w.-]+)?", dataset):
    raise UserError(f"Data set {dataset!r} must be named NAME or NAME/CONFIG, as in demo/tiny.")
  name, _, config = dataset.partition("/")
  return name, config or None


def _damaged(directory: pathlib.Path) -> str:
  return f"The data set in {directory} is damaged: delete that directory and prepare it again."


def _builder_class(name: str) -> type[tfds.core.DatasetBuilder]:
  return importlib.import_module(f"tfds_builders.{name}.{name}_dataset_builder").Builder
