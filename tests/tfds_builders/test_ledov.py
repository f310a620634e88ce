"""LEDOV, built from a small folder in its authors' layout, and LEDOV-Meta's lists of frames."""

import contextlib

import numpy as np
import pytest
import scipy.io
from trees import ledov

from jaxsal.data import pipeline, sources, transforms
from jaxsal.errors import UserError
from jaxsal.evaluation import bounds
from jaxsal.tfds_builders import gaze, records
from jaxsal.tfds_builders.build import prepare
from jaxsal.tfds_builders.ledov import ledov_dataset_builder
from jaxsal.tfds_builders.video_builder import Register

SIZE = (120, 160)


@pytest.fixture(autouse=True)
def small_register(monkeypatch):
  register = {name: Register(n, None) for name, n in (("train", 2), ("validation", 1), ("test", 1))}
  monkeypatch.setattr(ledov_dataset_builder.Builder, "REGISTER", register)


def write(folder, **options):
  return ledov.write(folder / "ledov", **options)


def test_ledov(tmp_path):
  prepare("ledov", tmp_path, write(tmp_path))
  train, validation, test = (
    sources.open_split("ledov", split, tmp_path) for split in ("train", "validation", "test")
  )
  assert [(v.name, v.frames, v.fps) for v in train.videos] == [
    ("animal_bat01", 6, 25.0),
    ("human_drum01", 4, 25.0),
  ]
  assert [v.name for v in (*validation.videos, *test.videos)] == ["animal_bird04", "animal_bear04"]
  for i in range(7):
    record = test[i]
    # Fixations at the mark in the centre and outside the frame are left out.
    expected = [[20.5, 30.5, 1]] if i in (1, 2) else np.zeros((0, 3))
    np.testing.assert_array_equal(record["gaze"], expected)
    np.testing.assert_array_equal(record["fixations"], np.reshape(expected, (-1, 3))[:, :2])
    density = transforms.decode_density(record["density"], "")
    assert density.shape == SIZE
    if i in (1, 2):
      np.testing.assert_array_equal(np.argwhere(density == 255).mean(axis=0), (30, 20))
    else:
      assert not density.any()
  assert bounds._blur_sigma(test, test.videos[0]) == pytest.approx(33.97, abs=0.01)


def test_resized(tmp_path):
  prepare("ledov/192x352", tmp_path, write(tmp_path))
  split = sources.open_split("ledov/192x352", "train", tmp_path)
  np.testing.assert_allclose(split[1]["gaze"], [[20.5 * 352 / 160, 30.5 * 192 / 120, 1]])
  sigma = bounds._blur_sigma(split, split.videos[0])
  assert sigma == pytest.approx(33.97 * 352 / 160, abs=0.05)


def test_densities_are_the_blur_of_the_fixations():
  points = np.float32([[20.5, 30.5], [90.5, 80.5], [90.5, 80.5], [159.5, 0.5]])
  sigma = 80 / (8 * np.log(2)) ** 0.5
  blurred = records.blur_fixations(points, SIZE, sigma) * 2 * np.pi * sigma**2
  ours = gaze.density(points, SIZE, sigma)
  assert ours.dtype == np.float32
  np.testing.assert_allclose(ours, blurred, atol=0.01)


def test_frames_of_a_fixation():
  def frames(start, duration, fps=25):
    rows = np.array([[3, start, duration, 21.0, 31.0]])
    found = ledov_dataset_builder.gaze_by_frame(rows, 5, fps, SIZE)
    return [i for i, points in enumerate(found) if len(points)]

  assert frames(0, 40) == [0]
  assert frames(0, 41) == [0, 1]
  assert frames(39, 1) == [0]
  assert frames(41, 1000) == [1, 2, 3, 4]
  assert frames(201, 50) == []
  assert frames(0, 90, fps=30) == [0, 1, 2]


def test_what_precedes_the_first_look_off_the_centre_is_left_out():
  at = {"middle": (80, 60), "level": (20, 60), "off": (20, 20)}
  rows = [(1, "level"), (1, "off"), (1, "middle"), (2, "middle"), (2, "off")]
  table = np.array([[subject, 40 * i, 40, *at[place]] for i, (subject, place) in enumerate(rows)])
  found = ledov_dataset_builder.gaze_by_frame(table[::-1], 5, 25, SIZE)
  seen = {(int(s), (x + 0.5, y + 0.5)) for points in found for x, y, s in points}
  assert seen == {(1, at["off"]), (1, at["middle"]), (2, at["off"])}


META = {
  "mask-ledov-test.csv": [("animal_bear04", i, i in (2, 3, 6)) for i in range(7)],
  "mask-ledov-val.csv": [("animal_bird04", i, False) for i in range(4)]
  + [("animal_bird04", 4, True)],
}


