"""SALICON, built from a small folder in the layout of its release."""

import contextlib

import numpy as np
import pytest
import scipy.io
from trees import annotated, salicon

from jaxsal.data import pipeline, sources, transforms
from jaxsal.errors import UserError
from jaxsal.evaluation import bounds
from jaxsal.tfds_builders import records
from jaxsal.tfds_builders.build import prepare
from jaxsal.tfds_builders.salicon import salicon_dataset_builder
from jaxsal.tfds_builders.video_builder import Register

SIZE = (48, 64)


@pytest.fixture(autouse=True)
def small_register(monkeypatch):
  register = {"train": Register(4, 4), "validation": Register(3, 3), "test": Register(2, 2)}
  monkeypatch.setattr(salicon_dataset_builder.Builder, "REGISTER", register)


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory):
  return salicon.write(tmp_path_factory.mktemp("downloads") / "salicon")


def test_every_image_is_a_video(downloaded, tmp_path):
  prepare("salicon", tmp_path, downloaded)
  train, validation, test = (
    sources.open_split("salicon", split, tmp_path) for split in ("train", "validation", "test")
  )
  assert (len(train), len(validation), len(test)) == (4, 3, 2)
  assert [(v.first, v.frames, v.height, v.width) for v in train.videos] == [
    (i, 1, *SIZE) for i in range(4)
  ]
  assert train.metadata["annotated"] == {"train": True, "validation": True, "test": False}
  assert train.metadata["gaze"] == {"train": True, "validation": True, "test": False}
  for i, video in enumerate(train.videos):
    assert video.name == f"COCO_train2014_{i + 1:012}"
    record = train[i]
    stored = (downloaded / "images/train" / f"{video.name}.jpg").read_bytes()
    assert record["image"] == stored  # not encoded again
    ((x, y),) = annotated.centres(1, SIZE, i + 1)
    expected = [[x + 0.5, y + 0.5, 1], [x + 1.5, y + 0.5, 1], [x + 3.5, y + 0.5, 2]]
    np.testing.assert_array_equal(record["gaze"], expected)  # nothing outside the image
    np.testing.assert_array_equal(record["fixations"], np.array(expected)[:, :2])
    density = transforms.decode_density(record["density"], "")
    assert np.hypot(*(np.argwhere(density == density.max())[0] - (y, x))) < 4
  assert test[0]["fixations"].size == 0
  assert not transforms.decode_density(test[0]["density"], "").any()


def test_half_of_the_observers_predicts_the_other(downloaded, tmp_path):
  prepare("salicon", tmp_path, downloaded)
  split = sources.open_split("salicon", "validation", tmp_path)
  human = bounds.of_split(split, None)["human infinite"]
  video, record = split.videos[1], split[1]
  prediction, frame = human(bounds.Frame(1, video, record, None, None))
  assert prediction.shape == SIZE
  # One half has the second observer's fixation, the other half the first observer's two. The blur
  # is 19 pixels in an image 640 pixels wide.
  assert sorted([prediction.sum(), frame.density.sum()]) == pytest.approx([1, 2], rel=1e-3)
  lone = prediction if prediction.sum() < 1.5 else frame.density
  assert lone.max() == pytest.approx(1 / (2 * np.pi * 1.9**2), rel=0.02)


def test_of_its_own_size_nothing_is_encoded_again(tmp_path):
  source = salicon.write(tmp_path / "s", {"train": 4, "val": 3, "test": 2}, (480, 640), flat=True)
  prepare("salicon/480x640", tmp_path, source)
  split = sources.open_split("salicon/480x640", "train", tmp_path)
  name = split.videos[2].name
  assert "flow" not in split.features  # nothing moves
  assert split[2]["image"] == (source / "images" / f"{name}.jpg").read_bytes()
  assert split[2]["density"] == (source / "maps/train" / f"{name}.png").read_bytes()


def test_batches(downloaded, tmp_path):
  prepare("salicon", tmp_path, downloaded)
  split = sources.open_split("salicon", "train", tmp_path)
  clips = {"length": 1, "size": (24, 32), "target": "last", "padding": "repeat", "batch_size": 4}
  with contextlib.closing(pipeline.train_batches(split, **clips, seed=0)) as batches:
    batch = next(batches)
  assert batch["frames"].shape == (4, 1, 24, 32, 3)
  assert batch["mask"].tolist() == [1] * 4 and batch["fixations"].any(axis=(1, 2)).all()
  images = {transforms.resize(frame, (4, 4)).tobytes() for frame in batch["frames"][:, 0]}
  assert len(images) == 4  # an epoch is every image, once
  (batch,) = pipeline.eval_batches(split, **clips)
  assert batch["video"].tolist() == [0, 1, 2, 3]


