"""The command line of the trainer: wrong flags are named, with exit code 2."""

import pathlib
import subprocess
import sys

import pytest

from jaxsal import main

# ml_collections loads recipes with it.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module.. method is deprecated")

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = f"--config={ROOT / 'configs' / 'tsfp.py'}"


def run(*arguments, cwd=ROOT):
  command = [sys.executable, "-m", "jaxsal.main", *arguments]
  done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)
  return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
  ("recipe", "workdir"),
  [
    ("tsfp", "runs/tsfp"),
    ("tsfp:demo", "runs/tsfp-demo"),
    ("configs/tsfp.py", "runs/tsfp"),
    (f"{ROOT}/configs/tsfp.py:demo", "runs/tsfp-demo"),
  ],
)
@pytest.mark.parametrize("form", ["--config={}", "--config {}"])
def test_recipes_and_workdirs_have_names(tmp_path, monkeypatch, capsys, recipe, workdir, form):
  """A shipped recipe is found from any folder."""
  monkeypatch.chdir(tmp_path)
  options = main._parse([*form.format(recipe).split(), "--config.steps=7"])
  assert options.config.model.name == "tsfp" and options.config.steps == 7
  assert options.workdir == workdir and not options.distributed
  output = capsys.readouterr().out
  assert f"reading {ROOT}/configs/tsfp.py" in output
  assert f"workdir: {workdir} (--workdir=DIR names another)" in output


def test_a_named_workdir(capsys):
  options = main._parse(["--config=tsfp", "--workdir=w", "--distributed"])
  assert options.workdir == "w" and options.distributed
  assert "workdir" not in capsys.readouterr().out


def test_errors_of_the_trainer_are_told(tmp_path):
  code, output, errors = run("--config=tsfp", "--config.data.batch_size=-1", cwd=tmp_path)
  assert code == 2 and "data.batch_size is -1" in errors and "Traceback" not in errors
  assert "training in runs/tsfp: starting JAX" in output


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((), "--config is needed, as in: jaxsal train --config=tsfp"),
    (("--workdir=x", "--config"), "there is no such file"),
    ((CONFIG, "--workdir=x", "--config.data.nothing=3"), "The recipe has no field 'nothing'."),
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
