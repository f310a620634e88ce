"""Batches of clips, from prepared data sets through Grain.

A batch is a dict of NumPy arrays, b clips of t frames of h x w pixels:

- `frames` uint8 [b, t, h, w, 3] in R, G, B, in the order in which the network sees them;
- `density` float32 [b, h, w] of the target frame, on the data set's own positive scale;
- `fixations` uint8 [b, h, w], 1 where somebody looked at the target frame;
- `waveform` float32 [b, samples], the sound of the clip, if `samples` is asked for (see
  `jaxsal.data.waveforms.waveform`);
- `flow` uint8 [b, h, w, 3], the image of the target frame's motion, if it is asked for: as the data
  set stores it, or else computed by DIS between frames of this size (see `jaxsal.data.flow`);
- `mask` float32 [b], 0 in rows that must not count;
- in evaluation also `video` and `frame`, int32 [b], which name the target frame.

Every batch is a function of its number alone, so that the position in the data is one integer.
With workers > 0 batches are made in that many processes. They start by importing the main module
anew (as multiprocessing's `spawn` does), so a script that asks for workers needs the usual
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

# At most so many threads load batches without workers: each holds one, and Python's lock lets no
# more of them gain.
_THREADS = 4
# Finished batches that wait for the consumer: per process, beside the one that it works on.
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
  """Random windows, for ever: in an epoch, every video gives one, in an order of its own.

  The target frame is drawn among `training_targets` that count (`Video.targets`; where none of
  these has T real frames around it, among all that count), and again while nobody looked at it.
  Where nobody looked at any, the last draw stands, with mask 0. Epochs follow one another without
  a gap, so a batch may hold the end of one and the beginning of the next.

  Batch i is a function of (seed, i): to resume after k batches, pass `start=k`, with any number of
  workers. The clips of all processes' batches i, together, are those that one process would get
  with a batch of that size.

  Args:
    splits: where the videos come from; several are pooled, video by video, unless `weights` says
      how much each gives.
    length, target, padding: as for `windows`.
    size: height and width of the frames and maps.
    batch_size: b, clips in a batch of this process.
    seed: of the shuffling, the draws and the flips.
    samples: length of the waveform that the network takes; 0 for none.
    flow: whether the network takes images of the optical flow.
    weights: of each split, > 0: clips come from it in this proportion, whatever its size, and it
      goes through epochs of its own.
    start: number of batches that were drawn already.
    workers: processes that load batches; 0 loads them in threads of this one.
    flip: mirror half of the clips left to right.
    process_index, process_count: which share of each global batch to load, of how many.

  Returns:
    An endless iterator.
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
    .map(_LoadClip(tuple(size), samples, flow))
    .batch(batch_size, batch_fn=_stack_timed)
    .slice(slice(start, None))
  )
  threads = min(os.cpu_count() or 1, _THREADS)
  return TrainBatches(iter(_prefetch(clips, workers, threads)), batch_size)


