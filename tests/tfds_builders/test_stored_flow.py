"""Optical flow that a builder stores, or that is computed for a batch."""

import contextlib
import itertools
import types

import cv2
import numpy as np
import pytest
from trees import annotated, ucf

from jaxsal import models
from jaxsal.data import flow, sources, transforms
from jaxsal.data.pipeline import eval_batches, train_batches
from jaxsal.errors import UserError
from jaxsal.tfds_builders.build import prepare
from jaxsal.train import loop

SIZE = (120, 160)
CLIP = {"length": 1, "size": SIZE, "target": "last", "padding": "repeat", "flow": True}
# One video has five frames, in which a square moves by (2, 1) pixels, and one has a single frame.
VIDEOS = {"train": (5,), "test": (1,)}


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory):
  return ucf.write(tmp_path_factory.mktemp("downloads") / "ucf", **VIDEOS)


@pytest.fixture(scope="module")
def data_dir(downloaded, tmp_path_factory):
  """Prepares sets with stored flow and without."""
  folder = tmp_path_factory.mktemp("data")
  for name in ("ucf/480x640", "ucf"):
    prepare(name, folder, downloaded, skip_bad=True)
  return folder


def check_motion(images):
  """Checks that the first video's square moves right and down, in frames of any size."""
  centres = annotated.centres(5, ucf.SIZES[1], 1)
  for image, (x, y) in zip(images, centres, strict=True):
    down, right = np.divide(image.shape[:2], ucf.SIZES[1])
    rows, columns = (slice(int((v - 1) * s), int((v + 2) * s)) for v, s in ((y, down), (x, right)))
    motion = np.median(flow.image_flow(image)[rows, columns].reshape(-1, 2), axis=0)
    wanted = np.array([2 * right, down]) / np.hypot(2 * right, down)
    assert motion @ wanted > 0.7 * np.linalg.norm(motion) > 0.2


def test_a_set_holds_the_flow_of_its_frames(data_dir):
  train, test = (sources.open_split("ucf/480x640", name, data_dir) for name in VIDEOS)
  assert train.flow_method == train.metadata["flow"] == "dis"
  images = [transforms.decode_frame(train[i]["flow"], "") for i in range(5)]
  assert images[0].shape == (480, 640, 3)
  check_motion(images)
  assert transforms.decode_frame(test[0]["flow"], "").min() == 255


@pytest.mark.parametrize("name", ["ucf/480x640", "ucf"])
def test_batches_hold_flow(data_dir, name):
  split = sources.open_split(name, "train", data_dir)
  assert ("flow" in split.features) == (name != "ucf")
  (first, second) = eval_batches(split, batch_size=4, **CLIP)
  assert first["flow"].shape == (4, *SIZE, 3) and first["flow"].dtype == np.uint8
  check_motion([*first["flow"], second["flow"][0]])
  assert not second["flow"][1:].any() and second["mask"].tolist() == [1, 0, 0, 0]
  (alone,) = eval_batches(sources.open_split(name, "test", data_dir), batch_size=1, **CLIP)
  assert alone["flow"].min() == 255


@pytest.mark.parametrize("name", ["ucf/480x640", "ucf"])
def test_mirrored_clips_have_the_flow_of_mirrored_frames(data_dir, name):
  split = sources.open_split(name, "train", data_dir)
  plain = [
    (frames[0], image)
    for batch in eval_batches(split, batch_size=5, **CLIP)
    for frames, image in zip(batch["frames"], batch["flow"])
  ]
  with contextlib.closing(train_batches(split, batch_size=4, seed=0, **CLIP)) as batches:
    batches = list(itertools.islice(batches, 3))
  flips = 0
  for frames, image in (row for b in batches for row in zip(b["frames"], b["flow"])):
    flipped = [i for i, (frame, _) in enumerate(plain) if (cv2.flip(frame, 1) == frames[0]).all()]
    straight = [i for i, (frame, _) in enumerate(plain) if (frame == frames[0]).all()]
    (number,) = flipped + straight
    flips += len(flipped)
    wanted = flow.mirror(plain[number][1]) if flipped else plain[number][1]
    np.testing.assert_array_equal(image, wanted)
  assert 0 < flips < 12


@pytest.fixture
def pwcnet(monkeypatch):
  """Replaces a PWC-Net's folder: everything came from 0.6 pixels to the right and 0.8 above."""
  find = models.flow_estimator

  def estimator(folder=None):
    if folder is None:
      return find()
    return flow.Estimator(
      f"pwcnet {folder}", lambda first, _: np.full((*first.shape[:2], 2), (0.6, -0.8), np.float32)
    )

  monkeypatch.setattr(models, "flow_estimator", estimator)
  monkeypatch.setattr(flow, "_is_cut", lambda *_: False)  # so wrong a flow would look like a cut
  return "somewhere"


def test_flow_by_pwcnet(downloaded, data_dir, tmp_path, pwcnet):
  prepare("ucf/480x640", tmp_path, downloaded, skip_bad=True, flow_from=pwcnet)
  split = sources.open_split("ucf/480x640", "train", tmp_path)
  assert split.flow_method == "pwcnet somewhere"
  found = flow.image_flow(transforms.decode_frame(split[2]["flow"], ""))
  np.testing.assert_allclose(found.mean((0, 1)), [-0.6, 0.8], atol=0.05)
  prepare("ucf/480x640", tmp_path, downloaded, flow_from=pwcnet)  # built before, the same
  with pytest.raises(UserError, match="holds flow by pwcnet somewhere, not by the network in else"):
    prepare("ucf/480x640", tmp_path, downloaded, flow_from="elsewhere")
  for name in ("ucf", "demo/tiny"):
    with pytest.raises(UserError, match="holds no optical flow: leave out --flow-from"):
      prepare(name, tmp_path, downloaded, flow_from=pwcnet)
  other = sources.open_split("ucf", "train", data_dir)
  with pytest.raises(UserError, match="was computed by different methods") as error:
    loop._flow_method([split, other])
  assert "ucf/480x640/1.0.0: pwcnet somewhere\n  ucf/native/1.0.0: dis" in str(error.value)
  assert loop._flow_method([other, types.SimpleNamespace(dataset="x", flow_method="dis")]) == "dis"
