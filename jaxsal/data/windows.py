"""Chooses the frames that a network takes for a target frame, as integers only."""

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
  """Returns one window per target frame, for a video of any length.

  `last` (TASED-Net, ViNet, TSFP-Net): the target is the last of the window's T frames. From frame
  T - 1 on, the window of target t is t - T + 1 .. t. Earlier targets have too little past, so the
  future takes its place: their window is t + T - 1 .. t, reversed in time.

  These two rules need a video of 2T - 1 frames. A shorter video is first extended at its beginning
  by k = 2T - 1 - num_frames frames. `repeat` extends it by copies of its first frame, `loop` by
  repetitions of the whole video, so that each repetition's last frame is followed by the first
  frame. The rules then hold in the extended video, where target t has the position t + k:

  - t + k >= T - 1: the window is the T frames of the extended video that end at t + k. Frames
    before frame 0 are copies of frame 0 (`repeat`), or (t - j) mod num_frames (`loop`).
  - t + k < T - 1: the window is reversed. It only looks ahead, never into the extension, and ends
    inside the video.

  A video of T frames or fewer therefore has no reversed windows. With `repeat`, a window is copies
  of the first frame, followed by the target's own past. TSFP-Net trains in the same way on clips
  shorter than T (it repeats the first frame T - 1 times), so training and prediction agree.

  The copies are no targets: each frame of the video, including the first, is predicted once.

  `middle` (STSANet): the target is the (T / 2)-th of the window's T frames, the 16th of 32 (section
  III-E of its paper). Where the window leaves the video, for the first 15 and the last 16 frames,
  the first or the last frame is repeated. `padding` has no effect.

  Args:
    num_frames: number of frames of the video, at least 1.
    length: number T of frames of a window, at least 1.
    target: position of the target frame in the window.
    padding: kind of the extension of videos that are too short for `last`.
    targets: target frames, numbered from 0; all frames by default.

  Returns:
    int32 [n, length], frame numbers in the order of the network's input. Row i belongs to
    `targets[i]`, which is in column `target_position(length, target)`.

  Raises:
    UserError: `target` or `padding` is unknown, or a length is below 1.
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
  """Returns the position of the target in a window of `length` frames, counted from 0."""
  return length - 1 if target == "last" else (length - 1) // 2


def training_targets(num_frames: int, length: int, target: Target = "last") -> range:
  """Returns the numbers of the target frames from which training draws, at least one.

  These are the frames whose windows are neither reversed nor padded. A video shorter than a window
  has no such frames; all of its frames are then returned.

  Args:
    num_frames: number of frames of the video, at least 1.
    length: number of frames of a window, at least 1.
    target: position of the target frame in the window.
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