class TrainBatches:
  """Batches for ever.

  `close()` ends the workers; a `with contextlib.closing(...)` around the loop does so on every way
  out.
  """

  def __init__(self, batches: grain.DatasetIterator[Batch], batch_size: int) -> None:
    """`batches` as `_stack_timed` makes them."""
    self._batches, self._batch_size = batches, batch_size
    self._spans: list[tuple[float, float]] = []

  def __iter__(self) -> Iterator[Batch]:
    return self

  def __next__(self) -> Batch:
    batch = next(self._batches)
    self._spans.append(tuple(batch.pop("span")))
    return batch

  def clips_per_second(self) -> float:
    """The rate of this process's loaders while any of them loads, since this was last asked.

    A lower bound of what they could give: those that are ahead of the consumer stand still, so that
    fewer may be at work at once. At least the consumer's rate; equal to it where that waits.
    """
    spans, self._spans = sorted(self._spans), []
    busy, until = 0.0, -math.inf
    for began, ended in spans:
      busy += max(0.0, ended - max(began, until))
      until = max(until, ended)
    return self._batch_size * len(spans) / busy

  def close(self) -> None:
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
  """One window per target frame, in order: video by video, frame by frame.

  Every process gets the same number of batches, all of one shape; rows that fill up the last ones
  are zero, with mask 0, video -1 and frame -1. A frame that nobody looked at keeps mask 1 and an
  empty `fixations`: its density is as good as any, and metrics of fixations give NaN there.

  Args:
    split: where the videos come from.
    length, target, padding: as for `windows`.
    size: height and width of the frames and maps.
    batch_size: b, clips in a batch of this process.
    samples: length of the waveform that the network takes; 0 for none.
    flow: whether the network takes images of the optical flow.
    first_frames: target frames per video, the first ones of those that count; all by default.
    stride: every how many frames is a target.
    workers, process_index, process_count: as for `train_batches`.
  """
  if samples:
    split.check_sound()
  rows = [
    (number, frame)
    for number, video in enumerate(split.videos)
    for frame in video.targets[: first_frames or None : stride]
  ]
  num_batches = math.ceil(len(rows) / (batch_size * process_count))
  share = num_batches * batch_size
  rows += [(-1, -1)] * (share * process_count - len(rows))
  rows = np.asarray(rows, np.int32)[process_index * share : (process_index + 1) * share]
  clips = (
    grain.MapDataset.source(rows)
    .map(_LoadRow(split, length, tuple(size), target, padding, samples, flow))
    .batch(batch_size, batch_fn=_stack)
  )
  # One thread: two would decode the frames that their batches share twice.
  return EvalBatches(num_batches, _prefetch(clips, workers, threads=1))


@dataclasses.dataclass(frozen=True)
class EvalBatches:
  """Batches in order; `len()` is their number, and every `iter()` begins anew."""

  num_batches: int
  dataset: grain.IterDataset

  def __len__(self) -> int:
    return self.num_batches

  def __iter__(self) -> Iterator[Batch]:
    with contextlib.closing(iter(self.dataset)) as batches:
      yield from batches


class _Window(NamedTuple):
  """What a clip is made of: the numbers of its records, the target's record, and no pixel yet."""

  split: Split
  video: Video
  records: list[int]
  target: int
  target_record: dict[str, Any]
  began: float = 0.0  # when its drawing began, on the clock `time.perf_counter`
  flip: bool = False
  mask: float = 1.0


@dataclasses.dataclass(frozen=True)
class _DrawWindow:
  """Random window of a video; see `train_batches`."""

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
    for frame in rng.permutation(targets).tolist():
      target = split[video.first + frame]
      fixated = transforms.inside(target["fixations"], (video.height, video.width)).any()
      if fixated:
        break
    frames = windows(video.frames, self.length, self.target, self.padding, [frame])[0]
    records = (video.first + frames).tolist()
    return _Window(split, video, records, video.first + frame, target, began, flip, float(fixated))


@dataclasses.dataclass(frozen=True)
class _LoadClip:
  """Window -> one row of a training batch; see `_load`."""

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
  """(video, frame) -> one row of an evaluation batch; (-1, -1) -> a row of padding."""

  split: Split
  length: int
  size: tuple[int, int]
  target: Target
  padding: Padding
  samples: int
  flow: bool

  @functools.cached_property  # made by the process that reads, so never sent to a worker
  def read_frame(self) -> Callable[[int], np.ndarray]:
    """Frames that the next windows need again are kept: T of them, or 2T - 1 around frame T - 1,
    where windows stop looking ahead and start looking back. One more, for the flow where T is 1."""
    read = functools.partial(_read_frame, self.split, self.size)
    return functools.lru_cache(maxsize=2 * self.length + 1)(read)

  @functools.cached_property
  def read_sound(self) -> Callable[[Video], np.ndarray]:
    """The sound of the latest video is kept, for all of its frames."""
    return functools.lru_cache(maxsize=1)(self.split.sound)

  def __call__(self, row: np.ndarray) -> dict[str, Any]:
    number, frame = row.tolist()
    name = {"video": np.int32(number), "frame": np.int32(frame)}
    if number < 0:
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
      return row | name
    video = self.split.videos[number]
    frames = windows(video.frames, self.length, self.target, self.padding, [frame])[0]
    records = (video.first + frames).tolist()
    target = video.first + frame
    window = _Window(self.split, video, records, target, self.split[target])
    readers = self.read_frame, self.read_sound
    row = _load(window, self.size, self.samples, self.flow, *readers)
    row["write_frame"] = lambda record, out: np.copyto(out, self.read_frame(record))
    return row | name


