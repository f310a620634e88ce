"""Loads batches of clips from prepared data sets, through Grain.

A batch is a dictionary of NumPy arrays, with b clips of t frames of h x w pixels:

- `frames`: RGB uint8 [b, t, h, w, 3], in the order of the network's input;
- `density`: float32 [b, h, w] of the target frame, on the data set's own positive scale;
- `fixations`: uint8 [b, h, w], 1 where somebody looked at the target frame;
- `waveform`: float32 [b, samples], the sound of the clip, if `samples` is not 0 (see
  `jaxsal.data.waveforms.waveform`);
- `flow`: uint8 [b, h, w, 3], the image of the target frame's motion, if `flow` is on. It is read
  from the data set if that holds flow, and otherwise computed by DIS between frames of this size
  (see `jaxsal.data.flow`);
- `mask`: float32 [b], 0 in rows that must not count;
- `video` and `frame`: int32 [b], the numbers of the target frame and its video, in evaluation only.

A batch is a function of its number, so the position in the data is one integer.

With workers > 0, this number of processes make the batches. Each process begins by importing the
main module (multiprocessing's `spawn`), so a script that uses workers needs the usual
`if __name__ == "__main__":`. Batches reach the main process through shared memory, `/dev/shm`.
"""

import contextlib
import dataclasses
import functools
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import grain
import numpy as np
from absl import flags

from jaxsal.data import flow as optical_flow
from jaxsal.data import transforms
from jaxsal.data.sources import Split, Video
from jaxsal.data.waveforms import waveform
from jaxsal.data.windows import Padding, Target, training_targets, windows

Batch = dict[str, np.ndarray]

# The greatest number of threads that load batches when there are no workers. Each thread holds a
# batch in memory, and more threads would only wait for Python's global lock.
_THREADS = 4
# The number of finished batches that a process keeps for the consumer while it makes the next one.
_BUFFERED_BATCHES = 2


def train_batches(
  splits: Split | Sequence[Split],
  *,
  length: int,
  size: tuple[int, int],
  target: Target,
  padding: Padding,
  batch_size: int,
  seed: int,
  samples: int = 0,
  flow: bool = False,
  weights: Sequence[float] | None = None,
  start: int = 0,
  workers: int = 0,
  flip: bool = True,
  process_index: int = 0,
  process_count: int = 1,
) -> "TrainBatches":
  """Returns an endless iterator over batches of random clips.

  In an epoch, every video gives one clip. The order of the videos differs between epochs. Epochs
  follow one another without a gap, so a batch may hold the end of one and the beginning of the
  next.

  The target frame is drawn from the video's `targets` that are also `training_targets`, or from all
  `targets` if there are none of these. It is drawn again while nobody looked at it. If nobody
  looked at any of them, the clip of the last draw has mask 0.

  Batch i is a function of (seed, i): to resume after k batches, pass `start=k`, with any number of
  workers. The batches i of all processes together hold the clips that one process would get with a
  batch of their total size.

  Args:
    splits: splits with the videos. Several splits are pooled, so that each video counts the same,
      unless there are `weights`.
    length: number t of frames of a clip.
    size: height and width of frames, densities and fixations.
    target: position of the target frame in the clip; see `windows`.
    padding: kind of the extension of short videos; see `windows`.
    batch_size: number b of clips in a batch of this process.
    seed: seed of the shuffling, the draws and the flips.
    samples: length of the waveform that the network takes; 0 for no waveform.
    flow: whether the network takes images of the optical flow.
    weights: for each split, its share of the clips, > 0, independent of its size. Each split then
      has epochs of its own.
    start: number of batches that were drawn already.
    workers: number of processes that load batches; 0 loads them in threads of this process.
    flip: whether half of the clips are mirrored left to right.
    process_index: number of this process, whose share of each global batch is loaded.
    process_count: number of processes that share each global batch.
  """
  splits = (splits,) if isinstance(splits, Split) else tuple(splits)
  sources = [[(split, video) for video in split.videos] for split in splits]
  if weights is None:
    sources = [[video for source in sources for video in source]]
  videos = [grain.MapDataset.source(source).seed(seed).shuffle().repeat() for source in sources]
  if samples:
    for split in splits:
      split.check_sound()
  clips = (
    (videos[0] if weights is None else grain.MapDataset.mix(videos, weights).seed(seed))
    .random_map(_DrawWindow(length, target, padding, flip))
    .slice(slice(process_index, None, process_count))
    .map(_LoadClip((size[0], size[1]), samples, flow))
    .batch(batch_size, batch_fn=_stack_timed)
    .slice(slice(start, None))
  )
  threads = min(os.cpu_count() or 1, _THREADS)
  return TrainBatches(iter(_prefetch(clips, workers, threads)), batch_size)


