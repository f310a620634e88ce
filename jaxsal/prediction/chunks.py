"""Predicts a video's windows in chunks, so that what they have in common is computed once.

See `jaxsal.prediction.shared_windows`. A chunk has T windows, hence 2 T - 1 frames. What they share
is kept in the device's memory: 1.2 GB in float32 for T = 32 and 224 x 384, and as much again for a
moment while it is computed.
"""

import dataclasses
import functools
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsal.models._base import SaliencyModel
from jaxsal.prediction import shared_windows

T = TypeVar("T")
Arrays = dict[str, np.ndarray]
Clip = tuple[np.ndarray, list[np.ndarray]]  # numbers of a window's frames in the video; the frames


@dataclasses.dataclass(frozen=True)
class Chunk:
  """Windows in a row, each a frame further than the one before it.

  Attributes:
    frames: of all the windows, each once.
    windows: those that get a map, by the position of their first frame in `frames`.
    inputs: what else the network takes with each of these.
  """

  frames: list[np.ndarray]
  windows: list[int]
  inputs: list[Arrays]


def chunks(
  clips: Iterable[Clip],
  most: int,
  targets: Container[int] | None = None,
  inputs: Callable[[np.ndarray], Arrays] = lambda row: {},
) -> Iterator[Chunk]:
  """Cuts the windows of a video where they do not slide by one frame, forwards or backwards.

  In a chunk of reversed windows, whose frames run backwards, the last target comes first.

  Args:
    clips: the windows of frames 0, 1, ...
    most: windows in a chunk.
    targets: numbers of the frames that get a map; all by default.
    inputs: what else the network takes with a window of such frames.
  """
  held: list[tuple[int, Clip]] = []
  way = 0

  def chunk() -> Chunk:
    ordered = held[:: way or 1]
    frames = ordered[0][1][1] + [images[-1] for _, (_, images) in ordered[1:]]
    begins = {number: begin for begin, (number, _) in enumerate(ordered)}
    wanted = [(n, row) for n, (row, _) in held if targets is None or n in targets]
    return Chunk(frames, [begins[n] for n, _ in wanted], [inputs(row) for _, row in wanted])

  for number, clip in enumerate(clips):
    step = _step(held[-1][1][0], clip[0]) if held else 0
    if held and (len(held) == most or not step or step == -way):
      yield chunk()
      held, step = [], 0
    if held or targets is None or number in targets:
      held.append((number, clip))
      way = step
  if held:
    yield chunk()


def _step(row: np.ndarray, following: np.ndarray) -> int:
  """1 or -1 if the next window is this one, a frame further forwards or backwards; otherwise 0."""
  if np.array_equal(row[1:], following[:-1]):
    return 1
  return -1 if np.array_equal(row[:-1], following[1:]) else 0


@dataclasses.dataclass(frozen=True)
class Batch:
  """A chunk for each device.

  Attributes:
    frames: uint8 [devices * (2 T - 1), h, w, 3].
    counts: for each device, windows that get a map.
    windows: int32 [devices, steps, n], each device's windows in steps of n; the last are repeated.
    inputs: [devices, steps, n, ...], what goes with these.
  """

  frames: np.ndarray
  counts: list[int]
  windows: np.ndarray
  inputs: Arrays


class ChunkedForward:
  """A network compiled for chunks: what windows share, and the maps of a few of them at a time."""

  def __init__(
    self,
    model: SaliencyModel,
    state: nnx.State,
    batch_size: int,
    sharding: jax.NamedSharding,
    inputs: Mapping[str, jax.ShapeDtypeStruct],
  ) -> None:
    """Compiles the network.

    Args:
      model: a network that `shared_windows.can_share`.
      state: its arrays, on all devices.
      batch_size: windows at a time, a multiple of the number of devices.
      sharding: of the first axis, over all devices.
      inputs: what the network takes with a batch of windows, beside their frames.
    """
    self._state, self._sharding = state, sharding
    self._length = length = model.length
    self._devices = sharding.mesh.size
    self._windows = batch_size // self._devices
    graph = nnx.graphdef(model)

    def network(state: nnx.State) -> SaliencyModel:
      model = nnx.merge(graph, state)
      model.eval()
      return model

    def share(state: nnx.State, frames: jax.Array) -> shared_windows.Shared:
      model = network(state)
      return shared_windows.share(model.encoder, model.normalise(frames))

    def forward(
      state: nnx.State,
      shared: shared_windows.Shared,
      windows: jax.Array,
      inputs: dict[str, jax.Array],
    ) -> jax.Array:
      model = network(state)
      stages = shared_windows.stages(model.encoder, shared, windows, length)
      return model.from_stages(stages, **inputs)

    # Each device has chunks of its own and knows nothing of the others.
    split, struct = sharding.spec, functools.partial(jax.ShapeDtypeStruct, sharding=sharding)
    on_each = functools.partial(jax.shard_map, mesh=sharding.mesh, out_specs=split)
    share = jax.jit(on_each(share, in_specs=(jax.P(), split)))
    forward = jax.jit(on_each(forward, in_specs=(jax.P(), split, split, split)))
    frames = struct((self._devices * (2 * length - 1), *model.size, 3), jnp.uint8)
    shared = jax.eval_shape(share, state, frames)
    shared = jax.tree.map(lambda x: struct(x.shape, x.dtype), shared)
    self._share = share.lower(state, frames).compile()
    windows = struct((batch_size,), jnp.int32)
    self._forward = forward.lower(state, shared, windows, inputs).compile()

  def batches(
    self,
    clips: Iterable[Clip],
    targets: Container[int] | None,
    inputs: Callable[[np.ndarray], Arrays],
  ) -> Iterator[Batch]:
    """The windows of a video, in chunks; see `chunks`."""
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

    def in_steps(rows: list[list[np.ndarray | int]]) -> np.ndarray:
      array = np.stack([_fill(row, steps * self._windows) for row in rows])
      return array.reshape(self._devices, steps, self._windows, *array.shape[2:])

    inputs = {
      name: in_steps([[arrays[name] for arrays in chunk.inputs] for chunk in group])
      for name in group[0].inputs[0]
    }
    windows = in_steps([chunk.windows for chunk in group]).astype(np.int32)
    return Batch(np.stack(frames), counts, windows, inputs)

  def __call__(self, batch: Batch) -> Iterator[np.ndarray]:
    """The maps of a batch's windows, in their order: a few at a time, float32 [n, h, w]."""
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
        while len(maps) < min(step + 2, steps):  # one ahead of the one that is waited for
          maps.append(forward(len(maps)))
        first = device * self._windows
        last = first + min(self._windows, count - step * self._windows)
        yield np.asarray(maps[step])[first:last]


def _fill(items: list[T], count: int) -> list[T]:
  """`items`, made `count` by copies of the last one."""
  return items + [items[-1]] * (count - len(items))
