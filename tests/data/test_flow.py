"""Optical flow of known motion, its colours, and the motion of a video's frames."""

import re
import types

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsal import models
from jaxsal.data import flow
from jaxsal.errors import UserError
from jaxsal.models import SaliencyConfig, SaliencyModel


def texture(h, w):
  noise = np.random.default_rng(0).standard_normal((h, w, 3)).astype(np.float32)
  smooth = cv2.GaussianBlur(noise, (0, 0), 2)
  return (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


@pytest.mark.parametrize(("x", "y"), [(1, 0), (3, -2), (-5, 4), (0, 0)])
def test_translation_is_found(x, y):
  """The mean end-point error is far below half a pixel; errors are largest at the border."""
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


def field(seed=0):
  """Makes a smooth flow of all directions and speeds; the fastest pixel has speed 4."""
  noise = np.random.default_rng(seed).standard_normal((40, 60, 2)).astype(np.float32)
  smooth = cv2.GaussianBlur(noise, (0, 0), 6)
  return smooth * (4 / np.hypot(*np.moveaxis(smooth, -1, 0)).max())


def test_image_tells_the_flow():
  """The inverse is exact to 8 bits of speed and, in direction, the wheel's last step."""
  found = flow.image_flow(flow.flow_image(field()))
  error = np.hypot(*np.moveaxis(found - field() / 4, -1, 0))
  assert error.max() < 0.13 and np.median(error) < 0.01


def test_mirrored_image_is_that_of_mirrored_frames():
  """Colours mean directions, which the mirrored picture alone would keep."""
  image = flow.flow_image(field())
  mirrored = flow.image_flow(flow.mirror(image))
  wanted = cv2.flip(field(), 1) / 4 * [-1, 1]
  assert np.median(np.abs(mirrored - wanted)) < 0.01
  assert np.median(np.abs(flow.image_flow(cv2.flip(image, 1)) - wanted)[..., 0]) > 0.1
  twice = np.abs(flow.mirror(flow.mirror(image)).astype(int) - image)
  assert np.median(twice) <= 2


def crossing(frames, size=(64, 80), step=3):
  """Draws a textured square that moves right over another texture by `step` pixels a frame."""
  background, square = texture(*size) // 2, texture(24, 24)[..., ::-1] // 2 + 110
  video = np.repeat(background[None], frames, axis=0)
  for t, image in enumerate(video):
    image[20:44, 10 + step * t : 34 + step * t] = square
  return video


def motions(frames):
  return [flow.motion_image(pair) for pair in flow.with_neighbours(frames)]


def test_every_frame_has_the_motion_that_led_to_it():
  """A frame has the motion at its own pixels; the first frame has that towards the second."""
  for t, image in enumerate(motions(crossing(4))):
    found = flow.image_flow(image)
    square = found[26:38, 16 + 3 * t : 28 + 3 * t].reshape(-1, 2).mean(0)
    assert square[0] > 0.5 and abs(square[1]) < 0.1
    assert np.abs(found[50:, 50:]).mean() < 0.05


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_neighbours_in_a_stream_are_those_of_the_rule(count):
  frames = list(range(count))
  expected = [(i, i + flow.neighbour(i, count), flow.neighbour(i, count)) for i in frames]
  assert [tuple(pair) for pair in flow.with_neighbours(iter(frames))] == expected


def test_what_does_not_move_is_white():
  still = np.repeat(texture(48, 64)[None], 3, axis=0)
  for frames in (still, still[:1], crossing(1), np.zeros((2, 20, 20, 3), np.uint8)):
    for image in motions(frames):
      assert image.min() >= 250


def test_across_a_cut_nothing_moves():
  other = np.random.default_rng(1).permutation(texture(64, 80).reshape(8, -1), axis=0)
  frames = np.concatenate([crossing(2), other.reshape(1, 64, 80, 3), crossing(2)])
  found = motions(frames)
  assert [image.min() == 255 for image in found] == [False, False, True, True, False]
  # DIS itself finds motion across the cut.
  assert np.abs(flow.dis_flow(frames[2], frames[1])).max() > 2


class Trained:
  """Makes a network that was trained on flow by a method."""

  needs_flow = True

  def __init__(self, method):
    self.config = types.SimpleNamespace(flow=method)


def test_flow_is_computed_as_in_training(tmp_path, monkeypatch):
  network = nnx.eval_shape(lambda: models.create("pwcnet", "tiny"))
  wanted = models.variables(network)
  ones = {name: np.ones(v.shape, np.float32) for name, v in wanted.items()}
  models.set_arrays(network, ones, source="ones")
  # This size is quick to compile. Other tests cover the network itself at any size.
  monkeypatch.setattr(
    type(network),
    "flow",
    lambda self, first, second: (
      (first - second)[..., :2].astype(jnp.float32) + self.context.flow.bias[...]
    ),
  )
  weights = models.save(network, tmp_path / "pwcnet", {})
  by_dis, by_network = models.flow_estimator(), models.flow_estimator(weights)
  assert by_dis.method == "dis" and re.fullmatch("pwcnet [0-9a-f]{64}", by_network.method)
  assert models.flow_of(Trained("dis")) is flow.dis_flow
  first, second = crossing(2)
  found = models.flow_of(Trained(by_network.method), weights)(first, second)
  assert found.shape == (64, 80, 2) and found.dtype == np.float32
  np.testing.assert_allclose(found, (first - second)[..., :2] + np.float32(1), rtol=1e-6)
  for method, given, message in (
    ("dis", weights, "trained on flow by DIS: leave out --flow-from"),
    (by_network.method, None, "pwcnet [0-9a-f]+, and this is dis: name the folder"),
    ("pwcnet 0", weights, "pwcnet 0, and this is pwcnet [0-9a-f]+: name the folder"),
  ):
    with pytest.raises(UserError, match=message):
      models.flow_of(Trained(method), given)
  without_flow = SaliencyModel(SaliencyConfig(), rngs=nnx.Rngs(0))
  assert models.flow_of(without_flow) is None
  with pytest.raises(UserError, match="takes no optical flow"):
    models.flow_of(without_flow, weights)


def test_another_network_computes_no_flow(tmp_path):
  path = models.save(models.create("soundnet", "tiny"), tmp_path / "model", {})
  with pytest.raises(UserError, match="holds a SoundNet: flow is computed by a PWC-Net"):
    models.flow_estimator(path)