def test_meta(tmp_path):
  prepare("ledov", tmp_path, write(tmp_path, meta=META))
  split = sources.open_split("ledov", "meta", tmp_path)
  assert [(v.name, v.frames, list(v.targets)) for v in split.videos] == [
    ("animal_bear04", 7, [2, 3, 6])
  ]
  validation = sources.open_split("ledov", "meta_validation", tmp_path)
  assert [list(v.targets) for v in validation.videos] == [[4]]
  clips = {"length": 3, "size": (24, 32), "target": "last", "padding": "repeat", "batch_size": 3}
  (batch,) = pipeline.eval_batches(split, **clips)
  assert batch["frame"].tolist() == [2, 3, 6]
  with contextlib.closing(pipeline.train_batches(split, **clips, seed=0)) as batches:
    batch = next(batches)
  # Somebody looked at only one of the listed frames, frame 2.
  assert batch["frames"].shape == (3, 3, 24, 32, 3)
  assert batch["fixations"].any(axis=(1, 2)).all() and batch["density"].any(axis=(1, 2)).all()


def test_a_list_that_does_not_fit(tmp_path):
  rows = [("animal_bear04", 7, True)]
  source = write(tmp_path, meta={"mask-ledov-test.csv": rows})
  with pytest.raises(UserError, match="names frame 7 of animal_bear04, which has 0 to 6"):
    prepare("ledov", tmp_path, source)


def fixdata(order=(0, 1, 2, 3, 4), **scale):
  rows = ledov.fixations(6, SIZE) * [scale.get(k, 1) for k in ("s", "t", "d", "x", "y")]
  return rows[:, list(order)]


def rewrite(folder, frames=6, size=SIZE, rows=None):
  rows = ledov.fixations(6, SIZE) if rows is None else rows
  ledov.write_data(folder / "animal_bat01" / "Data.mat", frames, size, rows)


DAMAGE = {
  "no video": (
    lambda d: (d / "animal_bat01/animal_bat01.mp4").unlink(),
    "animal_bat01: .*animal_bat01.mp4 is missing",
  ),
  "a truncated video": (
    lambda d: (d / "animal_bat01/animal_bat01.mp4").write_bytes(b"no video"),
    "animal_bat01.mp4",
  ),
  "more frames than said": (
    lambda d: rewrite(d, frames=5),
    "animal_bat01.mp4 has 6 frames, .*Data.mat says 5",
  ),
  "another size": (
    lambda d: rewrite(d, size=(240, 320)),
    "animal_bat01.mp4 is 120 x 160, Data.VideoSize is 240 x 320",
  ),
  "columns in another order": (
    lambda d: rewrite(d, rows=fixdata((3, 4, 0, 1, 2), t=20)),
    "columns of fixdata must be subject, .* but of 4 fixations only 0 lie within its frames",
  ),
  "y before x": (
    lambda d: rewrite(
      d, rows=np.array([[1, 0, 40, y, x] for x, y in [(150, 30), (9, 99), (80, 20)]])
    ),
    "x and y of fixdata look exchanged",
  ),
  "other units of time": (
    lambda d: rewrite(d, rows=fixdata(t=1000)[1:]),
    "of 3 fixations only 1 start within the video",
  ),
  "too few columns": (
    lambda d: rewrite(d, rows=fixdata((0, 1, 3, 4))),
    r"fixdata must have 5 columns \(subject, .*\); it is 4 x 4",
  ),
  "no frame rate": (
    lambda d: rewrite(d, frames=0),
    "must have one number of frames, one frame rate, and a width and height, all positive",
  ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_downloads(tmp_path, damage):
  hurt, message = DAMAGE[damage]
  source = write(tmp_path)
  hurt(source)
  with pytest.raises(UserError, match=message):
    prepare("ledov", tmp_path, source)
  prepare("ledov", tmp_path, source, skip_bad=True)
  split = sources.open_split("ledov", "train", tmp_path)
  assert [video.name for video in split.videos] == ["human_drum01"]


def test_without_the_lists_of_the_splits(tmp_path):
  source = write(tmp_path)
  (source / "namelist.mat").unlink()
  with pytest.raises(UserError, match=r"namelist\.mat is missing: it says which videos"):
    prepare("ledov", tmp_path, source, skip_bad=True)


def test_splits_that_share_a_video(tmp_path):
  source = write(tmp_path)
  scipy.io.savemat(source / "namelist.mat", {title: [[1], [2]] for title in ledov.SPLITS})
  with pytest.raises(UserError, match=r"each of the 4 videos of VideoNameList\.mat once"):
    prepare("ledov", tmp_path, source)
