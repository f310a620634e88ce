"""Optical flow of known motion, and its colours."""

import cv2
import numpy as np
import pytest

from jaxsal.data import flow
from jaxsal.errors import UserError


def texture(h, w):
  noise = np.random.default_rng(0).standard_normal((h, w, 3)).astype(np.float32)
  smooth = cv2.GaussianBlur(noise, (0, 0), 2)
  return (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


@pytest.mark.parametrize(("x", "y"), [(1, 0), (3, -2), (-5, 4), (0, 0)])
def test_translation_is_found(x, y):
  """The end-point error, on average, far below half a pixel; it is largest at the border."""
  scene = texture(120, 140)
  first, second = scene[10:110, 10:130], scene[10 - y : 110 - y, 10 - x : 130 - x]
  found = flow.dis_flow(first, second)
  assert found.shape == (100, 120, 2) and found.dtype == np.float32
  assert np.hypot(*np.moveaxis(found - [x, y], -1, 0)).mean() < 0.1


def test_smallest_frames_have_a_flow():
  frames = np.stack([texture(16, 200), texture(16, 200)])
  assert flow.dis_flow(*frames).shape == (16, 200, 2)


@pytest.mark.parametrize(
  ("first", "second", "message"),
  [
    ((64, 64, 3), (64, 32, 3), r"\(64, 64, 3\) and \(64, 32, 3\): flow needs one size"),
    ((12, 100, 3), (12, 100, 3), "12 x 100: flow needs 16 pixels a side"),
  ],
)
def test_unfit_frames_are_refused(first, second, message):
  with pytest.raises(UserError, match=message):
    flow.dis_flow(np.zeros(first, np.uint8), np.zeros(second, np.uint8))


@pytest.mark.parametrize(
  ("vector", "colour"),
  [
    ((3, 0), (255, 0, 0)),  # the wheel starts at red
    ((0, 3), (255, 229, 0)),  # 13.5 of the 15 steps to yellow
    ((-3, 0), (0, 208, 255)),  # 2 of the 11 from cyan to blue
    ((0, -3), (88, 0, 255)),  # 4.5 of the 13 from blue to magenta
    ((1.5, 0), (255, 127, 127)),  # half as fast as the fastest
    ((0, 0), (255, 255, 255)),
  ],
)
def test_colours_are_those_of_the_middlebury_wheel(vector, colour):
  image = flow.flow_image(np.array([[vector, (3, 0)]], np.float32))
  assert image.dtype == np.uint8
  np.testing.assert_array_equal(image, [[colour, (255, 0, 0)]])


def test_noise_of_a_still_video_stays_white():
  noise = np.random.default_rng(0).uniform(-0.02, 0.02, (8, 8, 2))
  assert flow.flow_image(noise).min() >= 247
