"""The compiled network that predicts the maps of videos, and the maps of a short video in memory.

jax is imported where it is used, so that `import jaxsal` and `jaxsal --help` stay quick.
"""

import array
import contextlib
import functools
import time
from collections.abc import (
  Callable,
  Container,
  Generator,
  Iterable,
  Iterator,
  MutableSequence,
  Sequence,
)
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from jaxsal import console, runtime
from jaxsal.arrays import as_array
from jaxsal.data import flow as optical_flow
from jaxsal.data import inputs
from jaxsal.data import video as video_files
from jaxsal.data.rates import check_fps
from jaxsal.data.sound import read_sound
from jaxsal.data.transforms import resize
from jaxsal.data.waveforms import waveform
from jaxsal.data.windows import Padding, Target, target_position, windows
from jaxsal.errors import UserError
from jaxsal.pictures import resize_map
from jaxsal.prediction.options import PredictOptions
from jaxsal.prediction.prefetch import prefetch

if TYPE_CHECKING:
  from jaxsal.models import SaliencyModel

T = TypeVar("T")
Arrays = dict[str, np.ndarray]  # inputs of a network by name, for one clip or a batch


def predict(
  model: "SaliencyModel | str | Path",
  video: str | Path | video_files.VideoInfo | npt.ArrayLike,
  options: PredictOptions | None = None,
  **changes: Any,
) -> np.ndarray:
  """Returns the saliency map of every frame of a short video.

  All maps are held in memory, 4 bytes a pixel: use `predict_file` for long videos.

  Args:
    model: a network, a name in the table of weights, or the path of a model folder or of a
      training's workdir.
    video: path of a video, of an image or of a folder of numbered frames; or frames, RGB uint8
      [n, H, W, 3], without sound, as an array, a list of arrays or a tensor that NumPy can read.
    options: how to predict; the defaults of `PredictOptions` if None.
    **changes: values for single fields of the options, as in `blur=7`.

  Returns:
    float32 [n, H, W] in [0, 1], at the video's own size.

  Raises:
    UserError: the model, the video or an option cannot be used, the video is damaged, or the
      network gives values that are not finite.
  """
  if not isinstance(video, str | Path | video_files.VideoInfo):
    images = as_array(video, "video")
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or not images.size:
      raise UserError(
        f"video is {images.dtype} {list(images.shape)}: frames must be uint8 [n, height, width, 3],"
        " RGB, at least one."
      )
    _, height, width, _ = images.shape
    predictor = Predictor(load_network(model).for_size(height, width), options, **changes)
    resampling = predictor.network.resampling
    maps = predictor.maps(resize(frame, predictor.size, resampling) for frame in images)
  else:
    source = inputs.find([video.path if isinstance(video, video_files.VideoInfo) else video])
    if len(source) > 1 or (source[0].kind == "images" and len(source[0].files) > 1):
      raise UserError(f"{video}: several videos or images. Predict them one by one.")
    info = source[0].probe()  # a bad file is found before the network is compiled
    height, width = info.height, info.width
    network = load_network(model)
    network = network.for_images() if source[0].kind == "images" else network
    predictor = Predictor(network.for_size(height, width), options, **changes)
    times = array.array("d")
    shown = video_files.read_timed_frames(info, predictor.size, predictor.network.resampling)
    frames, sound = images_of(shown, times), predictor.hear(info)
    maps = predictor.maps(frames, sound=sound, fps=float(info.fps), times=times)
  resized = []
  for number, saliency in enumerate(maps):
    check_finite(saliency, f"frame {number}")
    resized.append(resize_map(saliency, (height, width)))
  return np.stack(resized)


