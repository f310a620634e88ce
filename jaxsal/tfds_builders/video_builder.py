"""The base of builders that read a folder which the user has downloaded."""

import abc
import dataclasses
import functools
import hashlib
import itertools
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from jaxsal.console import say
from jaxsal.data import flow as optical_flow
from jaxsal.data.sound import read_sound
from jaxsal.errors import UserError
from jaxsal.tfds_builders import annotations, records, shards
from jaxsal.tfds_builders.annotations import Recording

JPEG_QUALITY = 90


@dataclasses.dataclass(eq=False, kw_only=True)
class SizeConfig(tfds.core.BuilderConfig):
  """The size in which frames are stored.

  Attributes:
    size: height and width of frames and densities in pixels; None keeps the size of the video.
    jpeg_quality: JPEG quality of frames that are encoded again. Native frames in JPEG files are
      stored as they are.
    flow: whether images of the optical flow are stored, computed at this size.
  """

  size: tuple[int, int] | None = None
  jpeg_quality: int = JPEG_QUALITY
  flow: bool = False


def size_configs() -> list[SizeConfig]:
  """Returns the configurations that most builders share.

  They store the native size, TSFP-Net's size, the size of the other 3-D networks, and GFSalNet's
  size with optical flow.
  """
  sizes = [(192, 352), (224, 384)]
  return [
    SizeConfig(name="native", description="Frames in the size of the video."),
    *(
      SizeConfig(name=f"{h}x{w}", size=(h, w), description=f"Resized to {h} x {w} pixels.")
      for h, w in sizes
    ),
    SizeConfig(
      name="480x640",
      size=(480, 640),
      flow=True,
      description="Resized to 480 x 640 pixels, with images of the optical flow.",
    ),
  ]


class Register(NamedTuple):
  """Numbers of videos and frames in a complete split; None where the number is not known."""

  videos: int
  frames: int | None


class VideoBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Builds frames, densities and fixations of downloaded videos, one record per frame.

  A subclass implements `_recordings`, which finds the videos.

  Attributes:
    REGISTER: number of videos and frames of each split in a complete download.
    LISTS: number of videos and frames of lists (parts of splits), where their size is known. Builds
      are not checked against it.
    ANNOTATED: the splits whose densities and fixations are public.
    GAZE: whether the gaze of single observers may be known.
    SOUND: whether the videos have sound, which audio-visual networks need.
    PROTOCOL: the protocol by which `jaxsal evaluate` scores the set by default.
  """

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 (the name and the type are TFDS's)
  BUILDER_CONFIGS = size_configs()
  DESCRIPTION: str
  HOMEPAGE: str
  CITATION: str
  REGISTER: ClassVar[dict[str, Register]]
  LISTS: ClassVar[dict[str, Register]] = {}
  ANNOTATED: tuple[str, ...]
  GAZE = False
  SOUND = False
  PROTOCOL = "dhf1k"

  def __init__(
    self,
    *,
    skip_bad: bool = False,
    flow_from: str | pathlib.Path | None = None,
    file_format: str | None = None,
    **kwargs: Any,
  ) -> None:
    """Makes a builder.

    Args:
      skip_bad: whether missing and damaged videos are left out instead of ending the build.
      flow_from: model folder of the PWC-Net that computes the optical flow; None for DIS.
      file_format: format of the files; ArrayRecord by default.
      **kwargs: arguments of every TFDS builder.
    """
    self._arguments = kwargs | {
      "skip_bad": skip_bad,
      "flow_from": flow_from,
      "file_format": file_format,
    }
    self._skip_bad = skip_bad
    self._skipped: list[str] = []
    self._flow = optical_flow.Estimator("dis", optical_flow.dis_flow)
    if flow_from is not None:
      from jaxsal.models import flow_estimator  # imports JAX, which other builds do not need

      self._flow = flow_estimator(flow_from)
    super().__init__(file_format=file_format or records.FILE_FORMAT, **kwargs)

  def __reduce__(self) -> tuple[Any, ...]:
    # TFDS would pickle the builder for Beam's workers without the arguments that are ours.
    return functools.partial(type(self), **self._arguments), ()

  @property
  def size_config(self) -> SizeConfig:
    """The chosen configuration."""
    config = self.builder_config
    assert isinstance(config, SizeConfig)
    return config

  @property
  def metadata(self) -> dict[str, Any]:
    """Facts about the whole data set, which are stored with it."""
    metadata = self.info.metadata
    assert isinstance(metadata, dict)
    return metadata

  @abc.abstractmethod
  def _recordings(self, folder: pathlib.Path, problems: list[str]) -> dict[str, list[Recording]]:
    """Finds the videos of each split in `folder`; adds a line to `problems` for missing ones."""

  def _lists(
    self, folder: pathlib.Path, found: dict[str, list[Recording]], problems: list[str]
  ) -> dict[str, records.Lists]:
    """Reads the lists, which are parts of stored splits with names of their own.

    Args:
      folder: the downloaded folder.
      found: the recordings of each split. Lists may name videos that are not among them.
      problems: receives a line for everything that is wrong with the lists.

    Returns:
      The lists of each stored split.
    """
    return {}

  def _frames(self, recording: Recording) -> Iterator[annotations.Frame]:
    """Yields the frames of a video, decoded and checked; see `annotations.read`."""
    return annotations.read(recording)

  def _info(self) -> tfds.core.DatasetInfo:
    config = self.size_config
    size = config.size or (None, None)
    extra: dict[str, tfds.features.FeatureConnector] = {}
    if self.GAZE:
      extra["gaze"] = records.gaze_feature()
    if self.SOUND:
      extra["audio"] = records.sound_feature()
    if config.flow:
      extra["flow"] = records.flow_feature(*size)
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.DESCRIPTION,
      homepage=self.HOMEPAGE,
      citation=self.CITATION,
      features=records.features(*size, extra=extra),
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(
        annotated={split: split in self.ANNOTATED for split in self.REGISTER},
        jpeg_quality=config.jpeg_quality,
        protocol=self.PROTOCOL,
        flow=self._flow.method if config.flow else None,
      ),
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
    """Finds the recordings of each split and compares them with the register."""
    folder, problems = pathlib.Path(dl_manager.manual_dir), []
    found = self._recordings(folder, problems)
    self._found_lists = self._lists(folder, found, problems)
    self._check(folder, found, problems)
    self._skipped = problems
    if self.GAZE:
      self.metadata["gaze"] = {
        split: any(video.gaze for video in videos) for split, videos in found.items()
      }
    return {split: videos for split, videos in found.items() if videos}

  def _check(
    self, folder: pathlib.Path, found: dict[str, list[Recording]], problems: list[str]
  ) -> None:
    """Adds splits that differ from the register to `problems`.

    Raises:
      UserError: there is no video, or there are problems that may not be skipped.
    """
    for split, register in self.REGISTER.items():
      videos = found.setdefault(split, [])
      frames = sum(recording.frames for recording in videos)
      if (len(videos), frames) != (register.videos, register.frames or frames):
        known = "" if register.frames is None else f" with {register.frames}"
        problems.append(
          f"{split}: {len(videos)} videos with {frames} frames; the complete set has"
          f" {register.videos}{known}"
        )
    if not any(found.values()):
      raise UserError(f"{folder} holds no video of {self.name}. {instructions(self)}")
    if problems and not self._skip_bad:
      raise UserError(
        f"{folder} is not complete:\n  "
        + "\n  ".join(shortened(problems))
        + "\nAdd or mend these parts, or build the rest with `jaxsal prepare --skip-bad`."
      )

  def _generate_examples(
    self, recording: Recording, number: int, times: list[float] | None = None
  ) -> Iterator[dict[str, Any]]:
    """Yields the records of a video, in order.

    Args:
      recording: the video.
      number: number of the video among those of its split that were found. It differs from the row
        in the table of videos if an earlier video is damaged, because shards are written
        independently of one another.
      times: receives the seconds at which the frames are shown, where they are known.
    """
    size, quality = self.size_config.size, self.size_config.jpeg_quality
    silence = np.zeros(0, np.int16)
    sound = read_sound(recording.sound) if recording.sound else None
    for index, (frame, motion) in enumerate(self._with_motion(self._frames(recording))):
      if times is not None and frame.time is not None:
        times.append(frame.time)
      native = frame.image.shape[:2]
      scale = np.divide(size or native, native)[::-1]
      extra = {}
      if self.GAZE:
        extra["gaze"] = frame.gaze * np.asarray([*scale, 1], np.float32)
      if self.SOUND:
        extra["audio"] = silence if index or sound is None else sound
      if motion is not None:
        extra["flow"] = records.encode_jpeg(motion, quality, full_colour=True)
      yield records.record(
        video=number,
        index=index,
        image=_encode_frame(frame, size, quality),
        density=_encode_density(frame, size),
        fixations=frame.fixations * scale,
        size=size or native,
        **extra,
      )

  def _with_motion(
    self, frames: Iterator[annotations.Frame]
  ) -> Iterator[tuple[annotations.Frame, np.ndarray | None]]:
    """Yields every frame with the image of its motion, or with None if no flow is stored."""
    if not self.size_config.flow:
      yield from ((frame, None) for frame in frames)
      return
    frames, ahead = itertools.tee(frames)
    images = (annotations.resize(frame.image, self.size_config.size) for frame in ahead)
    for frame, pair in zip(frames, optical_flow.with_neighbours(images)):
      yield frame, optical_flow.motion_image(pair, self._flow.flow)

  def _download_and_prepare(
    self,
    dl_manager: tfds.download.DownloadManager,
    download_config: tfds.download.DownloadConfig | None = None,
  ) -> None:
    """Writes the shards that are not written yet, then moves all to where TFDS reads them."""
    found = self._split_generators(dl_manager)
    target = pathlib.Path(self.data_path)  # TFDS renames this directory when it is complete.
    parts = target.parent / f"{self.version}.parts"
    writer = shards.ShardWriter(parts, self.info.full_name, self._read_video, self._skip_bad)
    download_config = download_config or tfds.download.DownloadConfig()
    written = writer.write(found, self._signature(found), download_config)

    infos, videos, lists, notes, skipped = [], {}, {}, [], self._skipped
    for split, of_split in written.items():
      skipped += [f"{split}: {text}" for _, summary in of_split for text in summary.skipped]
      notes += [text for _, summary in of_split for text in summary.notes]
      whole = [one for one in of_split if one.summary.videos]
      if not whole:
        continue
      rows = [records.Video(**row) for _, summary in whole for row in summary.videos]
      videos[split] = records.videos_table(rows)
      if split in self._found_lists:
        lists[split] = records.lists_table(self._found_lists[split], rows)
      infos.append(shards.move(whole, target, self.name))
    shutil.rmtree(parts)
    if not infos:
      raise UserError(f"No video of {self.name} could be read:\n  " + "\n  ".join(skipped))
    self.metadata.update(videos=videos, lists=lists, skipped=skipped)
    self.info.set_splits(tfds.core.SplitDict(infos))
    for text in (*(f"left out: {text}" for text in skipped), *notes):
      say(text)

  def _read_video(self, recording: Recording, number: int) -> shards.StoredVideo:
    """Reads a video whole; see `shards.ShardWriter`."""
    features = self.info.features
    assert isinstance(features, tfds.features.FeaturesDict)
    times: list[float] = []
    examples = self._generate_examples(recording, number, times)
    first = next(examples)
    serialized = [features.serialize_example(e) for e in itertools.chain([first], examples)]
    height, width = self.size_config.size or annotations.size_of(first["image"])
    silent = self.SOUND and not first["audio"].size
    return shards.StoredVideo(
      video=records.Video(
        name=recording.name,
        frames=len(serialized),
        height=height,
        width=width,
        fps=recording.fps,
        times=None if silent or not self.SOUND else _irregular(times, recording.fps),
      ),
      records=serialized,
      note="no sound, taken as silence" if silent else "",
    )

  def _signature(self, found: dict[str, list[Recording]]) -> str:
    """Returns a text that changes if an interrupted build's shards no longer fit."""
    text = repr(
      (self.info.full_name, dataclasses.asdict(self.size_config), self._flow.method, found)
    )
    return hashlib.sha256(text.encode()).hexdigest()


