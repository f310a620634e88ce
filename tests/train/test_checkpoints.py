"""Checkpoints survive damage, wherever they are."""

import json
import pathlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsal.errors import UserError
from jaxsal.train.checkpoints import Checkpoints
from jaxsal.train.state import TrainState


def state_at(step):
  return TrainState(jnp.int32(step), {"w": jnp.full(3, step, jnp.float32)}, {}, {})


def test_a_damaged_checkpoint_in_a_folder_with_brackets(tmp_path, capsys):
  """Brackets in the path look like markup; the path is part of the error that is printed."""
  folder = tmp_path / "[" / "data" / "x]" / "checkpoints"
  checkpoints = Checkpoints(folder, keep=2)
  for step in (1, 2):
    checkpoints.save(step, state_at(step), 10 * step, {"best": None})
  checkpoints.wait()
  checkpoints.close()
  for file in (folder / "2" / "state").rglob("*"):
    if file.is_file():
      file.unlink()

  reopened = Checkpoints(folder, keep=2)
  restored = reopened.restore(jax.eval_shape(lambda: state_at(0)))
  reopened.close()
  assert restored is not None and restored.batches == 10
  np.testing.assert_array_equal(restored.state.params["w"], np.ones(3, np.float32))
  printed = capsys.readouterr().out
  assert "checkpoint 2 cannot be read" in printed and "[/data/x]" in printed


def save(folder, *steps):
  checkpoints = Checkpoints(folder, keep=2)
  for step in steps:
    checkpoints.save(step, state_at(step), 10 * step, {"best": None})
  checkpoints.close()


def restored_step(folder):
  checkpoints = Checkpoints(folder, keep=2)
  try:
    restored = checkpoints.restore(jax.eval_shape(lambda: state_at(0)))
  finally:
    checkpoints.close()
  assert restored is not None
  step = int(restored.state.step)
  assert restored.batches == 10 * step
  np.testing.assert_array_equal(restored.state.params["w"], np.full(3, step, np.float32))
  return step


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  """A folder with the checkpoints 1 and 2, which tests only read."""
  folder = tmp_path_factory.mktemp("run") / "checkpoints"
  save(folder, 1, 2)
  return folder


@pytest.fixture
def folder(saved, tmp_path):
  return shutil.copytree(saved, tmp_path / "checkpoints")


def flip(path, bit):
  content = bytearray(path.read_bytes())
  content[bit // 8] ^= 1 << bit % 8
  path.write_bytes(content)


def test_flipped_bits_are_noticed(saved, tmp_path, capsys):
  files = [path.relative_to(saved) for path in (saved / "2").glob("*/**/*") if path.is_file()]
  files.append(pathlib.Path("2/sha256.json"))
  assert len(files) > 8
  for number, file in enumerate(files):
    folder = shutil.copytree(saved, tmp_path / str(number) / "checkpoints")
    flip(folder / file, 37 * number % (8 * (folder / file).stat().st_size))
    assert restored_step(folder) == 1, file
    printed = capsys.readouterr().out
    assert printed.startswith("checkpoint 2 cannot be read, trying the one before it: ")
    assert (folder.parent / "damaged-checkpoints" / "2").is_dir()


@pytest.mark.parametrize("name", ["_CHECKPOINT_METADATA", "commit_success.txt"])
def test_files_about_the_save_hold_nothing_that_is_restored(folder, name):
  flip(folder / "2" / name, 8)
  assert restored_step(folder) == 2


@pytest.mark.parametrize("content", ["", "[]", "{}", "3", "{", "\xff"])
def test_damaged_digests(folder, content, capsys):
  (folder / "2" / "sha256.json").write_text(content, "latin-1")
  assert restored_step(folder) == 1
  assert "sha256.json is damaged" in capsys.readouterr().out


def test_a_file_that_is_missing(folder, capsys):
  (folder / "2" / "metadata" / "metadata").unlink()
  assert restored_step(folder) == 1
  assert "2/metadata/metadata is missing" in capsys.readouterr().out


def test_every_checkpoint_is_damaged(folder):
  for step in ("1", "2"):
    flip(folder / step / "state" / "_METADATA", 100)
  with pytest.raises(UserError, match=r"All checkpoints .* are damaged.*new --workdir"):
    restored_step(folder)


def test_checkpoints_without_digests_are_restored(folder):
  (folder / "2" / "sha256.json").unlink()
  assert restored_step(folder) == 2


def test_digests_are_complete_when_the_checkpoint_is(saved):
  for step in (saved / "1", saved / "2"):
    files = {path.relative_to(step).as_posix() for path in step.glob("*/**/*") if path.is_file()}
    assert json.loads((step / "sha256.json").read_text()).keys() == files


# Ends the process while the digests of checkpoint 3 are computed.
KILLED = """
import os, pathlib, sys
sys.path.insert(0, sys.argv[2])
import test_checkpoints
from jaxsal.train import checkpoints
def killed(path):
  assert path.is_relative_to(sys.argv[1]), path
  os._exit(99)
checkpoints._digest = killed
test_checkpoints.save(pathlib.Path(sys.argv[1]), 3)
"""


def test_a_run_that_is_killed_while_it_computes_digests(folder):
  command = [sys.executable, "-c", KILLED, str(folder), str(pathlib.Path(__file__).parent)]
  run = subprocess.run(command, capture_output=True, text=True)
  assert run.returncode == 99, run.stderr
  assert not (folder / "3").exists()
  assert restored_step(folder) == 2
  save(folder, 3)
  assert restored_step(folder) == 3
