"""Decoding, resizing, maps of fixations, flips, and the errors for damaged images."""

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxsal.data import transforms
from jaxsal.errors import UserError


def encode(image, extension=".png"):
  return cv2.imencode(extension, image)[1].tobytes()


def test_frames_are_rgb():
  image = np.zeros((4, 6, 3), np.uint8)
  image[..., 0] = 255  # red
  decoded = transforms.decode_frame(encode(image[..., ::-1]), "here")
  assert decoded.dtype == np.uint8 and np.array_equal(decoded, image)
  jpeg = transforms.decode_frame(encode(image[..., ::-1], ".jpg"), "here")
  assert (jpeg[..., 0] > 250).all() and (jpeg[..., 1:] < 5).all()


def test_jpeg_pixels_are_opencvs():
  rng = np.random.default_rng(0)
  image = cv2.resize(rng.integers(0, 256, (5, 8, 3), np.uint8), (61, 37))
  for quality in (60, 95):
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    expected = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(transforms.decode_frame(encoded.tobytes(), "here"), expected)


def test_grey_frames_become_rgb():
  for extension in (".png", ".jpg"):
    encoded = encode(np.full((4, 6), 7, np.uint8), extension)
    assert transforms.decode_frame(encoded, "here").shape == (4, 6, 3)


@pytest.mark.parametrize("extension", [".png", ".jpg"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(12, 20), (24, 40), (6, 10), (40, 12)])
def test_frames_are_written_as_they_are_decoded(extension, channels, size):
  rng = np.random.default_rng(0)
  encoded = encode(rng.integers(0, 256, (12, 20, channels), np.uint8), extension)
  frames = np.full((3, *size, 3), 7, np.uint8)
  transforms.write_frame(encoded, "here", frames[1])
  expected = transforms.resize(transforms.decode_frame(encoded, "here"), size)
  assert np.array_equal(frames[1], expected)
  assert (frames[[0, 2]] == 7).all()  # nothing outside of it


@pytest.mark.parametrize("dtype, greatest", [(np.uint8, 255), (np.uint16, 65535)])
def test_density_keeps_its_depth(dtype, greatest):
  density = np.zeros((4, 6), dtype)
  density[1, 2], density[3, 5] = greatest, 300 % greatest
  decoded = transforms.decode_density(encode(density), "here")
  assert decoded.dtype == np.float32 and np.array_equal(decoded, density)


@pytest.mark.parametrize(
  "encoded",
  [b"", b"\x89PNG no image", encode(np.zeros((9, 9)))[:40], encode(np.eye(64) * 255, ".jpg")[:-40]],
)
def test_damaged_image(encoded):
  decoders = [transforms.decode_frame, transforms.decode_density]
  for decode in decoders[: 1 if simplejpeg.is_jpeg(encoded) else 2]:  # densities are no JPEG
    with pytest.raises(UserError, match="record 5 of split 'train' of demo"):
      decode(encoded, "record 5 of split 'train' of demo")
  with pytest.raises(UserError, match="record 5 of split 'train' of demo"):
    transforms.write_frame(
      encoded, "record 5 of split 'train' of demo", np.zeros((64, 64, 3), np.uint8)
    )


def test_resize_averages_when_it_shrinks():
  stripes = np.zeros((8, 12), np.float32)
  stripes[:, ::2] = 2
  assert np.array_equal(transforms.resize(stripes, (4, 6)), np.ones((4, 6)))


def test_resize_interpolates_when_it_grows():
  ramp = np.tile(np.float32([0, 4]), (2, 1))
  assert np.array_equal(transforms.resize(ramp, (2, 4)), np.tile(np.float32([0, 1, 3, 4]), (2, 1)))


def test_resize_keeps_type_and_zeros():
  assert transforms.resize(np.zeros((7, 9, 3), np.uint8), (3, 20)).dtype == np.uint8
  assert not transforms.resize(np.zeros((7, 9), np.float32), (3, 4)).any()


@pytest.mark.parametrize("size", [(9, 16), (40, 70), (12, 40)])
def test_lanczos_is_pillows(size):
  image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
  expected = Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS)
  np.testing.assert_array_equal(transforms.resize(image, size, "lanczos"), expected)
  assert transforms.resize(image, (20, 30), "lanczos") is image


def test_fixation_map_by_hand():
  points = np.float32([(0, 0), (3.99, 1.99), (1.2, 1.2), (1.4, 1.7), (2.0, 0)])
  expected = [[1, 0, 1, 0], [0, 1, 0, 1]]
  assert transforms.fixation_map(points, (2, 4), (2, 4)).tolist() == expected
  assert transforms.fixation_map(points, (2, 4), (1, 2)).tolist() == [[1, 1]]
  grown = transforms.fixation_map(points, (2, 4), (4, 8))
  assert np.argwhere(grown).tolist() == [[0, 0], [0, 4], [2, 2], [3, 2], [3, 7]]


def test_points_outside_are_dropped():
  points = np.float32([(-0.1, 1), (4, 1), (1, -0.1), (1, 2), (np.nan, 1)])
  assert not transforms.fixation_map(points, (2, 4), (2, 4)).any()
  assert not transforms.fixation_map(np.zeros((0, 2), np.float32), (2, 4), (3, 3)).any()


@given(st.integers(1, 700), st.integers(1, 700))
def test_the_last_point_inside_stays_inside(width, new_width):
  edge = np.nextafter(np.float32(width), np.float32(0))
  fixated = transforms.fixation_map(np.float32([(edge, 0)]), (1, width), (1, new_width))
  assert np.flatnonzero(fixated).tolist() == [new_width - 1]


@given(st.lists(st.tuples(st.integers(0, 63), st.integers(0, 31)), max_size=20))
def test_flip_moves_frames_and_fixations_together(pixels):
  points = np.float32(pixels).reshape(-1, 2) + np.float32(0.5)
  mirrored = points * [-1, 1] + [64, 0]
  there = transforms.fixation_map(points, (32, 64), (16, 48))
  back = transforms.fixation_map(mirrored.astype(np.float32), (32, 64), (16, 48))
  assert np.array_equal(transforms.flip(there), back)
  frame = np.repeat(there[..., None], 3, axis=-1)
  assert np.array_equal(transforms.flip(frame)[..., 1], back)