def _load(
  window: _Window,
  size: tuple[int, int],
  samples: int,
  flow: bool,
  read_frame: Callable[[int], np.ndarray],
  read_sound: Callable[[Video], np.ndarray],
) -> dict[str, Any]:
  """A row for `_stack`, but for `write_frame`, which the caller adds."""
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
    times = (np.asarray(window.records) - video.first) / video.fps
    row["waveform"] = waveform(read_sound(video), times, video.fps, samples)
  if flow:
    if "flow" in target:
      image = transforms.decode_frame(target["flow"], window.split.where(window.target))
      image = transforms.resize(image, size)
    else:
      image = _motion(window, read_frame)
    row["flow"] = optical_flow.mirror(image) if window.flip else image
  return row


def _motion(window: _Window, read_frame: Callable[[int], np.ndarray]) -> np.ndarray:
  """The image of the target frame's motion, by DIS."""
  step = optical_flow.neighbour(window.target - window.video.first, window.video.frames)
  frames = (read_frame(record) for record in (window.target, window.target + step))
  return optical_flow.motion_image(optical_flow.Neighbours(*frames, step))


def _read_frame(split: Split, size: tuple[int, int], record: int) -> np.ndarray:
  frame = transforms.decode_frame(split.image(record), split.where(record))
  return transforms.resize(frame, size)


def _write_frame(split: Split, record: int, out: np.ndarray) -> None:
  transforms.write_frame(split.image(record), split.where(record), out)


def _stack(rows: Sequence[dict[str, Any]]) -> Batch:
  """Rows -> batch.

  The frames are most of its bytes, and new memory costs time: so `write_frame(record, out)` of a
  row puts them where they stay. A frame that a window repeats is read once.
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
  """`_stack`, and in `span` when the first row was begun and when the batch was done.

  A batch's rows are made one after the other. All processes of a machine have the same clock.
  """
  began = [row.pop("began") for row in rows]
  batch = _stack(rows)
  return batch | {"span": np.asarray([began[0], time.perf_counter()])}


def _prefetch(batches: grain.MapDataset, workers: int, threads: int) -> grain.IterDataset:
  """Loads batches ahead of the consumer, in `workers` processes or else in threads of this one."""
  if workers == 0:
    options = grain.ReadOptions(threads, prefetch_buffer_size=threads + _BUFFERED_BATCHES)
    return batches.to_iter_dataset(options)
  if not flags.FLAGS.is_parsed():  # Grain reads its own flags, in tests and notebooks too
    flags.FLAGS.mark_as_parsed()
  one_by_one = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
  return batches.to_iter_dataset(one_by_one).mp_prefetch(
    grain.MultiprocessingOptions(workers, per_worker_buffer_size=_BUFFERED_BATCHES),
    worker_init_fn=_start_worker,
  )


def _start_worker(worker: int, workers: int) -> None:
  cv2.setNumThreads(1)  # the workers are the parallelism
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process
  # Grain ends its workers itself, but not when the main process is killed: they would stay.
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  multiprocessing.parent_process().join()
  os._exit(1)
