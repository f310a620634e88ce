"""Flipped bits in a model folder are noticed, and folders without digests still load."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from jaxsal import models
from jaxsal.errors import UserError

CONFIG, WEIGHTS = "model.json", "model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  network = models.create("tsfp", "tiny", length=16, size=(64, 96), mean=(0.1, 0.2, 0.3))
  origin = {"run": "test", "validation": {"nss": float("nan"), "cc": 0.1}}
  return models.save(network, tmp_path_factory.mktemp("models") / "a", origin)


@pytest.fixture
def copy(saved, tmp_path):
  return shutil.copytree(saved, tmp_path / "a")


def flip(path, bit):
  content = bytearray(path.read_bytes())
  content[bit // 8] ^= 1 << bit % 8
  path.write_bytes(content)


def test_the_digest_is_that_of_the_file(saved):
  digests = json.loads((saved / CONFIG).read_text())["sha256"]
  assert digests.keys() == {CONFIG, WEIGHTS}
  assert digests[WEIGHTS] == hashlib.sha256((saved / WEIGHTS).read_bytes()).hexdigest()
  assert digests[WEIGHTS] == models.weights_sha256(models.load(saved))


def test_flipped_bits_of_the_weights(saved, copy):
  content = (saved / WEIGHTS).read_bytes()
  header = 8 * 8 + 8 * int.from_bytes(content[:8], "little")
  rng = np.random.default_rng(0)
  bits = [rng.integers(0, end, 12).tolist() for end in (8 * len(content), header)]
  for bit in [*bits[0], *bits[1], 8 * len(content) - 1]:
    flip(copy / WEIGHTS, bit)
    with pytest.raises(UserError, match=f"is damaged|{WEIGHTS} (is missing or damaged|does not)"):
      models.load(copy)
    flip(copy / WEIGHTS, bit)
  models.load(copy)


def test_flipped_bits_of_the_description(saved, copy):
  # One bit of each eighth byte is tried, another one each time.
  for bit in range(3, 8 * len((saved / CONFIG).read_bytes()), 8 * 8 + 1):
    flip(copy / CONFIG, bit)
    with pytest.raises(UserError):
      models.load(copy)
    flip(copy / CONFIG, bit)
  models.load(copy)


def test_damaged_weights_change_no_network(saved, copy):
  flip(copy / WEIGHTS, 8 * (copy / WEIGHTS).stat().st_size - 40)
  other = models.create("tsfp", "tiny", length=16)
  before = models.arrays(other)
  with pytest.raises(
    UserError, match=r"model\.safetensors is damaged, because it differs from its SHA-256: write"
  ):
    models.copy_weights(copy, other)
  for name, value in models.arrays(other).items():
    np.testing.assert_array_equal(value, before[name])


def test_an_edited_description_says_how_to_keep_it(copy):
  description = json.loads((copy / CONFIG).read_text())
  description["config"]["mean"] = [0.5, 0.5, 0.5]
  (copy / CONFIG).write_text(json.dumps(description))
  with pytest.raises(
    UserError,
    match=r"model\.json is damaged, .*edited it, remove the entry sha256 from model\.json\.$",
  ):
    models.load(copy)
  del description["sha256"]
  (copy / CONFIG).write_text(json.dumps(description))
  assert models.load(copy).mean == (0.5, 0.5, 0.5)


def test_another_layout_of_the_description_is_the_same(copy):
  (copy / CONFIG).write_text(json.dumps(json.loads((copy / CONFIG).read_text()), sort_keys=True))
  models.load(copy)


def test_folders_without_digests_still_load(saved, copy):
  description = json.loads((copy / CONFIG).read_text())
  del description["sha256"]
  (copy / CONFIG).write_text(json.dumps(description, indent=2) + "\n")
  loaded, expected = (models.arrays(models.load(folder)) for folder in (copy, saved))
  for name, value in expected.items():
    np.testing.assert_array_equal(loaded[name], value)
