"""Writes whole videos into the shards of a data set, one shard after the other or with Beam.

TFDS's own writer sorts a set in memory before it writes it. Video sets do not fit there, so this
module writes the shards itself. Each shard holds whole videos, and appears under its name only when
it is complete. The shards gather in a folder next to the set, `<version>.parts`, and move into the
set when all are there. A build therefore needs the memory of one video, continues where it was
interrupted, and leaves nothing that could be taken for a set before it is whole.

No other module touches private parts of TFDS.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]

from jaxsal.console import progress, say
from jaxsal.errors import UserError
from jaxsal.tfds_builders import records
from jaxsal.tfds_builders.annotations import Recording

# A shard is closed when it has this number of frames. Hollywood-2 then has 450 shards, few enough
# to keep all of them open.
_SHARD_FRAMES = 1000


class StoredVideo(NamedTuple):
  """A video as it is written.

  Attributes:
    video: the video's row in the table of videos.
    records: one serialised record per frame.
    note: a remark about the video for the user; empty if there is none.
  """

  video: records.Video
  records: list[bytes]
  note: str = ""


class Shard(NamedTuple):
  """Consecutive videos of one split that are written into one file.

  Attributes:
    path: the shard's file in the folder of parts.
    split: the name of the split.
    first: the number of the first video within the split.
    recordings: the videos.
  """

  path: pathlib.Path
  split: str
  first: int
  recordings: tuple[Recording, ...]

  @property
  def frames(self) -> int:
    """Number of frames of the recordings."""
    return sum(recording.frames for recording in self.recordings)

  @property
  def summary(self) -> pathlib.Path:
    """The JSON file with the shard's `Summary`; written last, so it marks a complete shard."""
    return self.path.with_suffix(".json")

  @property
  def error(self) -> pathlib.Path:
    """The file in which a worker process says why it could not write the shard."""
    return self.path.with_suffix(".error")


@dataclasses.dataclass(frozen=True)
class Summary:
  """The contents of a written shard.

  Attributes:
    videos: rows of the table of videos, without their first records.
    bytes: the size of the records.
    skipped: one line for each video that was left out.
    notes: one line for each remark about a video.
  """

  videos: list[dict[str, Any]] = dataclasses.field(default_factory=list)
  bytes: int = 0
  skipped: list[str] = dataclasses.field(default_factory=list)
  notes: list[str] = dataclasses.field(default_factory=list)

  @property
  def frames(self) -> int:
    """Number of records in the shard."""
    return sum(row["frames"] for row in self.videos)


class Written(NamedTuple):
  """A shard that is complete in the folder of parts."""

  shard: Shard
  summary: Summary


