"""S3D for windows in a row, which have most steps in common: the same stages, for less work.

Where a window ends, its features see zeros: in base1, these are 5 of the T/2 steps, in base2 9. All
other steps are what the neighbouring windows have for the same frames. So N windows in a row are
run as one long clip, and each window adds its own ends. From base3 on, where hardly a step is free
of the ends, every window is computed for itself.

The stem halves the frame rate: windows that begin at even frames have no step in common with those
that begin at odd ones. The long clip has these two phases; in each, all layers up to base2 have
stride 1 in time, and windows slide by one step.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsal import nn
from jaxsal.models import s3d
from jaxsal.models._base import SaliencyModel

# Steps of base2 that see an end of the window: the first 5 and the last 4.
_END_STEPS = 9
_UNPADDED = (0, 0, 0)

# First and last steps of windows, each [b, t, h, w, c]: those that see an end.
Ends = tuple[jax.Array, jax.Array]
Layer = Callable[[jax.Array], jax.Array]


class Shared(NamedTuple):
  """What N windows of T frames have in common.

  Attributes:
    frames: each frame behind the stem's convolution over space [1, N + T - 1, h/2, w/2, c].
    inputs: of each later layer over time, in the order of `_from_stem`: [2, s, h', w', c]. Step i
      of phase r is the first that sees no end of window 2 i + r.
    base1, base2: the same for the stages.
  """

  frames: jax.Array
  inputs: list[jax.Array]
  base1: jax.Array
  base2: jax.Array


def can_share(model: SaliencyModel) -> bool:
  """Whether the network is one on S3D, and its windows are long enough to have steps in common."""
  on_s3d = isinstance(getattr(model, "encoder", None), s3d.Encoder)
  return on_s3d and hasattr(model, "from_stages") and model.length // 2 > _END_STEPS


def share(encoder: s3d.Encoder, frames: jax.Array) -> Shared:
  """Normalised frames [N + T - 1, h, w, 3] of N windows, N and T even -> what these share."""
  stem, inputs = encoder.conv_1a, []

  def over_time(layer: Layer, x: jax.Array, padding: float) -> jax.Array:
    del padding  # only ends are padded
    inputs.append(x)
    return layer(x)

  frames = stem.over_space(frames[None])
  # The first window's first two steps see its end; of the third, the kernel begins at frame 1.
  phases = [stem.over_time(frames[:, begin:], _UNPADDED) for begin in (1, 2)]
  base1, base2 = _from_stem(encoder, jnp.concatenate(phases), over_time)
  return Shared(frames, inputs, base1, base2)


def stages(encoder: s3d.Encoder, shared: Shared, windows: jax.Array, length: int) -> s3d.Stages:
  """The encoder's outputs for windows, as if they were clips of a batch.

  Args:
    encoder: the one that `shared` is from.
    shared: by N windows.
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

  # The stem's kernel of 7 frames and stride 2: two steps see the window's begin, one its end.
  begin = _cut(shared.frames, 0 * windows, windows, 6)
  end = _cut(shared.frames, 0 * windows, windows + (length - 5), 5)
  ends = (
    stem.over_time(jnp.pad(x, [(0, 0), zeros, (0, 0), (0, 0), (0, 0)]), _UNPADDED)
    for x, zeros in ((begin, (3, 0)), (end, (0, 2)))
  )
  base1, base2 = _from_stem(encoder, tuple(ends), over_time)
  return encoder.deep(whole(base1, shared.base1), whole(base2, shared.base2))


def _cut(x: jax.Array, phase: jax.Array, first: jax.Array, steps: int) -> jax.Array:
  """x [phases, t, h, w, c] -> [b, steps, h, w, c], from each window's phase and first step on."""

  def cut(phase: jax.Array, first: jax.Array) -> jax.Array:
    return lax.dynamic_slice(x, (phase, first, 0, 0, 0), (1, steps, *x.shape[2:]))[0]

  return jax.vmap(cut)(phase, first)


def _from_stem(
  encoder: s3d.Encoder,
  x: jax.Array | Ends,
  over_time: Callable[[Layer, jax.Array | Ends, float], jax.Array | Ends],
) -> tuple[jax.Array | Ends, jax.Array | Ends]:
  """`Encoder.shallow` from the stem's output on: base1 and base2, of the shared steps or of ends.

  A layer over space does the same everywhere. A layer over time, which makes one step of three, is
  handed to `over_time` with its input and what pads this.
  """

  def each(layer: Callable[..., jax.Array], *xs: jax.Array | Ends) -> jax.Array | Ends:
    return jax.tree.map(layer, *xs)

  def separable(unit: s3d.SepConv, x: jax.Array | Ends) -> jax.Array | Ends:
    return over_time(lambda x: unit.over_time(x, _UNPADDED), each(unit.over_space, x), 0.0)

  def mixed(block: s3d.Mixed, x: jax.Array | Ends) -> jax.Array | Ends:
    pooled = each(lambda x: nn.max_pool3d(x, (1, 3, 3), (1, 1, 1), (0, 1, 1)), x)
    pooled = over_time(lambda x: nn.max_pool3d(x, (3, 1, 1), (1, 1, 1)), pooled, -jnp.inf)
    # What mixes no steps keeps the middle one of three, so that all branches have the same steps.
    branches = [
      over_time(lambda x: x[:, 1:-1], each(block.branch0, x), 0.0),
      separable(block.branch1, each(block.branch1_reduce, x)),
      separable(block.branch2, each(block.branch2_reduce, x)),
      each(block.branch3, pooled),
    ]
    return each(lambda *branches: jnp.concatenate(branches, axis=-1), *branches)

  def halve(x: jax.Array | Ends) -> jax.Array | Ends:
    return each(lambda x: nn.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1)), x)

  base1 = separable(encoder.conv_2c, each(encoder.conv_2b, halve(x)))
  return base1, mixed(encoder.mixed_3c, mixed(encoder.mixed_3b, halve(base1)))
