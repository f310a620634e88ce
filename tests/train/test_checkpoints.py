"""Checkpoints survive damage, wherever they are."""

import jax
import jax.numpy as jnp
import numpy as np

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
