"""Saliency maps for whole videos: in memory for short ones, into files for any length.

jax is imported where it is used, so that `import jaxsal` and `jaxsal --help` stay quick.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Container, Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np

from jaxsal import console, runtime
from jaxsal.data import flow as optical_flow
from jaxsal.data import video as video_files
from jaxsal.data.sound import read_sound
from jaxsal.data.transforms import resize
from jaxsal.data.waveforms import waveform
from jaxsal.data.windows import windows
from jaxsal.errors import UserError
from jaxsal.pictures import resize_map

if TYPE_CHECKING:
  from jaxsal.models._base import SaliencyModel
  from jaxsal.prediction.chunks import Batch

T = TypeVar("T")
Clips = dict[str, np.ndarray]  # `frames` and what else a network takes, of one clip or of several


def predict(
  model: "SaliencyModel | str | Path",
  video: str | Path | np.ndarray,
  *,
  batch_size: int | None = None,
  blur: float = 0.0,
  mute: bool = False,
  flow_from: str | Path | None = None,
  sharing: bool = True,
) -> np.ndarray:
  """The saliency map of every frame of a short video.

  All maps are held in memory, 4 bytes a pixel: for long videos use `predict_file`.

  Args:
    model: a network, or the path of a model folder or of a training's workdir.
    video: a video file, or its frames: RGB uint8 [n, H, W, 3].
    batch_size, blur, flow_from, sharing: see `Predictor`.
    mute: leave an audio-visual network without the video's sound. An array of frames has none.

  Returns:
    float32 [n, H, W] in [0, 1], at the video's own size.

  Raises:
    UserError: the model or the video cannot be used; the video is damaged.
  """
  if isinstance(video, np.ndarray):
    if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != np.uint8 or not len(video):
      raise UserError(
        f"video is {video.dtype} {list(video.shape)}: frames must be uint8 [n, height, width, 3], "
        "RGB, at least one."
      )
    size = video.shape[1:3]
  else:
    info = video_files.probe(video)
    size = info.height, info.width
  options = {"batch_size": batch_size, "blur": blur, "flow_from": flow_from, "sharing": sharing}
  predictor = Predictor(model, **options)
  if isinstance(video, np.ndarray):
    maps = predictor.maps(resize(frame, predictor.size) for frame in video)
  else:
    frames = video_files.read_frames(video, predictor.size)
    sound = None if mute else hear(predictor, info.path)
    maps = predictor.maps(frames, sound=sound, fps=float(info.fps))
  return np.stack([resize_map(saliency, size) for saliency in maps])


class Predictor:
  """A network compiled for prediction, once, for videos of any length.

  Attributes:
    size: height and width of the frames it takes and of the maps it gives.
    batch_size: clips that are computed together, over all devices.
    needs_sound: whether the network hears what it sees.
    device: what it runs on, in words.
    compile_seconds: what compiling took.
    model_seconds: seconds spent in the network so far, transfers included.
  """

  def __init__(
    self,
    model: "SaliencyModel | str | Path",
    *,
    batch_size: int | None = None,
    blur: float = 0.0,
    flow_from: str | Path | None = None,
    sharing: bool = True,
  ) -> None:
    """Puts the network on every local device and compiles it.

    Args:
      model: a network, or the path of a model folder or of a training's workdir.
      batch_size: clips at a time, rounded up to a multiple of the number of devices; by default 1
        per CPU and 8 per GPU or TPU.
      blur: standard deviation of a Gaussian that smooths each map, in pixels of the map at the
        network's size; 0 for none. TASED-Net's published numbers use 7 at 224 x 384.
      flow_from: the folder of the PWC-Net that computed the optical flow which the network was
        trained on; None where that was DIS, and for networks that take none.
      sharing: whether neighbouring windows share what they have in common, where the network
        allows it (see `jaxsal.prediction.chunks`). The maps are the same, sooner, for more memory.

    Raises:
      UserError: `model` cannot be loaded; `batch_size` or `blur` is out of range; `flow_from` is
        not what the network was trained with; a batch does not fit in the device's memory.
    """
    if batch_size is not None and batch_size < 1:
      raise UserError(f"batch size {batch_size}: must be at least 1.")
    if not 0 <= blur < np.inf:
      raise UserError(f"blur {blur}: must be 0 (none) or a standard deviation in pixels.")
    import jax
    from flax import nnx

    from jaxsal.models import _flow
    from jaxsal.prediction.chunks import ChunkedForward
    from jaxsal.prediction.shared_windows import can_share

    if isinstance(model, str | Path):
      from jaxsal import models

      model = models.load(model)
    devices = jax.local_devices()
    batch_size = batch_size or len(devices) * (1 if devices[0].platform == "cpu" else 8)
    self.batch_size = -(-batch_size // len(devices)) * len(devices)
    self.size = tuple(model.size)
    self.device = f"{len(devices)} x {devices[0].device_kind}"
    self.model_seconds = 0.0
    self._blur = blur
    self._length, self._target, self._padding = model.length, model.target, model.padding
    self._samples = model.samples
    self.needs_sound = bool(self._samples)
    self._flow = _flow.of_model(model, flow_from)

    mesh = jax.make_mesh((len(devices),), ("data",), (jax.sharding.AxisType.Auto,), devices=devices)
    self._sharding = jax.NamedSharding(mesh, jax.P("data"))
    graph, state = nnx.split(model)
    self._state = jax.device_put(state, jax.NamedSharding(mesh, jax.P()))

    def forward(state: nnx.State, batch: dict[str, jax.Array]) -> jax.Array:
      network = nnx.merge(graph, state)
      network.eval()
      return network.from_batch(batch)

    start = time.perf_counter()
    shapes = {"frames": ((self._length, *self.size, 3), np.uint8)}
    if self.needs_sound:
      shapes["waveform"] = (self._samples,), np.float32
    if self._flow:
      shapes["flow"] = (*self.size, 3), np.uint8
    batch = {
      name: jax.ShapeDtypeStruct((self.batch_size, *shape), dtype, sharding=self._sharding)
      for name, (shape, dtype) in shapes.items()
    }
    self._chunked = None
    sharing = sharing and can_share(model)
    unshared = ", or do without shared work (--sharing=off)" if sharing else ""
    self._too_large = (
      f"batch size {self.batch_size} does not fit in the memory of {self.device}: choose a smaller "
      f"one (--batch-size){unshared}."
    )
    with runtime.advice(self._too_large):
      if sharing:
        inputs = {name: batch[name] for name in batch if name != "frames"}
        self._chunked = ChunkedForward(model, self._state, self.batch_size, self._sharding, inputs)
      else:
        self._forward = jax.jit(forward).lower(self._state, batch).compile()
    runtime.trim()
    self.compile_seconds = time.perf_counter() - start

  def maps(
    self,
    frames: Iterable[np.ndarray],
    targets: Container[int] | None = None,
    *,
    sound: np.ndarray | None = None,
    fps: float = 25.0,
  ) -> Generator[np.ndarray, None, None]:
    """One map per target frame, in order, as they become ready.

    `frames` is read in one thread and the network runs in another, both a little ahead of whoever
    takes the maps. 2 T frames and three batches of clips, or of chunks of T clips that share their
    work (`jaxsal.prediction.chunks`), are held at most.

    Args:
      frames: RGB uint8 [*size, 3].
      targets: numbers of the frames that get a map; all by default.
      sound: what an audio-visual network hears, from `jaxsal.data.sound.read_sound`; None is
        silence. Other networks ignore it.
      fps: frames per second, which tell where in the sound a frame is.

    Yields:
      float32 [*size] in [0, 1].

    Raises:
      UserError: a batch does not fit in the device's memory.
    """
    if self._chunked:
      batches = self._chunked_batches(frames, targets, sound, fps)
    else:
      batches = self._batches(frames, targets, sound, fps)
    batches = _prefetch(batches, depth=1)
    with contextlib.closing(_prefetch(self._run(batches), depth=2 * self.batch_size)) as maps:
      yield from maps

  def _batches(
    self,
    frames: Iterable[np.ndarray],
    targets: Container[int] | None,
    sound: np.ndarray | None,
    fps: float,
  ) -> Iterator[tuple[Clips, int]]:
    """What the network takes, of which the first n clips count, and n."""
    clips = []
    if self._flow:
      frames = optical_flow.with_neighbours(frames)
    clip_of_every_frame = clips_of(frames, self._length, self._target, self._padding)
    for number, (row, images) in enumerate(clip_of_every_frame):
      if targets is not None and number not in targets:
        continue
      clip = {}
      if self._flow:
        (pair,) = images
        clip["flow"], images = optical_flow.motion_image(pair, self._flow), [pair.frame]
      clip["frames"] = np.stack(images)
      if self.needs_sound:
        clip["waveform"] = waveform(sound, row / fps, fps, self._samples)
      clips.append(clip)
      if len(clips) == self.batch_size:
        yield _stack(clips), len(clips)
        clips = []
    if clips:
      yield _stack(clips + [clips[-1]] * (self.batch_size - len(clips))), len(clips)

  def _chunked_batches(
    self,
    frames: Iterable[np.ndarray],
    targets: Container[int] | None,
    sound: np.ndarray | None,
    fps: float,
  ) -> "Iterator[Batch]":
    """The same for windows that share their work."""

    def inputs(row: np.ndarray) -> Clips:
      if not self.needs_sound:
        return {}
      return {"waveform": waveform(sound, row / fps, fps, self._samples)}

    clips = clips_of(frames, self._length, self._target, self._padding)
    return self._chunked.batches(clips, targets, inputs)

  def _run(
    self, batches: "Generator[tuple[Clips, int] | Batch, None, None]"
  ) -> Iterator[np.ndarray]:
    with contextlib.closing(batches):
      for batch in batches:
        for maps in self._timed(self._chunked(batch) if self._chunked else self._plain(*batch)):
          for saliency in maps:
            if self._blur:
              saliency = cv2.GaussianBlur(saliency, (0, 0), self._blur)
            yield saliency

  def _plain(self, clips: Clips, count: int) -> Iterator[np.ndarray]:
    import jax

    yield np.asarray(self._forward(self._state, jax.device_put(clips, self._sharding)))[:count]

  def _timed(self, maps: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same; what computing them takes goes into `model_seconds`."""
    while True:
      start = time.perf_counter()
      with runtime.advice(self._too_large):
        part = next(maps, None)
      self.model_seconds += time.perf_counter() - start
      if part is None:
        return
      yield part