class TrainBatches:
  """An endless iterator over batches.

  `close()` ends the workers. Use it through `with contextlib.closing(...)` around the loop, so that
  they end in any case.
  """

  def __init__(self, batches: grain.DatasetIterator[Batch], batch_size: int) -> None:
    """Wraps `batches` that `_stack_timed` has made."""
    self._batches, self._batch_size = batches, batch_size
    self._spans: list[tuple[float, float]] = []

  def __iter__(self) -> Iterator[Batch]:
    return self

  def __next__(self) -> Batch:
    batch = next(self._batches)
    began, ended = batch.pop("span")
    self._spans.append((began, ended))
    return batch

  def clips_per_second(self) -> float:
    """Returns the rate of this process's loaders while at least one is loading.

    It covers the batches since the last call. It is a lower bound of the possible rate, because
    loaders that are ahead of the consumer pause, and fewer then load at the same time. It is at
    least the consumer's rate, and equal to it if the consumer waits for batches.
    """
    spans, self._spans = sorted(self._spans), []
    busy, until = 0.0, -math.inf
    for began, ended in spans:
      busy += max(0.0, ended - max(began, until))
      until = max(until, ended)
    return self._batch_size * len(spans) / busy

  def close(self) -> None:
    """Ends the workers."""
    self._batches.close()


def eval_batches(
  split: Split,
  *,
  length: int,
  size: tuple[int, int],
  target: Target,
  padding: Padding,
  batch_size: int,
  samples: int = 0,
  flow: bool = False,
  first_frames: int | None = None,
  stride: int = 1,
  workers: int = 0,
  process_index: int = 0,
  process_count: int = 1,
) -> "EvalBatches":
  """Returns the batches of all target frames, video by video and frame by frame.

  Every process gets the same number of batches, all of the same shape. Rows that fill up the last
  batches are zero, with mask 0, video -1 and frame -1. A frame that nobody looked at has mask 1 and
  empty `fixations`: its density counts, and metrics of fixations are NaN.

  Args:
    split: split with the videos.
    length: number t of frames of a clip.
    size: height and width of frames, densities and fixations.
    target: position of the target frame in the clip; see `windows`.
    padding: kind of the extension of short videos; see `windows`.
    batch_size: number b of clips in a batch of this process.
    samples: length of the waveform that the network takes; 0 for no waveform.
    flow: whether the network takes images of the optical flow.
    first_frames: number of targets per video, taken from its beginning; all by default.
    stride: distance between target frames; 1 for every frame.
    workers: number of processes that load batches; 0 loads them in a thread of this process.
    process_index: number of this process, whose share of each global batch is loaded.
    process_count: number of processes that share each global batch.
  """
  if samples:
    split.check_sound()
  numbers = [
    (number, frame)
    for number, video in enumerate(split.videos)
    for frame in video.targets[: first_frames or None : stride]
  ]
  num_batches = math.ceil(len(numbers) / (batch_size * process_count))
  share = num_batches * batch_size
  numbers += [(-1, -1)] * (share * process_count - len(numbers))
  rows: Any = np.asarray(numbers, np.int32)[process_index * share : (process_index + 1) * share]
  clips = (
    grain.MapDataset.source(rows)
    .map(_LoadRow(split, length, (size[0], size[1]), target, padding, samples, flow))
    .batch(batch_size, batch_fn=_stack)
  )
  # With two threads, the frames that two batches share would be decoded twice.
  return EvalBatches(num_batches, _prefetch(clips, workers, threads=1))


@dataclasses.dataclass(frozen=True)
class EvalBatches:
  """Batches in order. Every `iter()` begins with the first batch.

  Attributes:
    num_batches: number of batches, which is also `len()`.
    dataset: Grain's data set of the batches.
  """

  num_batches: int
  dataset: grain.IterDataset

  def __len__(self) -> int:
    return self.num_batches

  def __iter__(self) -> Iterator[Batch]:
    with contextlib.closing(iter(self.dataset)) as batches:
      yield from batches