def rewrite(path, **changes):
  """Saves a MATLAB file with other variables; None leaves one out."""
  variables = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
  variables |= changes
  scipy.io.savemat(path, {k: v for k, v in variables.items() if v is not None})


NAME = "COCO_train2014_000000000002"
DAMAGE = {
  "no image": (lambda d: (d / f"images/train/{NAME}.jpg").unlink(), f"train: no images of {NAME}"),
  "no map": (lambda d: (d / f"maps/train/{NAME}.png").unlink(), f"train: no maps of {NAME}"),
  "no gaze": (
    lambda d: (d / f"fixations/train/{NAME}.mat").unlink(),
    f"train: no fixations of {NAME}",
  ),
  "another image": (
    lambda d: salicon.write_image(d / f"images/train/{NAME}.jpg", (40, 64), 2),
    rf"{NAME}.png is 48 x 64, its frame is 40 x 64",
  ),
  "another size": (
    lambda d: rewrite(d / f"fixations/train/{NAME}.mat", resolution=[480, 640]),
    rf"{NAME}.mat is of an image of \[480 640\], its image is 48 x 64",
  ),
  "another variable": (
    lambda d: rewrite(d / f"fixations/train/{NAME}.mat", gaze=None),
    rf"{NAME}.mat has no variable gaze; it has image, resolution",
  ),
  "other fields": (
    lambda d: rewrite(d / f"fixations/train/{NAME}.mat", gaze={"location": [[1, 2]]}),
    rf"{NAME}.mat: each structure of gaze must have fixations, n x 2",
  ),
  "other columns": (
    lambda d: rewrite(d / f"fixations/train/{NAME}.mat", gaze={"fixations": np.ones((2, 3))}),
    rf"{NAME}.mat: each structure of gaze must have fixations, n x 2",
  ),
  "an empty image": (
    lambda d: (d / f"images/train/{NAME}.jpg").write_bytes(b""),
    rf"{NAME}.jpg cannot be decoded \(0 bytes\)",
  ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_downloads(tmp_path, damage):
  hurt, message = DAMAGE[damage]
  source = salicon.write(tmp_path / "s")
  hurt(source)
  with pytest.raises(UserError, match=message):
    prepare("salicon", tmp_path, source)
  assert not list(tmp_path.rglob("dataset_info.json"))
  prepare("salicon", tmp_path, source, skip_bad=True)
  split = sources.open_split("salicon", "train", tmp_path)
  assert [video.name[-1] for video in split.videos] == ["1", "3", "4"]


def test_one_observer_and_one_fixation(tmp_path):
  """MATLAB writes a single structure, and axes of length 1, without their axes."""
  source = salicon.write(tmp_path / "s")
  path = source / f"fixations/train/{NAME}.mat"
  rewrite(path, gaze={"fixations": [[7, 9]]})
  gaze = salicon_dataset_builder._read_gaze(path, SIZE)
  np.testing.assert_array_equal(gaze, [[6.5, 8.5, 1]])


def exchange(path):
  """Writes the fixations of the observers as (row, column)."""
  gaze = scipy.io.loadmat(path, simplify_cells=True)["gaze"]
  for observer in gaze:
    observer["fixations"] = np.reshape(observer["fixations"], (-1, 2))[:, ::-1]
  rewrite(path, gaze=gaze)


@pytest.mark.parametrize("size", [SIZE, (64, 48), (64, 64)])
def test_points_as_row_and_column_are_noticed(tmp_path, size):
  source = salicon.write(tmp_path / "s", size=size)
  exchange(source / f"fixations/train/{NAME}.mat")
  with pytest.raises(UserError, match=rf"{NAME}\.mat: the fixations look like \(row, column\)"):
    prepare("salicon", tmp_path, source)
  prepare("salicon", tmp_path, source, skip_bad=True)
  assert len(sources.open_split("salicon", "train", tmp_path)) == 3


def test_points_on_the_diagonal_are_not_refused(tmp_path):
  density = np.zeros(SIZE, np.float32)
  density[20:28, 20:28] = 255
  points = np.array([[21.5, 26.5], [26.5, 21.5], [22.5, 22.5]])
  salicon_dataset_builder._check_order(tmp_path, points, density)


def test_densities_are_at_least_as_high_at_their_own_points(tmp_path):
  for seed in range(50):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, (64, 48), (rng.integers(1, 30), 2))
    density = records.blur_fixations(points, SIZE, 3.0)
    density = np.rint(density * 255 / density.max())
    salicon_dataset_builder._check_order(tmp_path, points, density)
