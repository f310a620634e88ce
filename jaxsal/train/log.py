"""Logs the scalars of a training to log.jsonl and TensorBoard."""

import json
import pathlib
from typing import Any

import tensorboardX

from jaxsal import files


class Log:
  """Writes scalars by step; a resumed run continues the log of the interrupted one."""

  def __init__(self, workdir: pathlib.Path, resumed_at: int, *, active: bool = True) -> None:
    """Opens the log, and removes the rows of an interrupted run that this run repeats.

    Args:
      workdir: folder of the training.
      resumed_at: step after which this run continues; 0 for a new training.
      active: whether this process writes; only one of several processes does.
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
    """Adds the row {"step": ..., "PREFIX/NAME": ...} to the file and to TensorBoard."""
    if not self._active:
      return
    row: dict[str, Any] = {f"{prefix}/{name}": float(value) for name, value in scalars.items()}
    self._file.write(json.dumps({"step": step, **row}) + "\n")
    self._file.flush()
    for name, value in row.items():
      self._events.add_scalar(name, value, step)

  def close(self) -> None:
    """Closes the files."""
    if self._active:
      self._file.close()
      self._events.close()


def read(workdir: pathlib.Path) -> list[dict[str, float]]:
  """Returns the rows of a workdir's log, without a last line that a killed run left incomplete."""
  path = workdir / "log.jsonl"
  lines = path.read_text().splitlines(keepends=True) if path.exists() else []
  return [json.loads(line) for line in lines if line.endswith("\n")]
