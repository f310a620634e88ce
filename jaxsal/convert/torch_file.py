"""PyTorch's file formats, read without PyTorch, and without running code that a file names.

A file is a pickle whose tensors point to storages: since PyTorch 1.6 members of a zip archive, and
before that blocks of bytes after the pickle. The unpickler here knows the few names that a state
dict of tensors needs and refuses every other.
"""

import collections
import io
import math
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES = {
  "DoubleStorage": np.float64,
  "FloatStorage": np.float32,
  "HalfStorage": np.float16,
  "BFloat16Storage": ml_dtypes.bfloat16,
  "LongStorage": np.int64,
  "IntStorage": np.int32,
  "ShortStorage": np.int16,
  "CharStorage": np.int8,
  "ByteStorage": np.uint8,
  "BoolStorage": np.bool_,
}

_HALF = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))


class _Storage(NamedTuple):
  """A block of numbers: its key in the file, their type and their number."""

  key: str
  dtype: np.dtype
  elements: int


class _Tensor(NamedTuple):
  """A view of a storage, not read yet; offset and strides count elements."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


def load(path: pathlib.Path) -> Any:
  """Reads a file that `torch.save` wrote.

  Returns:
    What was saved, with NumPy arrays for tensors and parameters; half precision becomes float32.

  Raises:
    pickle.UnpicklingError: The file is none of PyTorch's, or names code other than tensors'.
    ValueError, OSError, EOFError, zipfile.BadZipFile: The file is damaged.
  """
  if zipfile.is_zipfile(path):
    return _load_archive(path)
  with path.open("rb") as file:
    return _load_legacy(file)


def _load_archive(path: pathlib.Path) -> Any:
  with zipfile.ZipFile(path) as archive:
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
      raise pickle.UnpicklingError("the archive holds no PyTorch data")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in archive.namelist():
      raise pickle.UnpicklingError("the file is a TorchScript program")
    content = _Unpickler(io.BytesIO(archive.read(pickles[0]))).load()

    def read(storage: _Storage) -> bytes:
      return archive.read(f"{folder}data/{storage.key}")

    return _resolve(content, read)


def _load_legacy(file: io.BufferedReader) -> Any:
  if _Unpickler(file).load() != _MAGIC or _Unpickler(file).load() != _PROTOCOL:
    raise pickle.UnpicklingError("the file does not begin as PyTorch's do")
  _Unpickler(file).load()  # sizes of C's types on the machine that wrote it
  unpickler = _Unpickler(file)
  content = unpickler.load()
  keys = _Unpickler(file).load()
  blocks = {}
  for key in keys:
    storage = unpickler.storages[key]
    (count,) = struct.unpack("<q", file.read(8))
    if count != storage.elements:
      raise ValueError(f"storage {key} has {count} elements, {storage.elements} were announced")
    blocks[key] = file.read(count * storage.dtype.itemsize)
  return _resolve(content, lambda storage: blocks[storage.key])


class _Unpickler(pickle.Unpickler):
  """Reads pickles of dictionaries, lists, numbers, text and tensors.

  Attributes:
    storages: the storages that tensors point to, by key.
  """

  def __init__(self, file: Any) -> None:
    super().__init__(file, encoding="utf-8")
    self.storages: dict[str, _Storage] = {}

  def find_class(self, module: str, name: str) -> Any:
    if module == "torch" and name in _DTYPES:
      return np.dtype(_DTYPES[name])
    known: dict[tuple[str, str], Callable[..., Any]] = {
      ("collections", "OrderedDict"): collections.OrderedDict,
      ("torch", "Size"): tuple,
      ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
      ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    }
    try:
      return known[module, name]
    except KeyError:
      raise pickle.UnpicklingError(f"it names {module}.{name}, which is no tensor") from None

  def persistent_load(self, pid: Any) -> _Storage:
    kind, dtype, key, _, count, *_ = pid
    if kind != "storage" or not isinstance(dtype, np.dtype) or not isinstance(count, int):
      raise pickle.UnpicklingError("it points to something that is no storage")
    return self.storages.setdefault(str(key), _Storage(str(key), dtype, count))


def _rebuild_tensor(
  storage: _Storage, offset: int, shape: Iterable[int], strides: Iterable[int], *_: Any
) -> _Tensor:
  return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _resolve(content: Any, read: Callable[[_Storage], bytes]) -> Any:
  """Replaces tensors by arrays; a storage that several tensors share is read once."""
  blocks: dict[str, np.ndarray] = {}

  def array(tensor: _Tensor) -> np.ndarray:
    storage, offset, shape, strides = tensor
    if storage.key not in blocks:
      blocks[storage.key] = np.frombuffer(read(storage), storage.dtype, storage.elements)
    numbers = [offset, *shape, *strides]
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides))
    size = math.prod(shape)
    if min(numbers) < 0 or len(shape) != len(strides) or size > storage.elements:
      raise ValueError(f"a tensor of shape {shape} does not fit its storage")
    if size and last >= storage.elements:
      raise ValueError(f"a tensor of shape {shape} reaches beyond its storage")
    block, item = blocks[storage.key][offset:], storage.dtype.itemsize
    view = np.lib.stride_tricks.as_strided(block, shape, [s * item for s in strides])
    # NumPy has no bfloat16 of its own, and parameters are float32 here.
    return view.astype(np.float32 if storage.dtype in _HALF else storage.dtype)

  def walk(value: Any) -> Any:
    if isinstance(value, _Tensor):
      return array(value)
    if isinstance(value, dict):
      return {key: walk(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
      return type(value)(map(walk, value))
    return value

  return walk(content)
