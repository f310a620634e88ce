"""Saliency maps for whole videos: in memory for short ones, into files for any length.

jax is imported where it is used, so that `import jaxsal` and `jaxsal --help` stay quick.
"""

import contextlib
import dataclasses
import os
import queue
import shutil
import threading
import time
import zipfile
from collections.abc import Container, Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeVar

import cv2
import numpy as np

from jaxsal import console, files, memory
from jaxsal.data import flow as optical_flow
from jaxsal.data import video as video_files
from jaxsal.data.audio import read_sound, waveform
from jaxsal.data.transforms import resize
from jaxsal.data.windows import windows
from jaxsal.errors import UserError

if TYPE_CHECKING:
  from jaxsal.gates import Gates
  from jaxsal.models.base import SaliencyModel
  from jaxsal.sharing import Batch

T = TypeVar("T")
Clips = dict[str, np.ndarray]  # `frames` and what else a network takes, of one clip or of several

# What `predict_file` may leave in a folder, and so what `overwrite` may delete.
_OUTPUTS = {"maps", "maps.npz", "overlay.mp4", "gates.mp4", "gates.png"}
# Colours of the overlay for saliency 0..255, as R, G, B: blue, green, yellow, red. Turbo's last
# eighth goes on to a dark red, which would hide the very thing that is looked at.
_HEAT = cv2.applyColorMap(np.linspace(0, 224, 256).astype(np.uint8)[:, None], cv2.COLORMAP_TURBO)[
  ..., ::-1
].copy()
# How much of the heat map covers the frame at its most salient pixel.
_OPACITY = 0.6


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
        allows it (see `jaxsal.sharing`). The maps are the same, sooner, for more memory.

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

    from jaxsal.models.shared_windows import can_share
    from jaxsal.sharing import ChunkedForward

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
    self._flow = optical_flow.of_model(model, flow_from)

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
    with memory.advice(self._too_large):
      if sharing:
        inputs = {name: batch[name] for name in batch if name != "frames"}
        self._chunked = ChunkedForward(model, self._state, self.batch_size, self._sharding, inputs)
      else:
        self._forward = jax.jit(forward).lower(self._state, batch).compile()
    memory.trim()
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
    work (`jaxsal.sharing`), are held at most.

    Args:
      frames: RGB uint8 [*size, 3].
      targets: numbers of the frames that get a map; all by default.
      sound: what an audio-visual network hears, from `jaxsal.data.audio.read_sound`; None is
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
      with memory.advice(self._too_large):
        part = next(maps, None)
      self.model_seconds += time.perf_counter() - start
      if part is None:
        return
      yield part


def _stack(clips: list[Clips]) -> Clips:
  return {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}


@dataclasses.dataclass(frozen=True)
class Report:
  """What `predict_file` did: frames, seconds in all and in the network, and the folder."""

  frames: int
  seconds: float
  model_seconds: float
  out: Path


def predict_file(
  predictor: Predictor,
  path: str | Path,
  out: str | Path,
  *,
  maps: Literal["png", "npz", "both", "none"] = "png",
  overlay: bool = True,
  overwrite: bool = False,
  mute: bool = False,
  gates: "Gates | None" = None,
) -> Report:
  """Writes the saliency maps of a video of any length into a folder; memory stays bounded.

  - `maps/00001.png`, ...: one per frame, at the video's own size, 8-bit grey, each map scaled so
    that its maximum is 255, as the benchmarks take them.
  - `maps.npz`: `maps`, float16 [n, *predictor.size], not scaled, and `times`, float64 [n], the
    seconds at which the frames are shown.
  - `overlay.mp4`: the video under its heat map, with its time stamps and its sound
    (`jaxsal.data.video.VideoWriter`).
  - `gates.mp4` and `gates.png`: see `jaxsal.gates`.

  The folder appears when it is complete. Of a damaged video the frames before the damage are
  predicted, into a folder with `.incomplete` behind its name, and the error says so.

  Args:
    predictor: the compiled network.
    path: the video.
    out: the folder to make.
    maps: which of the first two to write.
    overlay: whether to write the third.
    overwrite: whether to replace a folder that an earlier prediction has written.
    mute: leave an audio-visual network without the video's sound.
    gates: what shows the gate of a GFSalNet, if it is to be shown.

  Raises:
    UserError: the video cannot be read or breaks off; `out` is in the way; there is nothing to
      write.
  """
  if maps not in ("png", "npz", "both", "none"):
    raise UserError(f"maps={maps!r} is unknown: use 'png', 'npz', 'both' or 'none'.")
  if maps == "none" and not overlay:
    raise UserError("Nothing to write: maps='none' needs the overlay. Ask for one of them.")
  path, out = Path(path), Path(os.path.abspath(out))
  check_free(out, overwrite)
  info = video_files.probe(path)
  start, model_start = time.perf_counter(), predictor.model_seconds

  with files.replacing_folder(out) as folder:
    sound = None if mute else hear(predictor, path)
    frames, damage = _write(predictor, info, folder, maps, overlay, sound)
    if gates is not None:
      gates.write(info, folder)
    if damage:
      incomplete = out.with_name(out.name + ".incomplete")
      shutil.rmtree(incomplete, ignore_errors=True)
      folder.chmod(0o755)
      folder.rename(incomplete)
      raise UserError(f"{damage} The {frames} frames before the damage are in {incomplete}.")
  seconds = time.perf_counter() - start
  return Report(frames, seconds, predictor.model_seconds - model_start, out)


