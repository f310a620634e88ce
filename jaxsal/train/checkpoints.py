"""Saves and restores checkpoints of a training: state, position in the data, metadata.

A checkpoint is a folder with a file `sha256.json`, the digests of its other files. They are written
before the folder gets its name, so that a complete checkpoint always has them. Two files of Orbax
at the top of the folder have none: it completes them later, and restores nothing from them.
Checkpoints of older versions of jaxsal, which have no digests, are restored unchecked.
"""

import hashlib
import json
import pathlib
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxsal.console import say
from jaxsal.errors import UserError
from jaxsal.train.state import TrainState

_DIGESTS = "sha256.json"


class Restored(NamedTuple):
  """A checkpoint's content.

  Attributes:
    state: training state, on the devices.
    batches: number of training batches drawn before the checkpoint was saved.
    metadata: JSON values that were given to `save`.
  """

  state: TrainState
  batches: int
  metadata: dict[str, Any]


class Checkpoints:
  """Writes one folder per step into the folder `checkpoints/` of a workdir, in the background.

  A checkpoint gets its name when it is complete, so an interruption leaves no incomplete one that
  could be taken for a checkpoint.
  """

  def __init__(self, folder: pathlib.Path, keep: int) -> None:
    """Opens or creates the folder.

    Args:
      folder: path of the folder.
      keep: number of checkpoints that are kept; older ones are deleted.
    """
    options = ocp.CheckpointManagerOptions(
      preservation_policy=policies.LatestN(keep),
      cleanup_tmp_directories=True,  # left by a run that was killed
      async_options=ocp.AsyncOptions(post_finalization_callback=self._write_digests),
    )
    self._folder = folder.absolute()
    self._saving = 0
    self._manager = ocp.CheckpointManager(self._folder, options=options)

  @staticmethod
  def exist(folder: pathlib.Path) -> bool:
    """Returns whether a folder has checkpoints, damaged or not, without creating anything."""
    return bool(ocp.utils.checkpoint_steps(folder))

  def save(self, step: int, state: TrainState, batches: int, metadata: dict[str, Any]) -> None:
    """Starts to save a checkpoint; returns when the devices' arrays may change again.

    Args:
      step: number of steps taken.
      state: training state.
      batches: number of training batches drawn.
      metadata: JSON values to keep with the state.
    """
    args = ocp.args.Composite(
      state=ocp.args.StandardSave(_as_dict(state)),
      data=ocp.args.JsonSave({"batches": batches}),
      metadata=ocp.args.JsonSave(metadata),
    )
    self._manager.wait_until_finished()  # the save before, whose step _write_digests needs
    self._saving = step
    with jax.transfer_guard("allow"):
      self._manager.save(step, args=args)

  def restore(self, abstract: TrainState) -> Restored | None:
    """Returns the latest checkpoint that can be read, or None if there are no checkpoints.

    A checkpoint that cannot be read, or whose files differ from their digests, is reported and
    moved to `damaged-checkpoints/`, so that its step can be saved again.

    Args:
      abstract: shapes, dtypes and shardings of the state to restore; the number of devices may
        differ from that of the run which saved it.

    Raises:
      UserError: there are checkpoints, but none can be read.
    """
    steps = sorted(self._manager.all_steps(), reverse=True)
    for step in steps:
      args = ocp.args.Composite(
        state=ocp.args.StandardRestore(_as_dict(abstract)),
        data=ocp.args.JsonRestore(),
        metadata=ocp.args.JsonRestore(),
      )
      try:
        _check_digests(self._folder / str(step))
        content = self._manager.restore(step, args=args)
        return Restored(
          TrainState(**content["state"]), content["data"]["batches"], content["metadata"]
        )
      except Exception as e:  # each storage layer has its own errors for damaged files
        first_line = (str(e) or type(e).__name__).splitlines()[0]
        say(f"checkpoint {step} cannot be read, trying the one before it: {first_line}")
        self._set_aside(step)
    if steps:
      raise UserError(
        f"All checkpoints in {self._folder} are damaged, or were saved by a jaxsal with another "
        f"optimizer state; they were moved to {self._damaged()}: start again with a new --workdir."
      )
    return None

  def latest_step(self) -> int | None:
    """Returns the step of the latest checkpoint, or None if there is none."""
    return self._manager.latest_step()

  def wait(self) -> None:
    """Waits until everything is on disk."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits until everything is on disk, and ends the background threads."""
    self._manager.close()

  def _write_digests(self) -> None:
    """Writes the digests of the checkpoint that is being saved, before it gets its name."""
    for unnamed in self._folder.glob(f"{self._saving}{ocp.utils.TMP_DIR_SUFFIX}*"):
      digests = {name: _digest(unnamed / name) for name in _files(unnamed)}
      (unnamed / _DIGESTS).write_text(json.dumps(digests, indent=2) + "\n", "utf-8")

  def _damaged(self) -> pathlib.Path:
    return self._folder.with_name("damaged-checkpoints")

  def _set_aside(self, step: int) -> None:
    self._damaged().mkdir(exist_ok=True)
    (self._folder / str(step)).rename(self._damaged() / str(step))
    self._manager.reload()


def _as_dict(state: TrainState) -> dict[str, Any]:
  return {name: getattr(state, name) for name in ("step", "params", "model_state", "opt_state")}


def _check_digests(checkpoint: pathlib.Path) -> None:
  """Raises UserError if the files of a checkpoint differ from their digests, if it has any."""
  path = checkpoint / _DIGESTS
  if not path.exists():
    return
  try:
    digests = json.loads(path.read_text("utf-8"))
  except ValueError as error:
    raise UserError(f"{path} is damaged ({error}).") from error
  if not isinstance(digests, dict) or not digests:
    raise UserError(f"{path} is damaged, because it names no files.")
  there = _files(checkpoint)
  for name, digest in digests.items():
    if name not in there:
      raise UserError(f"{checkpoint / name} is missing.")
    if _digest(checkpoint / name) != digest:
      raise UserError(f"{checkpoint / name} has changed since it was written.")


def _files(checkpoint: pathlib.Path) -> list[str]:
  """Returns the paths of the files in the folders of a checkpoint, relative to it."""
  return sorted(
    path.relative_to(checkpoint).as_posix() for path in checkpoint.glob("*/**/*") if path.is_file()
  )


def _digest(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
