"""The base of builders that read a folder which the user has downloaded.

TFDS's own writer sorts a set in memory before it writes it. Video sets do not fit there, so this
one writes its shards itself: each holds some whole videos, and stands complete under its name or
not at all. They gather in a folder beside the set, `<version>.parts`, and move into it when all are
there. So a build needs the memory of one video, continues where it was interrupted, and leaves
nothing that could be taken for a set before it is whole.
"""

import abc
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer, file_adapters, naming
from tensorflow_datasets.core import splits as splits_lib

from jaxsal.console import console, progress
from jaxsal.data import flow as optical_flow
from jaxsal.data.sound import read_sound
from jaxsal.errors import UserError
from jaxsal.tfds_builders import annotations, records
from jaxsal.tfds_builders.annotations import Recording

# A shard is closed at so many frames. Hollywood-2 becomes 450 of them: few enough to keep open.
_SHARD_FRAMES = 1000
JPEG_QUALITY = 90


@dataclasses.dataclass(eq=False, kw_only=True)
class SizeConfig(tfds.core.BuilderConfig):
  """How large the frames are stored.

  Attributes:
    size: height and width of frames and maps in pixels; None: as they are.
    jpeg_quality: of frames that are encoded anew. Native frames in JPEG files stay as they are.
    flow: whether images of the optical flow are stored, computed at this size.
  """

  size: tuple[int, int] | None = None
  jpeg_quality: int = JPEG_QUALITY
  flow: bool = False