@dataclasses.dataclass(frozen=True)
class ShardWriter:
  """Writes the videos of a data set into a folder of parts. Beam pickles the writer.

  Attributes:
    parts: the folder of parts.
    title: the name of the data set for progress.
    read: a function from a recording and its number in the split to the video as it is stored. It
      raises UserError if the video is damaged.
    skip_bad: whether damaged videos are left out instead of ending the build.
  """

  parts: pathlib.Path
  title: str
  read: Callable[[Recording, int], StoredVideo]
  skip_bad: bool

  def write(
    self,
    found: dict[str, list[Recording]],
    signature: str,
    download_config: tfds.download.DownloadConfig,
  ) -> dict[str, list[Written]]:
    """Writes the shards that are not yet in the folder of parts.

    Args:
      found: the recordings of each split.
      signature: a text that differs when shards of an interrupted build can no longer be used.
      download_config: TFDS's settings; if they name options or a runner for Beam, Beam writes.

    Returns:
      The shards of each split, in order. Shards without videos are left out.

    Raises:
      UserError: a video is damaged, and `skip_bad` is off.
    """
    shards = _plan(found, self.parts)
    _open_parts(self.parts, signature)
    todo = [shard for shard in shards if not self._is_written(shard)]
    done = sum(shard.frames for shard in shards) - sum(shard.frames for shard in todo)
    with progress(self.title, sum(s.frames for s in shards), "frame", start=done) as bar:
      if download_config.beam_options is None and download_config.beam_runner is None:
        for shard in todo:
          self._write_shard(shard, bar.advance)
      else:
        self._write_with_beam(todo, download_config, bar.advance)
    written = [Written(shard, _read_summary(shard)) for shard in shards]
    return {split: [one for one in written if one.shard.split == split] for split in found}

  def _is_written(self, shard: Shard) -> bool:
    # A build that was interrupted while it moved its shards has moved some of them already.
    if not (shard.summary.exists() and shard.path.exists()):
      return False
    # A shard from which videos were left out counts only while they may be left out.
    return self.skip_bad or not _read_summary(shard).skipped

  def _write_shard(self, shard: Shard, advance: Callable[[int], None]) -> None:
    summary, size = Summary(), 0
    partial = shard.path.with_suffix(".partial")
    # TFDS reads one record at a time, so each record is a group of its own.
    writer = array_record_module.ArrayRecordWriter(str(partial), "group_size:1")
    try:
      for number, recording in enumerate(shard.recordings, start=shard.first):
        try:  # whole videos only: a damaged one leaves nothing in the shard
          stored = self.read(recording, number)
        except UserError as error:
          if not self.skip_bad:
            raise
          summary.skipped.append(f"{recording.name}: {error}")
          continue
        finally:
          advance(recording.frames)
        for record in stored.records:
          writer.write(record)
        size += sum(map(len, stored.records))
        summary.videos.append(dataclasses.asdict(stored.video))
        summary.notes.extend([f"{recording.name}: {stored.note}"] if stored.note else [])
    finally:
      writer.close()
    os.replace(partial, shard.path)
    partial = shard.summary.with_suffix(".partial.json")
    partial.write_text(json.dumps(dataclasses.asdict(dataclasses.replace(summary, bytes=size))))
    os.replace(partial, shard.summary)

  def _write_with_beam(
    self,
    todo: list[Shard],
    download_config: tfds.download.DownloadConfig,
    advance: Callable[[int], None],
  ) -> None:
    import apache_beam as beam  # pyright: ignore[reportMissingImports]  (an extra)

    for shard in todo:
      shard.error.unlink(missing_ok=True)
    ended = threading.Event()

    def watch() -> None:
      waiting = list(todo)
      while waiting and not ended.wait(0.5):
        for shard in [shard for shard in waiting if self._is_written(shard)]:
          waiting.remove(shard)
          advance(shard.frames)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:  # Beam runs in this thread, so that Ctrl-C ends it.
      options = download_config.beam_options
      with beam.Pipeline(runner=download_config.beam_runner, options=options) as pipeline:
        _ = pipeline | beam.Create(todo) | beam.Reshuffle() | beam.Map(self._try_shard)
    finally:
      ended.set()
      watcher.join()
    errors = [shard.error.read_text() for shard in todo if shard.error.exists()]
    if errors:
      raise UserError("\n".join(errors))

  def _try_shard(self, shard: Shard) -> None:
    """Writes a shard, or the file that says why not: Beam would retry and bury the message."""
    try:
      self._write_shard(shard, lambda frames: None)
    except UserError as error:
      shard.error.write_text(str(error))


def move(written: Sequence[Written], target: pathlib.Path, dataset: str) -> tfds.core.SplitInfo:
  """Moves the shards of a split, at least one, to where TFDS reads them.

  Args:
    written: the shards, each with at least one video.
    target: the directory of the data set's version.
    dataset: the name of the data set.
  """
  split = written[0].shard.split
  template = tfds.core.ShardedFileTemplate(
    data_dir=tfds.core.Path(target),
    dataset_name=dataset,
    split=split,
    filetype_suffix=records.FILE_FORMAT,
  )
  for index, (shard, _) in enumerate(written):
    path = template.sharded_filepath(shard_index=index, num_shards=len(written))
    os.replace(shard.path, path)
  return tfds.core.SplitInfo(
    name=split,
    shard_lengths=[summary.frames for _, summary in written],
    num_bytes=sum(summary.bytes for _, summary in written),
    filename_template=template,
  )


def silence(builder: tfds.core.DatasetBuilder) -> None:
  """Stops a builder from printing TFDS's own messages about a build."""
  for name in ("_log_download_bytes", "_log_download_done"):
    setattr(builder, name, lambda: None)


def _plan(found: dict[str, list[Recording]], parts: pathlib.Path) -> list[Shard]:
  """Cuts every split into runs of whole videos."""
  shards: list[Shard] = []
  for split, recordings in found.items():
    run: list[Recording] = []
    first = 0
    for number, recording in enumerate(recordings):
      run.append(recording)
      last = number == len(recordings) - 1
      if last or sum(r.frames for r in run) >= _SHARD_FRAMES:
        path = parts / f"{split}-{len(shards):05}.{records.FILE_FORMAT}"
        shards.append(Shard(path, split, first, tuple(run)))
        run, first = [], number + 1
  return shards


def _open_parts(parts: pathlib.Path, signature: str) -> None:
  """Keeps the shards of an interrupted build with this signature; deletes all others."""
  mark = parts / "signature"
  if parts.exists() and (not mark.exists() or mark.read_text() != signature):
    shutil.rmtree(parts)
  if parts.exists():
    say(f"continuing the build in {parts}")
  else:
    parts.mkdir(parents=True)
    mark.write_text(signature)


def _read_summary(shard: Shard) -> Summary:
  return Summary(**json.loads(shard.summary.read_text()))
