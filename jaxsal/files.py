"""Output that is complete or not there."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def replacing_folder(folder: str | pathlib.Path) -> Iterator[pathlib.Path]:
  """Gives a temporary folder that takes the place of `folder` when the block ends without error.

  After an error, and after an interruption, `folder` is as it was. A link is followed.
  """
  folder = pathlib.Path(folder).resolve()
  folder.parent.mkdir(parents=True, exist_ok=True)
  temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
  try:
    yield temporary
    temporary.chmod(0o755)
    if folder.exists():
      old = temporary.with_name(temporary.name + "-old")
      try:
        os.rename(folder, old)
        os.rename(temporary, folder)
      except BaseException:
        if old.exists() and not folder.exists():
          os.rename(old, folder)
        raise
      shutil.rmtree(old)
    else:
      os.rename(temporary, folder)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | pathlib.Path, text: str) -> None:
  """Writes a file in one step: readers see the old text or the new one."""
  path = pathlib.Path(path)
  temporary = path.with_name(f".{path.name}.tmp")
  temporary.write_text(text)
  os.replace(temporary, path)
