"""Compares the scored frames and the other maps of protocols with direct code."""

import dataclasses

import numpy as np
import pytest

from jaxsal.data.sources import Video
from jaxsal.errors import UserError
from jaxsal.evaluation import protocols

SIZES = ((12, 16), (24, 16), (9, 20))
FRAMES = (5, 7, 4)


class Split:
  """Three videos of different sizes with random fixations."""

  def __init__(self, seed=0):
    rng = np.random.default_rng(seed)
    firsts = np.cumsum([0, *FRAMES])
    self.videos = [
      Video(f"v{i}", int(firsts[i]), n, *SIZES[i], fps=25.0) for i, n in enumerate(FRAMES)
    ]
    self.points = [
      rng.uniform((0, 0), (video.width, video.height), (rng.integers(1, 5), 2)).astype(np.float32)
      for video in self.videos
      for _ in range(video.frames)
    ]
    self.points[3] = np.empty((0, 2), np.float32)

  def __len__(self):
    return len(self.points)

  def fixations(self, record):
    return self.points[record]

  def video(self, record):
    return next(v for v in self.videos if v.first <= record < v.first + v.frames)


def pixels(points, height, width):
  fixated = np.zeros((height, width), np.uint8)
  for x, y in points:
    fixated[int(y), int(x)] = 1
  return fixated


@pytest.fixture(scope="module")
def split():
  return Split()


def test_maps_of_fixations(split):
  fixations = protocols.Fixations(split, protocols.find("mit"))
  for record, points in enumerate(split.points):
    video = split.video(record)
    np.testing.assert_array_equal(fixations.map(record), pixels(points, video.height, video.width))


def test_stavis_takes_the_rest_of_the_video(split):
  fixations = protocols.Fixations(split, protocols.find("stavis"))
  for record in range(len(split)):
    video = split.video(record)
    size = video.height, video.width
    union = np.zeros(size, np.uint8)
    for other in range(video.first, video.first + video.frames):
      union |= pixels(split.points[other], *size)
    union[pixels(split.points[record], *size) == 1] = 0
    np.testing.assert_array_equal(fixations.other_map(record), union)


@pytest.mark.parametrize(("name", "may_be_itself"), [("dhf1k", True), ("mit", False)])
def test_others_are_ten_random_frames_of_the_list_rescaled(split, name, may_be_itself):
  fixations = protocols.Fixations(split, protocols.find(name))
  drawn = []
  for record in range(len(split)):
    video = split.video(record)
    others = fixations._draw(record).tolist()
    assert len(set(others)) == 10 and set(others) <= set(range(len(split)))
    drawn.append(tuple(others))
    scaled = [
      split.points[other]
      * (video.width, video.height)
      / (split.video(other).width, split.video(other).height)
      for other in others
    ]
    expected = pixels(np.concatenate(scaled), video.height, video.width)
    np.testing.assert_array_equal(fixations.other_map(record), expected)
  assert len(set(drawn)) == len(drawn)
  assert any(record in others for record, others in enumerate(drawn)) == may_be_itself


def test_draws_depend_on_the_frame_alone(split):
  forwards, backwards = (protocols.Fixations(split, protocols.find("dhf1k")) for _ in range(2))
  maps = [forwards.other_map(record) for record in range(len(split))]
  for record in reversed(range(len(split))):
    np.testing.assert_array_equal(backwards.other_map(record), maps[record])


def test_a_list_shorter_than_ten_frames_is_taken_whole():
  split = Split()
  split.videos, split.points = split.videos[:1], split.points[:1]
  split.videos[0] = dataclasses.replace(split.videos[0], frames=1)
  lone = protocols.Fixations(split, protocols.find("mit"))
  assert not lone.other_map(0).any()
  itself = protocols.Fixations(split, protocols.find("dhf1k"))
  np.testing.assert_array_equal(itself.other_map(0), itself.map(0))


def test_a_larger_split_is_sampled(split):
  protocol = dataclasses.replace(protocols.find("dhf1k"), most_frames=6)
  fixations = protocols.Fixations(split, protocol)
  assert len(set(fixations.scored.tolist())) == 6
  listed = [video.first + i for video in split.videos for i in fixations.scored_in(video)]
  assert listed == fixations.scored.tolist() == sorted(listed)
  assert set(fixations._draw(0)) == set(listed)  # others come from the evaluated list
  assert protocols.find("dhf1k").scored(50_000).size == 50_000
  many = protocols.find("dhf1k").scored(60_273)
  assert len(np.unique(many)) == 50_000 and many.max() < 60_273
  assert protocols.find("mit").scored(60_273).size == 60_273


def test_only_the_listed_frames_count():
  split = Split()
  split.videos[0] = dataclasses.replace(split.videos[0], listed=(1, 3))
  split.videos[2] = dataclasses.replace(split.videos[2], listed=(0,))
  fixations = protocols.Fixations(split, protocols.find("mit"))
  assert fixations.scored.tolist() == [1, 3, 5, 6, 7, 8, 9, 10, 11, 12]
  assert [fixations.scored_in(v) for v in split.videos] == [[1, 3], [0, 1, 2, 3, 4, 5, 6], [0]]
  assert set(fixations._draw(3)) == set(fixations.scored) - {3}


def test_descriptions_and_unknown_names():
  texts = protocols.describe(protocols.find("stavis"), "none")
  assert texts["name"] == "stavis" and "then over videos" in texts["mean"]
  with pytest.raises(UserError, match="'dhf2k' is unknown: use one of dhf1k, mit, stavis"):
    protocols.find("dhf2k")
