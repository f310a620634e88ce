"""Checkpoint files: all formats read the same, and nothing in them is executed."""

import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from jaxsal import convert
from jaxsal.errors import UserError


def state_dict():
  rng = np.random.default_rng(0)
  return {
    "base.0.weight": rng.standard_normal((4, 3, 2)).astype(np.float32),
    "base.0.count": np.array(7, np.int64),
  }


def assert_read(path):
  actual = convert.read_state_dict(path)
  assert list(actual) == list(state_dict())
  for name, value in state_dict().items():
    assert actual[name].dtype == value.dtype
    np.testing.assert_array_equal(actual[name], value)


@pytest.fixture
def torch():
  return pytest.importorskip("torch", reason="writes PyTorch files: pip install 'jaxsal[torch]'")


WRAPPERS = {
  "bare": lambda d: d,
  "state_dict": lambda d: {"epoch": 3, "state_dict": d},
  "model_state_dict": lambda d: {"model_state_dict": d, "best": 0.5},
  "module": lambda d: {f"module.{k}": v for k, v in d.items()},
  "module in state_dict": lambda d: {"state_dict": {f"module.{k}": v for k, v in d.items()}},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_files(torch, tmp_path, wrapper, zipped):
  path = tmp_path / "a.pth.tar"
  tensors = {k: torch.tensor(v) for k, v in state_dict().items()}
  torch.save(WRAPPERS[wrapper](tensors), path, _use_new_zipfile_serialization=zipped)
  assert_read(path)
  assert_read(str(path))


@pytest.mark.parametrize("wrapper", ["bare", "module"])
def test_safetensors_files(tmp_path, wrapper):
  path = tmp_path / "a.safetensors"
  safetensors.numpy.save_file(WRAPPERS[wrapper](state_dict()), path)
  actual = convert.read_state_dict(path)
  assert sorted(actual) == sorted(state_dict())
  for name, value in state_dict().items():
    np.testing.assert_array_equal(actual[name], value)


def test_half_precision_files(torch, tmp_path):
  value = np.array([1.0, 1.5, -2.0], np.float32)
  for dtype in (torch.float16, torch.bfloat16):
    torch.save({"a": torch.tensor(value, dtype=dtype)}, tmp_path / "a.pt")
    actual = convert.read_state_dict(tmp_path / "a.pt")["a"]
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual, value)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_safetensors(tmp_path, dtype):
  value = np.array([1.0, 1.5, -2.0], np.float32)
  safetensors.numpy.save_file({"a": value.astype(dtype)}, tmp_path / "a.safetensors")
  actual = convert.read_state_dict(tmp_path / "a.safetensors")["a"]
  np.testing.assert_array_equal(actual.astype(np.float32), value)


class Code:
  """An object that makes a folder when it is unpickled."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    import os

    return os.mkdir, (str(self.path),)


def test_code_in_a_file_is_not_run(torch, tmp_path):
  made = tmp_path / "made"
  for i, save in enumerate((True, False)):
    path, content = tmp_path / f"{i}.pth", {"a": Code(made)}
    if save:
      torch.save(content, path)
    else:
      path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UserError, match=rf"{i}\.pth is refused"):
      convert.read_state_dict(path)
    assert not made.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", ["a.pt", "old.pt", "a.safetensors"])
def test_a_truncated_file_is_named(torch, tmp_path, name, share):
  path = tmp_path / name
  if path.suffix == ".safetensors":
    safetensors.numpy.save_file(state_dict(), path)
  else:
    tensors = {k: torch.tensor(v) for k, v in state_dict().items()}
    torch.save(tensors, path, _use_new_zipfile_serialization=name == "a.pt")
  content = path.read_bytes()
  path.write_bytes(content[: int(share * len(content))])
  with pytest.raises(UserError, match=name):
    convert.read_state_dict(path)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"<html>404</html>", b"\x00" * 64, bytes(range(256))])
def test_something_else_is_named(torch, tmp_path, name, content):
  path = tmp_path / name
  path.write_bytes(content)
  with pytest.raises(UserError, match=name):
    convert.read_state_dict(path)


def test_a_zip_without_a_checkpoint_is_named(torch, tmp_path):
  with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
    archive.writestr("readme.txt", "nothing here")
  with pytest.raises(UserError, match=r"a\.pt"):
    convert.read_state_dict(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [{}, [], 3, {"epoch": 3}, {"state_dict": {"a": "b"}}])
def test_a_file_without_a_state_dict_is_named(torch, tmp_path, content):
  torch.save(content, tmp_path / "a.pt")
  with pytest.raises(UserError, match=r"a\.pt holds no state dict"):
    convert.read_state_dict(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["none.pth", "none.safetensors", "."])
def test_a_missing_file_is_named(tmp_path, name):
  with pytest.raises(UserError, match="does not exist: give"):
    convert.read_state_dict(tmp_path / name)