class Predictor:
  """A network compiled for prediction, for videos of any length.

  Compiled programs are kept for the process (`jaxsal.prediction.programs`): a second predictor for
  the same structure of network, batch size and devices is ready at once, also with other weights.

  Attributes:
    network: the network.
    options: the options that it was made with.
    gates: whether the maps come with the gate of a GFSalNet.
    size: height and width of the frames that it takes and of the maps that it gives.
    batch_size: number of clips computed together, over all devices.
    needs_sound: whether the network takes a waveform with a clip.
    device: the devices, in words.
    compile_seconds: seconds that compiling took.
    model_seconds: seconds spent in the network so far, transfers included.
  """

  def __init__(
    self,
    model: "SaliencyModel | str | Path",
    options: PredictOptions | None = None,
    *,
    gates: bool = False,
    **changes: Any,
  ) -> None:
    """Puts the network on every local device and compiles it; announces the slow steps.

    Args:
      model: a network, or the path of a model folder or of a training's workdir.
      options: how to predict; the defaults of `PredictOptions` if None.
      gates: whether to give the gate of a GFSalNet with each map.
      **changes: values for single fields of the options, as in `blur=7`.

    Raises:
      UserError: `model` cannot be loaded or has no gate; an option is out of range; `flow_from`
        differs from the flow of the training; a batch does not fit in the device's memory.
    """
    self.options = options = (options or PredictOptions()).with_(**changes)
    self.gates = gates
    self.network = network = load_network(model)
    check_stride(network, options)
    if gates:
      from jaxsal.prediction.gates import check_gate

      check_gate(network)

    import jax

    from jaxsal import models
    from jaxsal.prediction import programs
    from jaxsal.prediction.chunks import ChunkedForward
    from jaxsal.prediction.sequences import SequenceForward
    from jaxsal.prediction.shared_windows import can_share

    runtime.enable_compilation_cache()
    devices = jax.local_devices()
    batch_size = options.batch_size or len(devices) * (1 if devices[0].platform == "cpu" else 8)
    self.batch_size = -(-batch_size // len(devices)) * len(devices)
    height, width = network.size
    self.size = (height, width)
    self.model_seconds = 0.0
    self._length = network.length
    self._target: Target = network.config.target
    self._padding: Padding = network.config.padding
    self._samples = network.samples
    self.needs_sound = bool(self._samples)
    self._flow = models.flow_of(network, options.flow_from)

    mesh = jax.make_mesh((len(devices),), ("data",), (jax.sharding.AxisType.Auto,), devices=devices)
    self._sharding = jax.NamedSharding(mesh, jax.P("data"))
    self.device = programs.device_name(self._sharding)
    structure, state = programs.split(network)
    self._state = jax.device_put(state, jax.NamedSharding(mesh, jax.P()))
    spec = {
      name: struct.update(sharding=self._sharding)
      for name, struct in network.batch_spec(self.batch_size).items()
    }

    start = time.perf_counter()
    shares = options.sharing and can_share(network)
    unshared = ", or do without shared work (--sharing=off)" if shares else ""
    self._too_large = (
      f"batch size {self.batch_size} does not fit in the memory of {self.device}: choose a smaller "
      f"one (--batch-size){unshared}."
    )
    self._chunked = self._sequences = None
    with runtime.advice(self._too_large):
      if network.recurrent:
        stride = options.stride or network.stride
        hidden = jax.eval_shape(lambda: network.initial_state(stride, self.size))
        self._sequences = SequenceForward(
          structure, self._state, self.size, stride, self.batch_size, hidden, self._sharding
        )
        self.batch_size = self._sequences.batch_size
      elif shares:
        self._chunked = ChunkedForward(structure, self._state, spec, self._sharding)
      else:
        program = programs.of_clips(structure, self.batch_size, self._sharding, gates)
        self._forward = program.lower(self._state, spec).compile()
    runtime.trim()
    self.compile_seconds = time.perf_counter() - start

  def describe(self) -> str:
    """Returns the batch size, the devices and the time that compiling took, in words."""
    unit = "frames" if self.network.recurrent else "clips"
    return (
      f"{self.batch_size} {unit} at a time on {self.device}, "
      f"compiled in {self.compile_seconds:.1f} s"
    )

  def maps(
    self,
    frames: Iterable[np.ndarray],
    targets: Container[int] | None = None,
    *,
    sound: np.ndarray | None = None,
    fps: float = 25.0,
    times: Sequence[float] | None = None,
  ) -> Generator[np.ndarray, None, None]:
    """Yields one map per target frame, in order, as they become ready.

    One thread reads `frames` and another runs the network, both a little ahead of the consumer. At
    most 2 T frames and three batches are held, of clips or of chunks (`jaxsal.prediction.chunks`).

    Args:
      frames: RGB uint8 [*size, 3].
      targets: numbers of the frames that get a map; all by default.
      sound: samples from `jaxsal.data.sound.read_sound`, for an audio-visual network; None for
        silence. Other networks, and predictors with the option `mute`, ignore them.
      fps: frames per second, which place a frame in the sound.
      times: seconds at which the frames are shown, which place them in the sound more exactly than
        the rate if that varies or the sound begins before the film. It may grow while `frames` are
        read (see `images_of`). By default, frame i is shown at i / fps.

    Yields:
      float32 [*size] in [0, 1]; with `gates` float32 [*size, 2], the map and P, the weight of
      appearance. A network that fails gives NaN, which `check_finite` refuses.

    Raises:
      UserError: `fps` is no frame rate, which is said at once; later, a batch does not fit in the
        device's memory.
    """
    check_fps(fps, "fps")
    return self._maps(frames, targets, sound, fps, times)

  def _maps(
    self,
    frames: Iterable[np.ndarray],
    targets: Container[int] | None,
    sound: np.ndarray | None,
    fps: float,
    times: Sequence[float] | None,
  ) -> Generator[np.ndarray, None, None]:
    sound = None if self.options.mute else sound
    hear = functools.partial(self._waveform, sound=sound, fps=fps, times=times)
    if self._sequences is not None:
      steps = prefetch(self._sequences.batches(frames, targets), depth=1)
      computed = self._computed(steps, self._sequences.begin())
    elif self._chunked is not None:
      clips = clips_of(frames, self._length, self._target, self._padding)
      chunks = prefetch(self._chunked.batches(clips, targets, hear), depth=1)
      computed = self._computed(chunks, self._chunked)
    else:
      computed = self._computed(prefetch(self._batches(frames, targets, hear), depth=1), self._run)
    with contextlib.closing(prefetch(computed, depth=2 * self.batch_size)) as maps:
      yield from maps

  def for_size(self, height: int, width: int) -> "Predictor":
    """Returns a predictor for frames of a size: this one, unless the network adapts its size."""
    network = self.network.for_size(height, width)
    if network.size == self.size:
      return self
    return Predictor(network, self.options, gates=self.gates)

  def hear(self, video: video_files.VideoInfo) -> np.ndarray | None:
    """Reads the sound of a video for `maps` if the network takes it.

    If there is none, or if it cannot be decoded, a line says so and the video counts as silent.
    """
    if not self.needs_sound or self.options.mute:
      return None
    try:
      sound = read_sound(video.path) if video.has_audio else None
    except UserError as error:
      console.say(f"{error} Taken as silence")
      return None
    if sound is None:
      console.say(f"{video.path}: no sound track, or an empty one: taken as silence")
    return sound

  def _waveform(
    self,
    window: np.ndarray,
    *,
    sound: np.ndarray | None,
    fps: float,
    times: Sequence[float] | None,
  ) -> Arrays:
    """Returns the waveform of a window, by name, for networks that take one."""
    if not self.needs_sound:
      return {}
    shown = window / fps if times is None else np.asarray([times[number] for number in window])
    target = shown[target_position(self._length, self._target)]
    return {"waveform": waveform(sound, shown, fps, self._samples, target)}

  def _batches(
    self,
    frames: Iterable[np.ndarray],
    targets: Container[int] | None,
    hear: Callable[[np.ndarray], Arrays],
  ) -> Iterator[tuple[Arrays, int]]:
    """Yields batches of clips with their numbers of clips; the last clip is repeated as needed."""
    clips: list[Arrays] = []
    source: Iterable[Any] = frames if self._flow is None else optical_flow.with_neighbours(frames)
    clip_of_every_frame = clips_of(source, self._length, self._target, self._padding)
    for number, (window, images) in enumerate(clip_of_every_frame):
      if targets is not None and number not in targets:
        continue
      clip = hear(window)
      if self._flow is not None:  # then a clip is a single frame, here with its neighbour
        (pair,) = images
        clip["flow"], images = optical_flow.motion_image(pair, self._flow), [pair.frame]
      clip["frames"] = np.stack(images)
      clips.append(clip)
      if len(clips) == self.batch_size:
        yield _stack(clips), len(clips)
        clips = []
    if clips:
      yield _stack(clips + [clips[-1]] * (self.batch_size - len(clips))), len(clips)

  def _run(self, batch: tuple[Arrays, int]) -> Iterator[np.ndarray]:
    """Yields the maps of a batch of clips."""
    import jax

    clips, count = batch
    yield np.asarray(self._forward(self._state, jax.device_put(clips, self._sharding)))[:count]

  def _computed(
    self, batches: Generator[T, None, None], compute: Callable[[T], Iterator[np.ndarray]]
  ) -> Iterator[np.ndarray]:
    """Yields the finished maps of all batches one by one."""
    with contextlib.closing(batches):
      for batch in batches:
        for maps in self._timed(compute(batch)):
          yield from map(self._blurred, maps)

  def _blurred(self, saliency: np.ndarray) -> np.ndarray:
    if not self.options.blur:
      return saliency
    if self.gates:
      blurred = cv2.GaussianBlur(saliency[..., 0].copy(), (0, 0), self.options.blur)
      return np.stack([blurred, saliency[..., 1]], axis=-1)
    return cv2.GaussianBlur(saliency, (0, 0), self.options.blur)

  def _timed(self, maps: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Passes maps on, and adds the seconds that computing them takes to `model_seconds`."""
    while True:
      start = time.perf_counter()
      with runtime.advice(self._too_large):
        part = next(maps, None)
      self.model_seconds += time.perf_counter() - start
      if part is None:
        return
      yield part


def check_finite(saliency: np.ndarray, where: str) -> None:
  """Raises UserError if a map has values that are not finite, which would be shown as black.

  Args:
    saliency: the map, with or without a gate.
    where: name of the frame, for the error.
  """
  if not np.isfinite(saliency).all():
    raise UserError(
      f"{where}: the map is not finite, because the network computes NaN or infinite values. Its "
      "weights are damaged, or its training has diverged."
    )


def images_of(
  frames: Iterable[video_files.Frame], times: MutableSequence[float]
) -> Iterator[np.ndarray]:
  """Yields the images of frames, each after its time has been appended to `times`."""
  for frame in frames:
    times.append(float(frame.time))
    yield frame.image


def load_network(model: "SaliencyModel | str | Path") -> "SaliencyModel":
  """Returns a network, loaded if `model` is a path."""
  if not isinstance(model, str | Path):
    return model
  console.say(f"loading {model}")  # before the imports, which take seconds
  from jaxsal import models, weights

  network = weights.load(model)
  if not isinstance(network, models.SaliencyModel):
    raise UserError(
      f"{model} holds a {type(network).__name__}, which predicts no saliency: name the folder of a "
      "saliency network."
    )
  return network


def check_stride(network: "SaliencyModel", options: PredictOptions) -> None:
  """Raises UserError if the options have a stride and the network predicts clips."""
  if options.stride is not None and not network.recurrent:
    raise UserError(
      f"stride {options.stride}: {type(network).__name__} predicts clips of frames in a row. Only "
      "a recurrent network, such as UNISAL, has a stride; leave it out."
    )


def _stack(clips: list[Arrays]) -> Arrays:
  return {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}


def clips_of(
  frames: Iterable[T], length: int, target: Target, padding: Padding
) -> Iterator[tuple[np.ndarray, list[T]]]:
  """Yields the clip of every frame of a video while the video is being read.

  The windows are those of `jaxsal.data.windows`. They depend on the number of frames, which is
  known at the end only, in two cases: if the video is shorter than 2 T - 1 frames, and if a window
  would run past the end. A window reaches at most T - 1 frames past its target. So a clip is
  yielded as soon as 2 T - 1 frames, and T - 1 frames after its target, have been read; the
  remaining clips follow when the video has ended.

  Args:
    frames: frames of the video.
    length: T, the number of frames in a clip.
    target, padding: as for `jaxsal.data.windows.windows`.

  Yields:
    A window of T frame numbers and the list of these frames. At most 2 T frames are held.
  """
  held: dict[int, T] = {}
  seen = done = 0

  def clip() -> tuple[np.ndarray, list[T]]:
    (window,) = windows(seen, length, target, padding, targets=[done])
    return window, [held[i] for i in window]

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