class FolderBuilder(VideoBuilder, skip_registration=True):
  """Builds a set with a folder per video, in `training/` and `testing/`.

  Attributes:
    FPS: frames per second, which the folders do not tell.
  """

  ANNOTATED = ("train", "test")
  FPS: float

  def _recordings(self, folder: pathlib.Path, problems: list[str]) -> dict[str, list[Recording]]:
    return {
      split: annotations.find_all(folder / name, self.FPS, problems)
      for split, name in (("train", "training"), ("test", "testing"))
    }


def instructions(builder: tfds.core.DatasetBuilder | type[tfds.core.DatasetBuilder]) -> str:
  """Returns a builder's instructions for the download on one line; empty if it needs none."""
  return " ".join((builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "").split())


def _irregular(times: Sequence[float], fps: float) -> list[float] | None:
  """Returns the times of frames, or None if they are the rate's to half a frame."""
  regular = np.arange(len(times)) / fps
  if np.all(np.abs(np.asarray(times) - regular) <= 0.5 / fps):
    return None
  return [round(time, 4) for time in times]


def _encode_frame(frame: annotations.Frame, size: tuple[int, int] | None, quality: int) -> bytes:
  if frame.jpeg is not None and size in (None, frame.image.shape[:2]):
    return frame.jpeg
  return records.encode_jpeg(annotations.resize(frame.image, size), quality)


def _encode_density(frame: annotations.Frame, size: tuple[int, int] | None) -> bytes:
  if frame.density_png is not None and size in (None, frame.image.shape[:2]):
    return frame.density_png
  return records.encode_map(annotations.resize(frame.density, size))


def shortened(lines: Sequence[str], most: int = 20) -> list[str]:
  """Returns the first lines, and a line with the number of the others if there are any."""
  return [*lines[:most], *([f"and {len(lines) - most} more"] if len(lines) > most else [])]


def missing(numbers: Iterable[int], width: int = 3) -> str:
  """Writes numbers as ranges: [1, 2, 3, 7] becomes '001-003, 007'."""
  runs: list[list[int]] = []
  for number in sorted(numbers):
    if runs and number == runs[-1][-1] + 1:
      runs[-1][1:] = [number]
    else:
      runs.append([number])
  return ", ".join("-".join(f"{n:0{width}}" for n in run) for run in runs)
