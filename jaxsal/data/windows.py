"""Which frames a network sees for a target frame: integers only."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxsal.errors import UserError

Target = Literal["last", "middle"]
Padding = Literal["repeat", "loop"]


def windows(
  num_frames: int,
  length: int,
  target: Target = "last",
  padding: Padding = "repeat",
  targets: Sequence[int] | np.ndarray | None = None,
) -> np.ndarray:
  """Frame numbers of one window per target frame, for a video of any length.

  `last` (TASED-Net, ViNet, TSFP-Net): the target is the last of the T frames. From frame T - 1 on,
  these are frames t - T + 1 .. t. An earlier frame has too little past, so the future stands in for
  it: frames t + T - 1 .. t, reversed in time.

  Together the two need 2T - 1 frames. A shorter video is first extended in front by
  k = 2T - 1 - num_frames frames: `repeat` copies its first frame, `loop` lets the video run before
  itself, again and again, so that the last frame is followed by the first. The rule then holds in
  the extended video, where target t stands at t + k:

  - t + k >= T - 1: the T frames of the extended video that end at t + k. Those before frame 0 are
    copies of frame 0, or (t - j) mod num_frames.
  - t + k < T - 1: the reversed window. It only looks ahead, never into the extension, and ends
    before the video does.

  A video of T frames or fewer therefore never runs reversed: with `repeat`, its window is its own
  past behind copies of the first frame. That is also how TSFP-Net trains on clips shorter than T
  (first frame repeated T - 1 times in front), so training and prediction agree.

  The copies are no targets: each frame of the video, the first among them, is predicted once.

  `middle` (STSANet): the target is the (T / 2)-th of the T frames, the 16th of 32 (section III-E of
  its paper), and the first and the last frame are repeated where the window leaves the video, which
  is for the first 15 and the last 16 frames. `padding` has no say.

  Args:
    num_frames: frames of the video, at least 1.
    length: T, frames of a window, at least 1.
    target: where in the window the target frame stands.
    padding: how a video too short for `last` is extended in front.
    targets: target frames, numbered from 0; every frame by default.

  Returns:
    int32 [n, length], frame numbers in the order in which the network sees them. Row i belongs to
    `targets[i]`, which stands in column `target_position(length, target)`.

  Raises:
    UserError: `target` or `padding` is none of the above, or a length is below 1.
    IndexError: a target frame is not in the video.
  """
  _check(num_frames, length, target)
  if padding not in ("repeat", "loop"):
    raise UserError(f"padding={padding!r} is unknown: use 'repeat' or 'loop'.")
  t = np.arange(num_frames) if targets is None else np.asarray(targets, np.int64).reshape(-1)
  if t.size and not (0 <= t.min() and t.max() < num_frames):
    raise IndexError(f"Target frames {t.min()}..{t.max()} are not in 0..{num_frames - 1}.")

  t = t[:, None]
  steps = np.arange(length)
  if target == "middle":
    frames = np.clip(t - target_position(length, target) + steps, 0, num_frames - 1)
  else:
    past = steps - (length - 1)  # -(T - 1) .. 0
    extension = max(0, 2 * length - 1 - num_frames)
    reverse = t + extension < length - 1
    frames = np.where(reverse, t - past, t + past)
    frames = np.maximum(frames, 0) if padding == "repeat" else frames % num_frames
  return frames.astype(np.int32)


def target_position(length: int, target: Target) -> int:
  """Where in a window of `length` frames its target stands, counted from 0."""
  return length - 1 if target == "last" else (length - 1) // 2


def training_targets(num_frames: int, length: int, target: Target = "last") -> range:
  """The target frames that training draws from.

  These are the frames with T real frames around them: neither reversed nor padded. A video shorter
  than T has none, and every frame counts.

  Args:
    num_frames, length, target: as for `windows`.

  Returns:
    Frame numbers, at least one.
  """
  _check(num_frames, length, target)
  if num_frames < length:
    return range(num_frames)
  first = target_position(length, target)
  return range(first, first + num_frames - length + 1)


def _check(num_frames: int, length: int, target: str) -> None:
  if num_frames < 1 or length < 1:
    raise UserError(
      f"A window of {length} frames from a video of {num_frames} frames: both must be at least 1."
    )
  if target not in ("last", "middle"):
    raise UserError(f"target={target!r} is unknown: use 'last' or 'middle'.")
