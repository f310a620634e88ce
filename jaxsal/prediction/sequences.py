"""Prediction with a recurrent network: frames in interleaved sequences, each with a state.

With stride k, frames 0, k, 2 k, ... of a video are one sequence, frames 1, k + 1, ... the next. So
k frames in a row are one step of all k sequences. A map depends on its frame and on earlier ones,
and every frame is computed once.
"""

import dataclasses
from collections.abc import Callable, Container, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsal.prediction import programs


@dataclasses.dataclass(frozen=True)
class Steps:
  """Some steps of all sequences.

  Attributes:
    frames: uint8 [k, steps, h, w, 3]; the last frame is repeated at the end of the video.
    wanted: positions in the video's order of the frames that get a map.
  """

  frames: np.ndarray
  wanted: list[int]


class SequenceForward:
  """A recurrent network compiled for some steps of interleaved sequences."""

  def __init__(
    self,
    structure: programs.Structure,
    state: nnx.State,
    size: tuple[int, int],
    stride: int,
    batch_size: int,
    hidden: jax.ShapeDtypeStruct,
    sharding: jax.NamedSharding,
  ) -> None:
    """Compiles the network.

    Args:
      structure: structure of the network, from `programs.split`.
      state: arrays of the network, on all devices.
      size: height and width of the frames.
      stride: k, number of sequences.
      batch_size: number of frames computed together, rounded up to a multiple of k.
      hidden: shape of the state of k sequences.
      sharding: placement on all devices; each of them computes all sequences.
    """
    self._state, self._stride = state, stride
    self._steps = -(-batch_size // stride)
    everywhere = jax.NamedSharding(sharding.mesh, jax.P())
    self._everywhere = everywhere
    frames = jax.ShapeDtypeStruct((stride, self._steps, *size, 3), jnp.uint8, sharding=everywhere)
    self._hidden = hidden.update(sharding=everywhere)
    program = programs.of_sequences(structure, stride, self._steps, sharding)
    self._forward = program.lower(state, frames, self._hidden).compile()

  @property
  def batch_size(self) -> int:
    """Number of frames computed together."""
    return self._stride * self._steps

  def batches(
    self, frames: Iterable[np.ndarray], targets: Container[int] | None
  ) -> Iterator[Steps]:
    """Yields the frames of a video in batches; `targets` are the frames that get a map."""
    held: list[np.ndarray] = []
    done = 0

    def steps() -> Steps:
      wanted = [i for i in range(len(held)) if targets is None or done + i in targets]
      filled = np.stack(held + [held[-1]] * (self.batch_size - len(held)))
      by_step = filled.reshape(self._steps, self._stride, *filled.shape[1:])
      return Steps(np.ascontiguousarray(by_step.swapaxes(0, 1)), wanted)

    for frame in frames:
      held.append(frame)
      if len(held) == self.batch_size:
        yield steps()
        done, held = done + len(held), []
    if held:
      yield steps()

  def begin(self) -> Callable[[Steps], Iterator[np.ndarray]]:
    """Returns a function from the batches of one video, in order, to their maps.

    The function carries the states of the sequences, and yields maps float32 [n, h, w].
    """
    zeros = np.zeros(self._hidden.shape, self._hidden.dtype)
    carried = jax.device_put(zeros, self._everywhere)

    def run(batch: Steps) -> Iterator[np.ndarray]:
      nonlocal carried
      frames = jax.device_put(batch.frames, self._everywhere)
      maps, carried = self._forward(self._state, frames, carried)
      in_order = np.asarray(maps).swapaxes(0, 1).reshape(self.batch_size, *maps.shape[2:])
      yield in_order[batch.wanted]

    return run