class _Window(NamedTuple):
  """A clip before its frames are decoded.

  Attributes:
    split: split of the video.
    video: video of the clip.
    records: record numbers of the frames, in the order of the clip.
    target: record number of the target frame.
    target_record: record of the target frame.
    began: time at which the draw began, on the clock `time.perf_counter`.
    flip: whether the clip is mirrored left to right.
    mask: 0 if the clip must not count, otherwise 1.
  """

  split: Split
  video: Video
  records: list[int]
  target: int
  target_record: dict[str, Any]
  began: float = 0.0
  flip: bool = False
  mask: float = 1.0


@dataclasses.dataclass(frozen=True)
class _DrawWindow:
  """Draws a random window of a video; see `train_batches`."""

  length: int
  target: Target
  padding: Padding
  flip: bool

  def __call__(self, source: tuple[Split, Video], rng: np.random.Generator) -> _Window:
    began = time.perf_counter()
    split, video = source
    flip = self.flip and rng.random() < 0.5
    whole = training_targets(video.frames, self.length, self.target)
    targets = [frame for frame in video.targets if frame in whole] or video.targets
    frame, target, fixated = -1, {}, False
    for frame in rng.permutation(np.asarray(targets)).tolist():
      target = split[video.first + frame]
      inside = transforms.inside(target["fixations"], (video.height, video.width))
      fixated = bool(inside.any())
      if fixated:
        break
    frames = windows(video.frames, self.length, self.target, self.padding, [frame])[0]
    records = (video.first + frames).tolist()
    return _Window(split, video, records, video.first + frame, target, began, flip, float(fixated))


@dataclasses.dataclass(frozen=True)
class _LoadClip:
  """Loads one row of a training batch; see `_load`."""

  size: tuple[int, int]
  samples: int
  flow: bool

  def __call__(self, window: _Window) -> dict[str, Any]:
    split = window.split
    read_frame = functools.partial(_read_frame, split, self.size)
    row = _load(window, self.size, self.samples, self.flow, read_frame, split.sound)
    return row | {"write_frame": functools.partial(_write_frame, split), "began": window.began}


@dataclasses.dataclass(frozen=True)
class _LoadRow:
  """Loads one row of an evaluation batch for (video, frame), or a row of padding for (-1, -1)."""

  split: Split
  length: int
  size: tuple[int, int]
  target: Target
  padding: Padding
  samples: int
  flow: bool

  @functools.cached_property  # The cache is made in the process that reads, never sent to a worker.
  def read_frame(self) -> Callable[[int], np.ndarray]:
    """Reads a frame, and keeps frames for the next windows.

    Windows share T frames. Around frame T - 1, where they stop looking ahead and begin to look
    back, they share 2T - 1. The flow needs one more if T is 1.
    """
    read = functools.partial(_read_frame, self.split, self.size)
    return functools.lru_cache(maxsize=2 * self.length + 1)(read)

  @functools.cached_property
  def read_sound(self) -> Callable[[Video], np.ndarray]:
    """Reads the sound of a video, and keeps it until another video is read."""
    return functools.lru_cache(maxsize=1)(self.split.sound)

  def __call__(self, row: np.ndarray) -> dict[str, Any]:
    number, frame = row.tolist()
    name = {"video": np.int32(number), "frame": np.int32(frame)}
    if number < 0:
      return self._padding() | name
    video = self.split.videos[number]
    frames = windows(video.frames, self.length, self.target, self.padding, [frame])[0]
    records = (video.first + frames).tolist()
    target = video.first + frame
    window = _Window(self.split, video, records, target, self.split[target])
    readers = self.read_frame, self.read_sound
    loaded = _load(window, self.size, self.samples, self.flow, *readers)
    loaded["write_frame"] = lambda record, out: np.copyto(out, self.read_frame(record))
    return loaded | name

  def _padding(self) -> dict[str, Any]:
    row = {
      "records": [-1] * self.length,
      "write_frame": lambda record, out: out.fill(0),
      "flip": False,
      "density": np.zeros(self.size, np.float32),
      "fixations": np.zeros(self.size, np.uint8),
      "mask": np.float32(0),
    }
    if self.samples:
      row["waveform"] = np.zeros(self.samples, np.float32)
    if self.flow:
      row["flow"] = np.zeros((*self.size, 3), np.uint8)
    return row


