"""Tests the predictions of bounds, and the truth that they are scored against."""

import copy
import dataclasses

import cv2
import numpy as np
import pytest

from jaxsal.data import sources, transforms
from jaxsal.evaluation import bounds
from jaxsal.evaluation.bounds import Frame
from jaxsal.tfds_builders.build import prepare

SIZE = (64, 96)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data")
  prepare("demo/tiny", folder)
  return sources.open_split("demo/tiny", "validation", folder)


def frame(split, number, gaze=None):
  record = split[number] | ({} if gaze is None else {"gaze": np.float32(gaze)})
  density = transforms.decode_density(record["density"], "")
  fixations = transforms.fixation_map(record["fixations"], SIZE, SIZE)
  return Frame(number, split.videos[0], record, density, fixations)


def test_mean_eye_position_is_the_mean_of_normalised_densities(split):
  mean = bounds.mean_eye_position(split, SIZE)
  with_gaze = np.mean([len(split[i]["fixations"]) > 0 for i in range(len(split))])
  assert mean.sum() == pytest.approx(with_gaze, rel=1e-5) and mean.min() >= 0


def test_mean_eye_position_of_a_large_split_takes_frames_from_all_over_it(split):
  last = len(split) - 1
  densities = [frame(split, i).density for i in (0, last // 2, last)]
  expected = np.mean([x / max(x.sum(), 1e-12) for x in densities], axis=0)
  mean = bounds.mean_eye_position(split, SIZE, frames=3)
  np.testing.assert_allclose(mean, expected, atol=1e-9)


def test_mean_eye_position_of_a_list_of_frames(split):
  some = copy.copy(split)
  some.videos = (dataclasses.replace(split.videos[1], listed=(2, 7)),)
  densities = [frame(split, split.videos[1].first + i).density for i in (2, 7)]
  expected = np.mean([x / x.sum() for x in densities], axis=0)
  np.testing.assert_allclose(bounds.mean_eye_position(some, SIZE), expected, atol=1e-9)


def test_human_infinite_predicts_the_other_half(split):
  points = np.float32([(10.5, 20.5), (40.5, 8.5), (70.5, 50.5), (33.2, 33.8), (90.1, 60.9)])
  gaze = np.column_stack([points, [3, 1, 4, 5, 9]])
  prediction, truth = bounds.human_infinite(split, frame(split, 7, gaze))
  pixels = np.floor(points).astype(int)
  second = [bool(truth.fixations[row, column]) for column, row in pixels]
  assert sum(second) == 2  # of five observers, three predict
  for half, density in ((False, prediction), (True, truth.density)):
    counts = np.zeros(SIZE, np.float32)
    for (column, row), is_second in zip(pixels, second):
      counts[row, column] += is_second == half
    expected = cv2.GaussianBlur(counts, (0, 0), 3.0, borderType=cv2.BORDER_CONSTANT)
    np.testing.assert_allclose(density, expected, atol=1e-6)


def test_all_gaze_of_an_observer_is_on_one_side_and_sides_differ_between_frames(split):
  rng = np.random.default_rng(0)
  gaze = np.column_stack([rng.uniform((0, 0), (96, 64), (40, 2)), np.arange(40) % 4])
  sides = set()
  for number in range(12):
    _, truth = bounds.human_infinite(split, frame(split, number, gaze))
    of_observer = [
      {truth.fixations[int(y), int(x)] for x, y in gaze[gaze[:, 2] == i, :2]} for i in range(4)
    ]
    # Two observers are the truth. The other two can share their pixels only by chance.
    sides.add(tuple(i for i in range(4) if of_observer[i] == {1}))
    assert len(next(iter(sides))) == 2
  assert len(sides) > 1


@pytest.mark.parametrize("observers", [0, 1])
def test_too_few_observers_leave_nothing_to_score_against(split, observers):
  gaze = np.float32([(10, 10, 5)] * observers).reshape(-1, 3)
  _, truth = bounds.human_infinite(split, frame(split, 0, gaze))
  assert not truth.fixations.any() and not truth.density.any()


def test_bounds_of_the_demo_set(split):
  known = bounds.of_split(split, bounds.MeanEyePosition(split))
  assert known.keys() == {
    "mean eye position",
    "human infinite",
    "exact density",
    "exact density, blurred",
  }
  given = frame(split, 3)
  sharp, truth = known["exact density"](given)
  blurred, _ = known["exact density, blurred"](given)
  assert truth is given
  assert blurred.sum() == pytest.approx(sharp.sum(), rel=0.05)
  assert blurred.max() < sharp.max()
  assert "mean eye position" not in bounds.of_split(split, None)