def hear(predictor: Predictor, path: Path) -> np.ndarray | None:
  """A video's sound, if the network needs it; says so where there is none."""
  if not predictor.needs_sound:
    return None
  sound = read_sound(path)
  if sound is None:
    text = f"{path}: no sound track, or an empty one: taken as silence"
    console.console.print(text, highlight=False, markup=False, soft_wrap=True)
  return sound


def _stack(clips: list[Clips]) -> Clips:
  return {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}


def clips_of(
  frames: Iterable[np.ndarray], length: int, target: str, padding: str
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
  """The clip of every frame of a video that is read as it goes, by `jaxsal.data.windows`.

  How many frames there are is known at the end only. It matters to short videos, and to windows
  that would leave the video at its end; a window reaches at most T - 1 frames past its target.
  So a clip is given out as soon as 2 T - 1 frames and the T - 1 frames behind its target are there.

  Yields:
    The numbers of T frames, and these frames; at most 2 T are held.
  """
  held: dict[int, np.ndarray] = {}
  seen = done = 0

  def clip() -> tuple[np.ndarray, list[np.ndarray]]:
    (row,) = windows(seen, length, target, padding, targets=[done])
    return row, [held[i] for i in row]

  for frame in frames:
    held[seen] = frame
    seen += 1
    while seen >= 2 * length - 1 and done + length <= seen:
      yield clip()
      done += 1
      held.pop(done - length, None)
  while done < seen:
    yield clip()
    done += 1


def _prefetch(items: Iterable[T], depth: int) -> Generator[T, None, None]:
  """Takes `items` in a thread, up to `depth` ahead; what it raises is raised here, in its turn."""
  ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
  stop, end = threading.Event(), StopIteration()

  def put(item: T | None, error: BaseException | None = None) -> None:
    while not stop.is_set():
      with contextlib.suppress(queue.Full):
        return ready.put((item, error), timeout=0.1)

  def work() -> None:
    try:
      for item in items:
        put(item)
        if stop.is_set():
          break
      put(None, end)
    except BaseException as error:  # carried over to the consumer
      put(None, error)
    finally:
      if isinstance(items, Generator):
        items.close()

  thread = threading.Thread(target=work, daemon=True)
  thread.start()
  try:
    while True:
      item, error = ready.get()
      if error is end:
        return
      if error is not None:
        raise error
      yield item
  finally:
    stop.set()
    thread.join()
