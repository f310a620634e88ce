"""S3D for windows in a row: the same stages as for each window alone, for less work.

Neighbouring windows have most steps of their features in common. A window's features see zeros past
its ends. In base1 this concerns 5 of the T/2 steps, in base2 9. All other steps equal those of the
neighbouring windows for the same frames. So N windows in a row run as one long clip, and each
window adds its own ends. From base3 on, where hardly a step is free of the ends, every window is
computed by itself.

The stem halves the frame rate: windows that begin at even frames have no step in common with those
that begin at odd frames. The long clip therefore has two phases. In each phase, all layers up to
base2 have stride 1 in time, and windows slide by one step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from jaxsal import nn
from jaxsal.models import SaliencyModel, s3d

# Number of steps of base2 that see an end of the window: the first 5 and the last 4.
_END_STEPS = 9
_UNPADDED = (0, 0, 0)

# The first and the last steps of windows, which see an end: [b, t, h, w, c] each.
Ends = tuple[jax.Array, jax.Array]
Features = TypeVar("Features", jax.Array, Ends)
Layer = Callable[[jax.Array], jax.Array]


class Shared(NamedTuple):
  """The features that N windows of T frames have in common.

  Attributes:
    frames: features of each frame after the stem's convolution over space,
      [1, N + T - 1, h/2, w/2, c].
    inputs: input of each later layer over time, in the order of `_from_stem`: [2, s, h', w', c].
      Step i of phase r is the first step of window 2 i + r that sees no end.
    base1: steps of base1 that see no end, numbered as in `inputs`.
    base2: steps of base2 that see no end, numbered as in `inputs`.
  """

  frames: jax.Array
  inputs: list[jax.Array]
  base1: jax.Array
  base2: jax.Array


def can_share(model: SaliencyModel) -> bool:
  """Returns whether a network is built on S3D and has windows long enough to share steps."""
  on_s3d = isinstance(getattr(model, "encoder", None), s3d.Encoder)
  return on_s3d and hasattr(model, "from_stages") and model.length // 2 > _END_STEPS


def share(encoder: s3d.Encoder, frames: jax.Array) -> Shared:
  """Computes the features that N windows share from their frames, for even N and T.

  Args:
    encoder: the network's encoder.
    frames: normalised frames [N + T - 1, h, w, 3].
  """
  stem, inputs = encoder.conv_1a, []

  def over_time(layer: Layer, x: jax.Array, padding: float) -> jax.Array:
    del padding  # only ends are padded
    inputs.append(x)
    return layer(x)

  frames = stem.over_space(frames[None])
  # The first window's first two steps see its end; for its third step, the kernel begins at
  # frame 1.
  phases = [stem.over_time(frames[:, begin:], _UNPADDED) for begin in (1, 2)]
  base1, base2 = _from_stem(encoder, jnp.concatenate(phases), over_time)
  return Shared(frames, inputs, base1, base2)


def stages(encoder: s3d.Encoder, shared: Shared, windows: jax.Array, length: int) -> s3d.Stages:
  """Returns the encoder's outputs for windows, as if they were the clips of a batch.

  Args:
    encoder: the encoder that computed `shared`.
    shared: features that N windows share.
    windows: int32 [b], numbers in 0 .. N - 1.
    length: T.
  """
  stem, inputs = encoder.conv_1a, iter(shared.inputs)
  phase, first = windows % 2, windows // 2

  def between(ends: Ends) -> int:
    return length // 2 - ends[0].shape[1] - ends[1].shape[1]

  def over_time(layer: Layer, ends: Ends, padding: float) -> Ends:
    x, steps = next(inputs), between(ends)
    border = jnp.full_like(ends[0][:, :1], padding)
    begin = [border, ends[0], _cut(x, phase, first, 2)]
    end = [_cut(x, phase, first + steps - 2, 2), ends[1], border]
    return layer(jnp.concatenate(begin, axis=1)), layer(jnp.concatenate(end, axis=1))

  def whole(ends: Ends, x: jax.Array) -> jax.Array:
    return jnp.concatenate([ends[0], _cut(x, phase, first, between(ends)), ends[1]], axis=1)

  def stem_over_time(x: jax.Array, zeros: tuple[int, int]) -> jax.Array:
    padded = jnp.pad(x, [(0, 0), zeros, (0, 0), (0, 0), (0, 0)])
    return stem.over_time(padded, _UNPADDED)

  # The stem's kernel has 7 frames and stride 2: two steps see the begin of the window, one its end.
  begin = _cut(shared.frames, 0 * windows, windows, 6)
  end = _cut(shared.frames, 0 * windows, windows + (length - 5), 5)
  ends = stem_over_time(begin, (3, 0)), stem_over_time(end, (0, 2))
  base1, base2 = _from_stem(encoder, ends, over_time)
  return encoder.deep(whole(base1, shared.base1), whole(base2, shared.base2))


def _cut(x: jax.Array, phase: jax.Array, first: jax.Array, steps: int) -> jax.Array:
  """Cuts steps of each window, from its phase and first step on.

  Args:
    x: [phases, t, h, w, c].
    phase: phases of the windows [b].
    first: first steps of the windows [b].
    steps: number of steps.

  Returns:
    [b, steps, h, w, c].
  """

  def cut(phase: jax.Array, first: jax.Array) -> jax.Array:
    return lax.dynamic_slice(x, (phase, first, 0, 0, 0), (1, steps, *x.shape[2:]))[0]

  return jax.vmap(cut)(phase, first)


def _from_stem(
  encoder: s3d.Encoder, x: Features, over_time: Callable[[Layer, Features, float], Features]
) -> tuple[Features, Features]:
  """Computes base1 and base2 as `Encoder.shallow` does, for shared steps or for ends.

  A layer over space does the same everywhere. A layer over time makes one step from three; it is
  given to `over_time`, with its input and the value that pads this input.

  Args:
    encoder: the network's encoder.
    x: output of the stem.
    over_time: function that applies a layer over time.
  """

  def each(layer: Callable[..., jax.Array], *xs: Features) -> Any:
    return jax.tree.map(layer, *xs)

  def separable(unit: s3d.SepConv, x: Features) -> Features:
    return over_time(lambda x: unit.over_time(x, _UNPADDED), each(unit.over_space, x), 0.0)

  def mixed(block: s3d.Mixed, x: Features) -> Features:
    pooled = each(lambda x: nn.max_pool3d(x, (1, 3, 3), (1, 1, 1), (0, 1, 1)), x)
    pooled = over_time(lambda x: nn.max_pool3d(x, (3, 1, 1), (1, 1, 1)), pooled, -jnp.inf)
    # A branch without a layer over time keeps the middle step of three, so that all branches have
    # the same steps.
    branches = [
      over_time(lambda x: x[:, 1:-1], each(block.branch0, x), 0.0),
      separable(block.branch1, each(block.branch1_reduce, x)),
      separable(block.branch2, each(block.branch2_reduce, x)),
      each(block.branch3, pooled),
    ]
    return each(lambda *branches: jnp.concatenate(branches, axis=-1), *branches)

  def halve(x: Features) -> Features:
    return each(lambda x: nn.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1)), x)

  base1 = separable(encoder.conv_2c, each(encoder.conv_2b, halve(x)))
  return base1, mixed(encoder.mixed_3c, mixed(encoder.mixed_3b, halve(base1)))
