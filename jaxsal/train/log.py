"""What a training writes down while it runs: log.jsonl and TensorBoard events."""

import json
import pathlib
from typing import Any

import tensorboardX

from jaxsal import files


class Log:
  """Scalars by step. A resumed run continues the log of the interrupted one."""

  def __init__(self, workdir: pathlib.Path, resumed_at: int, *, active: bool = True) -> None:
    """Forgets what an interrupted run logged after the step at which this one resumes.

    Of several processes one is `active` and writes.
    """
    self._active = active
    if not active:
      return
    self._path = workdir / "log.jsonl"
    kept = [row for row in read(workdir) if row["step"] <= resumed_at]
    files.write_text(self._path, "".join(json.dumps(row) + "\n" for row in kept))
    self._file = self._path.open("a")
    self._events = tensorboardX.SummaryWriter(
      str(workdir / "tensorboard"), purge_step=resumed_at + 1 if resumed_at else None
    )

  def write(self, step: int, prefix: str, scalars: dict[str, float]) -> None:
    """Adds one row, {"step": ..., "PREFIX/NAME": ...}, and the same to TensorBoard."""
    if not self._active:
      return
    row: dict[str, Any] = {f"{prefix}/{name}": float(value) for name, value in scalars.items()}
    self._file.write(json.dumps({"step": step, **row}) + "\n")
    self._file.flush()
    for name, value in row.items():
      self._events.add_scalar(name, value, step)

  def close(self) -> None:
    if self._active:
      self._file.close()
      self._events.close()


def read(workdir: pathlib.Path) -> list[dict[str, float]]:
  """The rows logged so far; a last line cut off by a kill is left out."""
  path = workdir / "log.jsonl"
  lines = path.read_text().splitlines(keepends=True) if path.exists() else []
  return [json.loads(line) for line in lines if line.endswith("\n")]
