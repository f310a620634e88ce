"""Prediction of a video's windows in chunks, so that their common work is done once.

`jaxsal.prediction.shared_windows` says which work neighbouring windows have in common. A chunk has
at most T windows, hence at most 2 T - 1 frames. The features that they share stay in the device's
memory: 1.2 GB in float32 for T = 32 and 224 x 384, and as much again for a moment while they are
computed.
"""

import dataclasses
import functools
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsal.prediction import programs

T = TypeVar("T")
Arrays = dict[str, np.ndarray]
Clip = tuple[np.ndarray, list[np.ndarray]]  # a window and its frames


@dataclasses.dataclass(frozen=True)
class Chunk:
  """Windows in a row, each one frame further than the previous one.

  Attributes:
    frames: frames of all windows, each once.
    windows: positions in `frames` of the first frames of the windows that get a map.
    inputs: other inputs of the network for each of these windows.
  """

  frames: list[np.ndarray]
  windows: list[int]
  inputs: list[Arrays]


def chunks(
  clips: Iterable[Clip],
  most: int,
  targets: Container[int] | None = None,
  inputs: Callable[[np.ndarray], Arrays] = lambda window: {},
) -> Iterator[Chunk]:
  """Cuts the windows of a video into chunks, wherever they do not slide by one frame.

  Windows may slide forwards or backwards. In a chunk of reversed windows, whose frames run
  backwards, the last target comes first.

  Args:
    clips: clips of frames 0, 1, ... of the video.
    most: largest number of windows in a chunk.
    targets: numbers of the frames that get a map; all by default.
    inputs: function from a window to the other inputs of the network.
  """
  held: list[tuple[int, Clip]] = []  # target and clip
  direction = 0

  def chunk() -> Chunk:
    ordered = held[:: direction or 1]
    frames = ordered[0][1][1] + [images[-1] for _, (_, images) in ordered[1:]]
    first = {number: position for position, (number, _) in enumerate(ordered)}
    wanted = [(n, window) for n, (window, _) in held if targets is None or n in targets]
    return Chunk(frames, [first[n] for n, _ in wanted], [inputs(window) for _, window in wanted])

  for number, clip in enumerate(clips):
    step = _step(held[-1][1][0], clip[0]) if held else 0
    if held and (len(held) == most or not step or step == -direction):
      yield chunk()
      held, step = [], 0
    if held or targets is None or number in targets:
      held.append((number, clip))
      direction = step
  if held:
    yield chunk()


def _step(window: np.ndarray, following: np.ndarray) -> int:
  """Returns 1 or -1 if the window slides one frame forwards or backwards to the next, else 0."""
  if np.array_equal(window[1:], following[:-1]):
    return 1
  return -1 if np.array_equal(window[:-1], following[1:]) else 0


@dataclasses.dataclass(frozen=True)
class Batch:
  """One chunk for each device.

  Attributes:
    frames: uint8 [devices * (2 T - 1), h, w, 3].
    counts: number of windows that get a map, for each device.
    windows: int32 [devices, steps, n], each device's windows in steps of n; the last window is
      repeated to fill the steps.
    inputs: [devices, steps, n, ...], other inputs for these windows.
  """

  frames: np.ndarray
  counts: list[int]
  windows: np.ndarray
  inputs: Arrays


class ChunkedForward:
  """A network compiled for chunks: first the shared features, then a few windows at a time."""

  def __init__(
    self,
    structure: programs.Structure,
    state: nnx.State,
    spec: dict[str, jax.ShapeDtypeStruct],
    sharding: jax.NamedSharding,
  ) -> None:
    """Compiles the network.

    Args:
      structure: structure of a network for which `shared_windows.can_share` holds.
      state: arrays of the network, on all devices.
      spec: shapes of a batch of clips (`SaliencyModel.batch_spec`), with their sharding.
      sharding: split of the first axis over all devices.
    """
    batch_size, length, *size, channels = spec["frames"].shape
    self._state, self._sharding, self._length = state, sharding, length
    self._devices = sharding.mesh.size
    self._windows = batch_size // self._devices
    share, forward = programs.of_chunks(structure, batch_size, sharding)
    struct = functools.partial(jax.ShapeDtypeStruct, sharding=sharding)
    frames = struct((self._devices * (2 * length - 1), *size, channels), jnp.uint8)
    lowered = share.lower(state, frames)
    self._share = lowered.compile()
    shared = jax.tree.map(lambda x: struct(x.shape, x.dtype), lowered.out_info)
    windows = struct((batch_size,), jnp.int32)
    inputs = {name: spec[name] for name in spec if name != "frames"}
    self._forward = forward.lower(state, shared, windows, inputs).compile()

  def batches(
    self,
    clips: Iterable[Clip],
    targets: Container[int] | None,
    inputs: Callable[[np.ndarray], Arrays],
  ) -> Iterator[Batch]:
    """Yields the windows of a video in batches; arguments as for `chunks`."""
    group: list[Chunk] = []
    for chunk in chunks(clips, self._length, targets, inputs):
      group.append(chunk)
      if len(group) == self._devices:
        yield self._batch(group)
        group = []
    if group:
      yield self._batch(group)

  def _batch(self, group: list[Chunk]) -> Batch:
    counts = [len(chunk.windows) for chunk in group]
    steps = -(-max(counts) // self._windows)
    group = _fill(group, self._devices)
    frames = [frame for chunk in group for frame in _fill(chunk.frames, 2 * self._length - 1)]

    def in_steps(rows: list[list[Any]]) -> np.ndarray:
      array = np.stack([_fill(row, steps * self._windows) for row in rows])
      return array.reshape(self._devices, steps, self._windows, *array.shape[2:])

    inputs = {
      name: in_steps([[arrays[name] for arrays in chunk.inputs] for chunk in group])
      for name in group[0].inputs[0]
    }
    windows = in_steps([chunk.windows for chunk in group]).astype(np.int32)
    return Batch(np.stack(frames), counts, windows, inputs)

  def __call__(self, batch: Batch) -> Iterator[np.ndarray]:
    """Yields the maps of a batch's windows in order, a few at a time: float32 [n, h, w]."""
    shared = self._share(self._state, jax.device_put(batch.frames, self._sharding))

    def forward(step: int) -> jax.Array:
      def put(x: np.ndarray) -> jax.Array:
        return jax.device_put(x[:, step].reshape(-1, *x.shape[3:]), self._sharding)

      inputs = {name: put(x) for name, x in batch.inputs.items()}
      return self._forward(self._state, shared, put(batch.windows), inputs)

    steps = batch.windows.shape[1]
    maps: list[jax.Array] = []
    for device, count in enumerate(batch.counts):
      for step in range(-(-count // self._windows)):
        while len(maps) < min(step + 2, steps):  # the next step runs while this one is awaited
          maps.append(forward(len(maps)))
        first = device * self._windows
        last = first + min(self._windows, count - step * self._windows)
        yield np.asarray(maps[step])[first:last]


def _fill(items: list[T], count: int) -> list[T]:
  """Returns `items` extended to `count` by copies of the last one."""
  return items + [items[-1]] * (count - len(items))