def _load(
  window: _Window,
  size: tuple[int, int],
  samples: int,
  flow: bool,
  read_frame: Callable[[int], np.ndarray],
  read_sound: Callable[[Video], np.ndarray],
) -> dict[str, Any]:
  """Loads a row for `_stack` without `write_frame`, which the caller adds."""
  mirror = transforms.flip if window.flip else lambda image: image
  target = window.target_record
  density = transforms.decode_density(target["density"], window.split.where(window.target))
  frame_size = (window.video.height, window.video.width)
  fixations = transforms.fixation_map(target["fixations"], frame_size, size)
  row = {
    "records": window.records,
    "flip": window.flip,
    "density": mirror(transforms.resize(density, size)),
    "fixations": mirror(fixations),
    "mask": np.float32(window.mask),
  }
  if samples:
    video = window.video
    numbers = np.asarray([*window.records, window.target]) - video.first
    *times, target_time = video.seconds(numbers)
    row["waveform"] = waveform(
      read_sound(video), np.asarray(times), video.fps, samples, target_time
    )
  if flow:
    if "flow" in target:
      image = transforms.decode_frame(target["flow"], window.split.where(window.target))
      image = transforms.resize(image, size)
    else:
      image = _motion(window, read_frame)
    row["flow"] = optical_flow.mirror(image) if window.flip else image
  return row


def _motion(window: _Window, read_frame: Callable[[int], np.ndarray]) -> np.ndarray:
  """Computes the image of the target frame's motion, by DIS."""
  step = optical_flow.neighbour(window.target - window.video.first, window.video.frames)
  frame, other = read_frame(window.target), read_frame(window.target + step)
  return optical_flow.motion_image(optical_flow.Neighbours(frame, other, step))


def _read_frame(split: Split, size: tuple[int, int], record: int) -> np.ndarray:
  frame = transforms.decode_frame(split.image(record), split.where(record))
  return transforms.resize(frame, size)


def _write_frame(split: Split, record: int, out: np.ndarray) -> None:
  transforms.write_frame(split.image(record), split.where(record), out)


def _stack(rows: Sequence[dict[str, Any]]) -> Batch:
  """Makes a batch from rows.

  Frames are most of a batch's bytes, and new memory costs time. A row's `write_frame(record, out)`
  therefore writes its frames directly into the batch. A frame that a window repeats is read once.
  """
  alike = [key for key in rows[0] if key not in ("records", "write_frame", "flip")]
  batch = {key: np.stack([row[key] for row in rows]) for key in alike}
  shape = len(rows), len(rows[0]["records"]), *rows[0]["density"].shape, 3
  batch["frames"] = np.empty(shape, np.uint8)
  for row, clip in zip(rows, batch["frames"]):
    written = {}
    for record, out in zip(row["records"], clip):
      if record in written:
        out[...] = written[record]
      else:
        row["write_frame"](record, out)
        if row["flip"]:
          cv2.flip(out, 1, dst=out)
        written[record] = out
  return batch


def _stack_timed(rows: Sequence[dict[str, Any]]) -> Batch:
  """Makes a batch from rows, with the times of its beginning and its end in `span`.

  The rows of a batch are made one after the other, so the batch begins with its first row. All
  processes of a machine share one clock.
  """
  began = [row.pop("began") for row in rows]
  batch = _stack(rows)
  return batch | {"span": np.asarray([began[0], time.perf_counter()])}


def _prefetch(batches: grain.MapDataset, workers: int, threads: int) -> grain.IterDataset:
  """Loads batches ahead of the consumer, in `workers` processes or, if 0, in threads."""
  if workers == 0:
    options = grain.ReadOptions(threads, prefetch_buffer_size=threads + _BUFFERED_BATCHES)
    return batches.to_iter_dataset(options)
  if not flags.FLAGS.is_parsed():  # Grain reads its absl flags, also in tests and notebooks.
    flags.FLAGS.mark_as_parsed()
  one_by_one = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
  return batches.to_iter_dataset(one_by_one).mp_prefetch(
    grain.MultiprocessingOptions(workers, per_worker_buffer_size=_BUFFERED_BATCHES),
    worker_init_fn=_start_worker,
  )


def _start_worker(worker: int, workers: int) -> None:
  """Sets up a worker process."""
  cv2.setNumThreads(1)  # The workers already use all cores.
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # The main process handles Ctrl-C.
  # Grain ends its workers, except when the main process is killed.
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  """Waits for the end of the main process, then ends this process."""
  parent = multiprocessing.parent_process()
  if parent is not None:
    parent.join()
    os._exit(1)
