"""The command line of the trainer: wrong flags are named, with exit code 2."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = f"--config={ROOT / 'configs' / 'tsfp.py'}"


def run(*arguments):
  command = [sys.executable, "-m", "jaxsal.main", *arguments]
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
  return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((), "--config and --workdir are both needed"),
    ((CONFIG,), "--config and --workdir are both needed"),
    ((CONFIG, "--workdir=x", "--config.optimiser.name=sgd"), "optimiser"),
    ((CONFIG, "--workdir=x", "--config.steps=many"), "steps"),
    ((CONFIG, "--workdir=x", "--stpes=3"), "stpes"),
    ((CONFIG, "--workdir=x", "steps=3"), "'steps=3' is not understood"),
    (("--config=configs/missing.py", "--workdir=x"), "missing.py"),
    ((f"{CONFIG}:dhf2k", "--workdir=x"), "the recipes are demo, dhf1k, hollywood2, ucf"),
  ],
)
def test_wrong_arguments(arguments, message):
  code, _, errors = run(*arguments)
  assert code == 2, errors
  assert errors.startswith("jaxsal: error: ") and message in errors
  assert "Traceback" not in errors
  assert not (ROOT / "x").exists()


def test_help_teaches():
  code, output, _ = run("--help")
  assert code == 0
  for text in ("--config=configs/tsfp.py", "--workdir", ":dhf1k", "jaxsal predict"):
    assert text in output
