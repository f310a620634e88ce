"""Ends trainings by signals and continues them, as a user does."""

import os
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from recipe import flags

from jaxsal.train import log

STEPS = 24
RECIPE = {"steps": STEPS, "checkpoint__every": 5, "eval__every": 12, "data__batch_size": 4}


@pytest.fixture(scope="module")
def environment():
  """Returns an environment with one CPU device, as users have, instead of the tests' eight."""
  flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
  return os.environ | {"XLA_FLAGS": flags}


def start(arguments, environment):
  command = [sys.executable, "-m", "jaxsal.main", *arguments]
  return subprocess.Popen(
    command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
  )


def finish(process):
  output, _ = process.communicate(timeout=300)
  return process.returncode, output


def send_at(process, workdir, step, number):
  """Sends a signal once the log has reached `step`."""
  deadline = time.monotonic() + 240
  while time.monotonic() < deadline and process.poll() is None:
    if workdir.exists() and any(row["step"] >= step for row in log.read(workdir)):
      process.send_signal(number)
      return
    time.sleep(0.01)
  raise AssertionError(f"step {step} was not reached: {process.communicate()[0]}")


def final_state(workdir):
  path = workdir / "checkpoints" / str(STEPS) / "state"
  return jax.tree.map(np.asarray, ocp.StandardCheckpointer().restore(path))


def losses(workdir):
  return [(row["step"], row.get("train/loss")) for row in log.read(workdir)]


def test_interrupted_twice_equals_uninterrupted(tmp_path, data_dir, environment):
  code, output = finish(start(flags(data_dir, tmp_path / "whole", **RECIPE), environment))
  assert code == 0, output

  rng = random.Random()  # a different step in each run: any must do
  workdir = tmp_path / "interrupted"
  arguments = flags(data_dir, workdir, **RECIPE)

  process = start(arguments, environment)
  send_at(process, workdir, rng.randrange(2, 8), signal.SIGTERM)
  code, output = finish(process)
  assert code == 128 + signal.SIGTERM, output
  assert "the same command continues from there" in output

  process = start(arguments, environment)
  send_at(process, workdir, rng.randrange(12, 20), signal.SIGKILL)
  code, output = finish(process)
  assert code == -signal.SIGKILL, output

  code, output = finish(start(arguments, environment))
  assert code == 0 and "continuing after step" in output, output

  whole, resumed = final_state(tmp_path / "whole"), final_state(workdir)
  assert jax.tree.structure(whole) == jax.tree.structure(resumed)
  for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed)):
    np.testing.assert_array_equal(a, b)
  assert losses(workdir) == losses(tmp_path / "whole")
  best = [
    (tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("whole", workdir)
  ]
  assert best[0] == best[1]
