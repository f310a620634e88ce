"""Windows: one per target frame, with the target in its place, for videos of any length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsal.data.windows import training_targets, windows
from jaxsal.errors import UserError

LENGTHS = st.integers(8, 48)
PADDINGS = st.sampled_from(["repeat", "loop"])


def extended(num_frames, length, padding):
  """Returns the frame numbers of the video that the protocol reads, at least 2T - 1."""
  missing = max(0, 2 * length - 1 - num_frames)
  video = list(range(num_frames))
  if padding == "repeat":
    return [0] * missing + video, missing
  return (video * (missing // num_frames + 2))[-(missing + num_frames) :], missing


@pytest.mark.parametrize("padding", ["repeat", "loop"])
@pytest.mark.parametrize("num_frames", range(1, 201))
def test_last_is_the_rule_applied_to_the_extended_video(num_frames, padding):
  for length in range(8, 49, 5):
    got = windows(num_frames, length, "last", padding)
    assert got.shape == (num_frames, length) and got.dtype == np.int32
    video, start = extended(num_frames, length, padding)
    for t in range(num_frames):
      position = start + t
      if position >= length - 1:
        expected = video[position - length + 1 : position + 1]
      else:
        expected = video[position : position + length][::-1]
      assert got[t].tolist() == expected


@given(st.integers(1, 200), LENGTHS, PADDINGS)
def test_last_properties(num_frames, length, padding):
  got = windows(num_frames, length, "last", padding)
  assert np.array_equal(got[:, -1], np.arange(num_frames))  # one window per target, in its place
  assert got.min() >= 0 and got.max() < num_frames
  steps = np.diff(got, axis=1)
  for window, step in zip(got, steps):
    if (step == -1).all() and num_frames > 2:  # reversed: within the video, nothing repeated
      assert len(set(window)) == length
    elif padding == "loop":
      assert np.array_equal(window[1:], (window[:-1] + 1) % num_frames)
    else:  # copies of the first frame, then forward
      assert set(step) <= {0, 1} and (window[:-1][step == 0] == 0).all()
      assert (np.diff(step) >= 0).all()


@given(st.integers(1, 200), LENGTHS, PADDINGS)
def test_middle_properties(num_frames, length, padding):
  got = windows(num_frames, length, "middle", padding)
  assert np.array_equal(got[:, (length - 1) // 2], np.arange(num_frames))
  assert got.min() >= 0 and got.max() < num_frames
  steps = np.diff(got, axis=1)
  assert np.isin(steps, (0, 1)).all()
  assert np.isin(got[:, :-1][steps == 0], (0, num_frames - 1)).all()


@given(st.integers(1, 200), LENGTHS, st.sampled_from(["last", "middle"]), PADDINGS, st.data())
def test_targets_select_rows(num_frames, length, target, padding, data):
  targets = data.draw(st.lists(st.integers(0, num_frames - 1), max_size=5))
  got = windows(num_frames, length, target, padding, targets)
  assert np.array_equal(got, windows(num_frames, length, target, padding)[targets])


@given(st.integers(1, 200), LENGTHS, st.sampled_from(["last", "middle"]))
def test_training_targets_have_whole_windows(num_frames, length, target):
  targets = training_targets(num_frames, length, target)
  if num_frames < length:
    assert list(targets) == list(range(num_frames))
  else:
    whole = (np.diff(windows(num_frames, length, target, "repeat"), axis=1) == 1).all(axis=1)
    assert list(targets) == np.flatnonzero(whole).tolist()


@pytest.mark.parametrize(
  "num_frames, target, padding, frame, expected",
  [
    (9, "last", "repeat", 5, [2, 3, 4, 5]),  # enough past
    (9, "last", "repeat", 3, [0, 1, 2, 3]),  # just enough
    (9, "last", "repeat", 2, [5, 4, 3, 2]),  # too little: the future, reversed
    (7, "last", "loop", 0, [3, 2, 1, 0]),  # 2T - 1 frames need no extension
    (6, "last", "repeat", 2, [0, 0, 1, 2]),  # extended by one frame: frame 2 is at T - 1
    (6, "last", "repeat", 1, [4, 3, 2, 1]),  # still before T - 1
    (6, "last", "loop", 2, [5, 0, 1, 2]),
    (4, "last", "repeat", 0, [0, 0, 0, 0]),  # T frames: never reversed
    (3, "last", "repeat", 1, [0, 0, 0, 1]),
    (3, "last", "loop", 1, [1, 2, 0, 1]),
    (1, "last", "repeat", 0, [0, 0, 0, 0]),
    (1, "last", "loop", 0, [0, 0, 0, 0]),
    (9, "middle", "repeat", 4, [3, 4, 5, 6]),
    (9, "middle", "repeat", 0, [0, 0, 1, 2]),
    (9, "middle", "loop", 8, [7, 8, 8, 8]),
    (1, "middle", "repeat", 0, [0, 0, 0, 0]),
  ],
)
def test_by_hand(num_frames, target, padding, frame, expected):
  assert windows(num_frames, 4, target, padding, [frame]).tolist() == [expected]


def test_short_training_clip_is_padded_as_the_paper_says():
  # TSFP-Net repeats the first frame of clips shorter than T, T - 1 times.
  length, num_frames = 8, 5
  padded = [0] * (length - 1) + list(range(num_frames))
  for row, frame in zip(windows(num_frames, length), range(num_frames)):
    assert row.tolist() == padded[frame : frame + length]


def test_training_targets_by_hand():
  assert list(training_targets(6, 4, "last")) == [3, 4, 5]
  assert list(training_targets(6, 4, "middle")) == [1, 2, 3]
  assert list(training_targets(4, 4, "last")) == [3]
  assert list(training_targets(3, 4, "last")) == [0, 1, 2]


@pytest.mark.parametrize(
  "arguments, message",
  [
    ((0, 4), "at least 1"),
    ((4, 0), "at least 1"),
    ((4, 4, "first"), "'last' or 'middle'"),
    ((4, 4, "last", "mirror"), "'repeat' or 'loop'"),
  ],
)
def test_wrong_arguments(arguments, message):
  with pytest.raises(UserError, match=message):
    windows(*arguments)


@pytest.mark.parametrize("frame", [-1, 5])
def test_target_outside_the_video(frame):
  with pytest.raises(IndexError):
    windows(5, 4, targets=[frame])