def hear(predictor: Predictor, path: Path) -> np.ndarray | None:
  """A video's sound, if the network needs it; says so where there is none."""
  if not predictor.needs_sound:
    return None
  sound = read_sound(path)
  if sound is None:
    text = f"{path}: no sound track, or an empty one: taken as silence"
    console.console.print(text, highlight=False, markup=False, soft_wrap=True)
  return sound


def _write(
  predictor: Predictor,
  info: video_files.VideoInfo,
  folder: Path,
  maps: str,
  overlay: bool,
  sound: np.ndarray | None,
) -> tuple[int, video_files.DamagedVideo | None]:
  """Writes into `folder` what `predict_file` promises: number of frames, and what ended them."""
  damage: list[video_files.DamagedVideo] = []
  times: list[float] = []
  frames = intact(video_files.read_timed_frames(info.path, predictor.size), damage)
  png, npz = maps in ("png", "both"), maps in ("npz", "both")
  done = 0
  with contextlib.ExitStack() as stack:
    if png:
      (folder / "maps").mkdir()
    if npz:
      archive = stack.enter_context(_MapArchive(folder / "maps.npz", predictor.size, times))
    if overlay:
      writer = stack.enter_context(video_files.VideoWriter(folder / "overlay.mp4", info.path))
      # Decoded a second time: frames that wait for their maps would fill gigabytes at full size.
      again = _prefetch(intact(video_files.read_timed_frames(info.path), []), depth=4)
      shown = stack.enter_context(contextlib.closing(again))
    predicted = predictor.maps(_images(frames, times), sound=sound, fps=float(info.fps))
    stack.enter_context(contextlib.closing(predicted))
    total = video_files.count_frames(info.path)
    bar = stack.enter_context(console.progress(info.path.name, total, unit="frames"))
    for done, saliency in enumerate(predicted, start=1):
      if npz:
        archive.add(saliency)
      if png or overlay:
        grey = to_grey(resize_map(saliency, (info.height, info.width)))
      if png:
        _, encoded = cv2.imencode(".png", grey)
        (folder / "maps" / f"{done:05}.png").write_bytes(encoded)
      if overlay:
        frame = next(shown)
        writer.write(heat_overlay(frame.image, grey), frame.time)
      bar.advance()
  return done, damage[0] if damage else None


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


def resize_map(saliency: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Resizes a map [h, w] to (height, width): bicubic, as for the metrics, kept within [0, 1]."""
  if saliency.shape == tuple(size):
    return saliency
  resized = cv2.resize(saliency, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
  return np.clip(resized, 0, 1)


def to_grey(saliency: np.ndarray) -> np.ndarray:
  """A map [h, w] as uint8, scaled so that its maximum is 255; all zero stays so."""
  return np.rint(saliency * (255 / max(float(saliency.max()), 1e-12))).astype(np.uint8)


def heat_overlay(frame: np.ndarray, grey: np.ndarray) -> np.ndarray:
  """Lays a heat map over a frame, the more opaque the more salient.

  Args:
    frame: RGB uint8 [h, w, 3].
    grey: uint8 [h, w]; see `to_grey`.

  Returns:
    RGB uint8 [h, w, 3]; where the saliency is 0 the frame is unchanged.
  """
  weight = grey.astype(np.float32) * (_OPACITY / 255)
  return cv2.blendLinear(cv2.applyColorMap(grey, _HEAT), frame, weight, 1 - weight)


class _MapArchive:
  """An NPZ of maps that grows on disk: its header needs their number, known at the end only."""

  def __init__(self, path: Path, size: tuple[int, int], times: list[float]) -> None:
    self._path, self._size, self._times = path, size, times
    self._raw_path = path.with_suffix(".raw")
    self._raw = self._raw_path.open("w+b")
    self._count = 0

  def add(self, saliency: np.ndarray) -> None:
    self._raw.write(saliency.astype("<f2").tobytes())
    self._count += 1

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
    with self._raw:
      if kind is None:
        self._finish()
    self._raw_path.unlink()

  def _finish(self) -> None:
    self._raw.seek(0)
    header = {"descr": "<f2", "fortran_order": False, "shape": (self._count, *self._size)}
    with zipfile.ZipFile(self._path, "w") as archive:
      with archive.open("maps.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        shutil.copyfileobj(self._raw, member)
      with archive.open("times.npy", "w") as member:
        np.lib.format.write_array(member, np.asarray(self._times[: self._count], np.float64))


def _images(frames: Iterable[video_files.Frame], times: list[float]) -> Iterator[np.ndarray]:
  """The images of `frames`; their times go into `times`."""
  for frame in frames:
    times.append(float(frame.time))
    yield frame.image


def intact(
  frames: Iterable[video_files.Frame], damage: list[video_files.DamagedVideo]
) -> Iterator[video_files.Frame]:
  """The frames before the damage, as if the video ended there; `damage` is told."""
  try:
    yield from frames
  except video_files.DamagedVideo as error:
    damage.append(error)


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


def check_free(out: Path, overwrite: bool) -> None:
  """Raises UserError if `out` holds something that `predict_file` may not replace."""
  if not out.exists():
    return
  if not out.is_dir():
    raise UserError(f"{out}: a file is in the way of the output folder. Name another folder.")
  there = {entry.name for entry in out.iterdir()}
  if there and not overwrite:
    raise UserError(f"{out}: the output folder is not empty. Name another, or pass --overwrite.")
  if foreign := there - _OUTPUTS:
    raise UserError(
      f"{out}: holds {sorted(foreign)[0]!r}, which no prediction has written, so the folder is not "
      "replaced. Name another output folder."
    )