def size_configs() -> list[SizeConfig]:
  """The native size, TSFP-Net's, the other 3-D networks', and GFSalNet's, with optical flow."""
  sizes = [(192, 352), (224, 384)]
  return [
    SizeConfig(name="native", description="Frames of the size they have."),
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
  """How many videos and frames a complete split has; None where nobody has said how many."""

  videos: int
  frames: int | None


class _Shard(NamedTuple):
  """Some videos of a split: their numbers within it, and where they go."""

  path: pathlib.Path
  split: str
  first: int
  recordings: tuple[Recording, ...]

  @property
  def summary(self) -> pathlib.Path:
    """What is in the shard; written after it, so that it marks it as complete."""
    return self.path.with_suffix(".json")

  @property
  def error(self) -> pathlib.Path:
    """Why a worker process could not write it."""
    return self.path.with_suffix(".error")


class VideoBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Frames, densities and fixations of downloaded videos, one record per frame.

  A subclass says with `_recordings` what should be there.

  Attributes:
    REGISTER: number of videos and frames of each split in a complete download.
    LISTS: number of videos and frames of lists (parts of splits), where their size is known. Builds
      are not checked against it.
    ANNOTATED: the splits whose densities and fixations are public.
    GAZE: whether the gaze of each observer may be there.
    SOUND: whether the videos have sound, which their networks need.
    PROTOCOL: by which `jaxsal evaluate` scores the set unless it is told another.
  """

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 (the name and the type are TFDS's)
  BUILDER_CONFIGS = size_configs()
  DESCRIPTION: str
  HOMEPAGE: str
  CITATION: str
  REGISTER: dict[str, Register]
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
    """As every TFDS builder, and:

    Args:
      skip_bad: leave out videos that are missing or damaged, instead of stopping at the first.
      flow_from: model folder of the PWC-Net that computes the optical flow; None: DIS does.
      file_format: ArrayRecord, unless another one is named.
      **kwargs: TFDS's.
    """
    self._skip_bad, self._skipped = skip_bad, []
    self._flow_from = flow_from
    self._flow = optical_flow.Estimator("dis", optical_flow.dis_flow)
    if flow_from is not None:
      from jaxsal.models import _flow  # imports JAX, which other builds do without

      self._flow = _flow.estimator(flow_from)
    super().__init__(file_format=file_format or records.FILE_FORMAT, **kwargs)

  def __getstate__(self) -> dict[str, Any]:
    # TFDS pickles a builder as its own arguments, without ours; Beam's workers get it like this.
    state = super().__getstate__()["_original_state"]
    ours = {"skip_bad": self._skip_bad, "flow_from": self._flow_from}
    return {"_original_state": {**state, **ours}}

  @abc.abstractmethod
  def _recordings(self, folder: pathlib.Path, problems: list[str]) -> dict[str, list[Recording]]:
    """The videos of each split in `folder`; what is missing goes into `problems`."""

  def _lists(
    self, folder: pathlib.Path, found: dict[str, list[Recording]], problems: list[str]
  ) -> dict[str, records.Lists]:
    """Parts of stored splits that have names of their own: stored split -> lists of it.

    They may name videos that are not among those `found`. What is wrong with the lists goes into
    `problems`.
    """
    return {}

  def _frames(self, recording: Recording) -> Iterator[annotations.Frame]:
    """The frames of a video, decoded and checked; see `annotations.read`."""
    return annotations.read(recording)

  def _info(self) -> tfds.core.DatasetInfo:
    config = self.builder_config
    size = config.size or (None, None)
    extra = {"gaze": records.gaze_feature()} if self.GAZE else {}
    if self.SOUND:
      extra["audio"] = records.sound_feature()
    if config.flow:
      extra["flow"] = records.flow_feature(*size)
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.DESCRIPTION,
      homepage=self.HOMEPAGE,
      citation=self.CITATION,
      features=records.features(*size, **extra),
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(
        annotated={split: split in self.ANNOTATED for split in self.REGISTER},
        jpeg_quality=config.jpeg_quality,
        protocol=self.PROTOCOL,
        flow=self._flow.method if config.flow else None,
      ),
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
    folder, problems = pathlib.Path(dl_manager.manual_dir), []
    found = self._recordings(folder, problems)
    self._found_lists = self._lists(folder, found, problems)
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
      raise UserError(
        f"{folder} holds no video of {self.name}. {self.MANUAL_DOWNLOAD_INSTRUCTIONS.strip()}"
      )
    if problems and not self._skip_bad:
      raise UserError(
        f"{folder} is not the whole of {self.name}:\n  "
        + "\n  ".join(shortened(problems))
        + "\nDownload what is missing, or build what is there with `jaxsal prepare --skip-bad`."
      )
    self._skipped = problems
    if self.GAZE:
      gaze = {split: any(video.gaze for video in videos) for split, videos in found.items()}
      self.info.metadata["gaze"] = gaze
    return {split: videos for split, videos in found.items() if videos}

  def _generate_examples(self, recording: Recording, number: int) -> Iterator[dict[str, Any]]:
    """The records of a video, in order.

    Args:
      recording: the video.
      number: of the video among those that were found. It is not the row of the table where a
        damaged one stands before it: shards are written independently of one another.
    """
    size, quality = self.builder_config.size, self.builder_config.jpeg_quality
    silence = np.zeros(0, np.int16)
    sound = read_sound(recording.sound) if recording.sound else None
    for index, (frame, motion) in enumerate(self._with_motion(self._frames(recording))):
      native = frame.image.shape[:2]
      scale = np.divide(size or native, native)[::-1]
      extra = {}
      if self.GAZE:
        extra["gaze"] = frame.gaze * np.float32([*scale, 1])
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
    """Every frame, and the image of its motion if the configuration has them."""
    if not self.builder_config.flow:
      yield from ((frame, None) for frame in frames)
      return
    frames, ahead = itertools.tee(frames)
    images = (annotations.resize(frame.image, self.builder_config.size) for frame in ahead)
    for frame, pair in zip(frames, optical_flow.with_neighbours(images)):
      yield frame, optical_flow.motion_image(pair, self._flow.flow)

  def _generate_splits(
    self, dl_manager: tfds.download.DownloadManager, download_config: tfds.download.DownloadConfig
  ) -> Sequence[splits_lib.SplitInfo]:
    """Writes what is not written yet, then moves the shards to where TFDS wants them."""
    found = self._split_generators(dl_manager)
    target = pathlib.Path(self._data_dir)  # TFDS renames it when it is complete
    parts = target.parent / f"{self.version}.parts"
    shards = _plan(found, parts)
    _open_parts(parts, self._signature(found))
    self._write_shards([s for s in shards if not self._is_written(s)], shards, download_config)

    infos, videos, lists, silent, skipped = [], {}, {}, [], self._skipped
    for split in found:
      summaries = [(s, json.loads(s.summary.read_text())) for s in shards if s.split == split]
      skipped += [f"{split}: {text}" for _, summary in summaries for text in summary["skipped"]]
      silent += [name for _, summary in summaries for name in summary["silent"]]
      whole = [(shard, summary) for shard, summary in summaries if summary["videos"]]
      if not whole:
        continue
      rows = [records.Video(**row) for _, summary in whole for row in summary["videos"]]
      videos[split] = records.videos_table(rows)
      if split in self._found_lists:
        lists[split] = records.lists_table(self._found_lists[split], rows)
      template = naming.ShardedFileTemplate(
        data_dir=target, dataset_name=self.name, split=split, filetype_suffix=records.FILE_FORMAT
      )
      for i, (shard, _) in enumerate(whole):
        os.replace(shard.path, template.sharded_filepath(shard_index=i, num_shards=len(whole)))
      infos.append(
        splits_lib.SplitInfo(
          name=split,
          shard_lengths=[sum(row["frames"] for row in s["videos"]) for _, s in whole],
          num_bytes=sum(summary["bytes"] for _, summary in whole),
          filename_template=template,
        )
      )
    shutil.rmtree(parts)
    if not infos:
      raise UserError(f"no video of {self.name} could be read:\n  " + "\n  ".join(skipped))
    self.info.metadata.update(videos=videos, lists=lists, skipped=skipped)
    for text in skipped:
      console.print(f"left out: {text}", highlight=False, markup=False, soft_wrap=True)
    for name in silent:
      text = f"{name}: no sound, taken as silence"
      console.print(text, highlight=False, markup=False, soft_wrap=True)
    return infos

  def _signature(self, found: dict[str, list[Recording]]) -> str:
    """Changes when the shards of an interrupted build no longer fit the folder or this code."""
    text = repr(
      (self.info.full_name, dataclasses.asdict(self.builder_config), self._flow.method, found)
    )
    return hashlib.sha256(text.encode()).hexdigest()

  def _is_written(self, shard: _Shard) -> bool:
    # A build that was interrupted in its last moment has moved some of the shards already.
    if not (shard.summary.exists() and shard.path.exists()):
      return False
    # One with videos left out counts only while they may be.
    return self._skip_bad or not json.loads(shard.summary.read_text())["skipped"]

  def _write_shards(
    self, todo: list[_Shard], shards: list[_Shard], download_config: tfds.download.DownloadConfig
  ) -> None:
    """One after the other, or with Beam if `download_config` has options for it."""
    frames = {shard: sum(r.frames for r in shard.recordings) for shard in shards}
    done = sum(frames.values()) - sum(frames[shard] for shard in todo)
    with progress(self.info.full_name, sum(frames.values()), "frame", start=done) as bar:
      if download_config.beam_options is None and download_config.beam_runner is None:
        for shard in todo:
          self._write_shard(shard, bar.advance)
        return
      ended = threading.Event()

      def watch() -> None:
        waiting = list(todo)
        while waiting and not ended.wait(0.5):
          for shard in [shard for shard in waiting if self._is_written(shard)]:
            waiting.remove(shard)
            bar.advance(frames[shard])

      watcher = threading.Thread(target=watch)
      watcher.start()
      try:  # here, and not in a thread, so that Ctrl-C ends it
        self._write_with_beam(todo, download_config)
      finally:
        ended.set()
        watcher.join()

  def _write_with_beam(
    self, todo: list[_Shard], download_config: tfds.download.DownloadConfig
  ) -> None:
    import apache_beam as beam

    for shard in todo:
      shard.error.unlink(missing_ok=True)
    options = download_config.beam_options
    with beam.Pipeline(runner=download_config.beam_runner, options=options) as pipeline:
      _ = pipeline | beam.Create(todo) | beam.Reshuffle() | beam.Map(self._try_shard)
    errors = [shard.error.read_text() for shard in todo if shard.error.exists()]
    if errors:
      raise UserError("\n".join(errors))

  def _try_shard(self, shard: _Shard) -> None:
    """For Beam, which would try again and bury the message in its own."""
    try:
      self._write_shard(shard)
    except UserError as error:
      shard.error.write_text(str(error))

  def _write_shard(self, shard: _Shard, advance: Any = lambda frames: None) -> None:
    features = self.info.features
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    rows, skipped, silent, size = [], [], [], 0

    def examples() -> Iterator[tuple[int, bytes]]:
      nonlocal size
      for number, recording in enumerate(shard.recordings, start=shard.first):
        try:  # whole videos only: one that breaks off leaves nothing in the shard
          video = list(self._generate_examples(recording, number))
        except UserError as error:
          if not self._skip_bad:
            raise
          skipped.append(f"{recording.name}: {error}")
          continue
        finally:
          advance(recording.frames)
        height, width = self.builder_config.size or annotations.size_of(video[0]["image"])
        rows.append(
          {
            "name": recording.name,
            "frames": len(video),
            "height": height,
            "width": width,
            "fps": recording.fps,
          }
        )
        if self.SOUND and not video[0]["audio"].size:
          silent.append(recording.name)
        for record in video:
          data = serializer.serialize_example(features.encode_example(record))
          size += len(data)
          yield record["index"], data

    adapter = file_adapters.ADAPTER_FOR_FORMAT[file_adapters.FileFormat.ARRAY_RECORD]
    partial = shard.path.with_suffix(".partial")
    adapter.write_examples(partial, examples())
    os.replace(partial, shard.path)
    summary = shard.summary.with_suffix(".partial.json")
    summary.write_text(
      json.dumps({"videos": rows, "skipped": skipped, "silent": silent, "bytes": size})
    )
    os.replace(summary, shard.summary)


class FolderBuilder(VideoBuilder, skip_registration=True):
  """A set with a folder per video, in `training/` and `testing/`.

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


def _plan(found: dict[str, list[Recording]], parts: pathlib.Path) -> list[_Shard]:
  """Cuts every split into runs of whole videos."""
  shards = []
  for split, recordings in found.items():
    run, first = [], 0
    for number, recording in enumerate(recordings):
      run.append(recording)
      last = number == len(recordings) - 1
      if last or sum(r.frames for r in run) >= _SHARD_FRAMES:
        path = parts / f"{split}-{len(shards):05}.{records.FILE_FORMAT}"
        shards.append(_Shard(path, split, first, tuple(run)))
        run, first = [], number + 1
  return shards


def _open_parts(parts: pathlib.Path, signature: str) -> None:
  """Keeps the shards of an interrupted build of the same data; deletes those of any other."""
  mark = parts / "signature"
  if parts.exists() and (not mark.exists() or mark.read_text() != signature):
    shutil.rmtree(parts)
  if parts.exists():
    console.print(f"continuing the build in {parts}", highlight=False, soft_wrap=True)
  else:
    parts.mkdir(parents=True)
    mark.write_text(signature)


def _encode_frame(frame: annotations.Frame, size: tuple[int, int] | None, quality: int) -> bytes:
  if frame.jpeg is not None and size in (None, frame.image.shape[:2]):
    return frame.jpeg
  return records.encode_jpeg(annotations.resize(frame.image, size), quality)


def _encode_density(frame: annotations.Frame, size: tuple[int, int] | None) -> bytes:
  if frame.density_png is not None and size in (None, frame.image.shape[:2]):
    return frame.density_png
  return records.encode_map(annotations.resize(frame.density, size))


def shortened(lines: Sequence[str], most: int = 20) -> list[str]:
  """The first lines, and how many more there are."""
  return [*lines[:most], *([f"and {len(lines) - most} more"] if len(lines) > most else [])]


def missing(numbers: Iterable[int], width: int = 3) -> str:
  """Numbers as ranges: [1, 2, 3, 7] -> '001-003, 007'."""
  runs: list[list[int]] = []
  for number in sorted(numbers):
    if runs and number == runs[-1][-1] + 1:
      runs[-1][1:] = [number]
    else:
      runs.append([number])
  return ", ".join("-".join(f"{n:0{width}}" for n in run) for run in runs)
