"""Checkpoints of a training: the state, the position in the data, and what belongs to them."""

import pathlib
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxsal.console import console
from jaxsal.errors import UserError
from jaxsal.train.state import TrainState


class Restored(NamedTuple):
  """A checkpoint's content.

  Attributes:
    state: on the devices.
    batches: number of training batches drawn before it was saved.
    metadata: JSON values given to `save`.
  """

  state: TrainState
  batches: int
  metadata: dict[str, Any]


class Checkpoints:
  """The folder `checkpoints/` of a workdir; writes in the background, one folder per step.

  A checkpoint gets its name when it is complete, so an interruption leaves none that looks whole.
  """

  def __init__(self, folder: pathlib.Path, keep: int) -> None:
    """Keeps the latest `keep` checkpoints."""
    options = ocp.CheckpointManagerOptions(
      preservation_policy=policies.LatestN(keep),
      cleanup_tmp_directories=True,  # left by a run that was killed
    )
    self._folder = folder.absolute()
    self._manager = ocp.CheckpointManager(self._folder, options=options)

  @staticmethod
  def exist(folder: pathlib.Path) -> bool:
    """Whether a folder has checkpoints, damaged or not; nothing is created."""
    return bool(ocp.utils.checkpoint_steps(folder))

  def save(self, step: int, state: TrainState, batches: int, metadata: dict[str, Any]) -> None:
    """Starts to save the state; returns when the devices' arrays may change again."""
    args = ocp.args.Composite(
      state=ocp.args.StandardSave(_as_dict(state)),
      data=ocp.args.JsonSave({"batches": batches}),
      metadata=ocp.args.JsonSave(metadata),
    )
    with jax.transfer_guard("allow"):
      self._manager.save(step, args=args)

  def restore(self, abstract: TrainState) -> Restored | None:
    """The latest checkpoint that can be read, or None if there is none.

    Of another it is said that it cannot be read; it is moved to `damaged-checkpoints/`, so that its
    step can be saved again.

    Args:
      abstract: shapes, dtypes and shardings of the state to restore into; another number of devices
        than the one that saved is fine.

    Raises:
      UserError: if there are checkpoints and none of them can be read.
    """
    steps = sorted(self._manager.all_steps(), reverse=True)
    for step in steps:
      args = ocp.args.Composite(
        state=ocp.args.StandardRestore(_as_dict(abstract)),
        data=ocp.args.JsonRestore(),
        metadata=ocp.args.JsonRestore(),
      )
      try:
        content = self._manager.restore(step, args=args)
        return Restored(
          TrainState(**content["state"]), content["data"]["batches"], content["metadata"]
        )
      except Exception as e:  # every storage layer below has its own errors for damaged files
        first_line = (str(e) or type(e).__name__).splitlines()[0]
        console.print(f"checkpoint {step} cannot be read, trying the one before it: {first_line}")
        self._set_aside(step)
    if steps:
      raise UserError(
        f"all checkpoints in {self._folder} are damaged, or from a jaxsal whose optimizer state is "
        f"another; they were moved to {self._damaged()}: start again with a new --workdir"
      )
    return None

  def latest_step(self) -> int | None:
    """Step of the latest checkpoint, or None."""
    return self._manager.latest_step()

  def wait(self) -> None:
    """Returns when everything is on disk."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits, and ends the background threads."""
    self._manager.close()

  def _damaged(self) -> pathlib.Path:
    return self._folder.with_name("damaged-checkpoints")

  def _set_aside(self, step: int) -> None:
    self._damaged().mkdir(exist_ok=True)
    (self._folder / str(step)).rename(self._damaged() / str(step))
    self._manager.reload()


def _as_dict(state: TrainState) -> dict[str, Any]:
  return {name: getattr(state, name) for name in ("step", "params", "model_state", "opt_state")}
