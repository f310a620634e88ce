"""The command: its help, its exit codes, its output, and how soon that comes."""

import re
import subprocess
import sys
import types
from pathlib import Path

import clips
import pytest

import jaxsal as package
from jaxsal import __version__, cli
from jaxsal.models import SaliencyConfig, SaliencyModel


class Brightness(SaliencyModel):
  """Map = brightness of the last frame."""

  def __init__(self):
    super().__init__(SaliencyConfig(length=2, size=(16, 24), mean=(0, 0, 0), std=(1, 1, 1)))

  def __call__(self, frames):
    return frames[:, -1].mean(-1)


@pytest.fixture(autouse=True)
def model(monkeypatch):
  """Replaces every model folder."""
  monkeypatch.setattr("jaxsal.models.load", lambda path: Brightness())


@pytest.fixture
def clip(tmp_path):
  return clips.write_clip(tmp_path / "square.mp4", clips.moving_square(6, 34, 50))


def jaxsal(capsys, *argv):
  """Returns exit code, stdout and stderr of a command."""
  try:
    code = cli.main([str(arg) for arg in argv])
  except SystemExit as stop:  # argparse
    code = stop.code
  return code, *capsys.readouterr()


SLOW = ("jax", "flax", "numpy", "cv2", "av", "matplotlib", "tensorflow_datasets", "grain", "orbax")


@pytest.mark.parametrize("statement", ["import jaxsal", "from jaxsal import cli; cli.main([])"])
def test_help_starts_without_slow_modules(statement):
  code = f"import sys; {statement}; print([name for name in {SLOW} if name in sys.modules])"
  run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert run.stdout.splitlines()[-1] == "[]"


# Ends the process when a command begins to import one of SLOW, with exit code 99.
UNTIL_SLOW = f"""
import os, sys
class Finder:
  def find_spec(self, name, *_):
    if name in {SLOW}:
      os._exit(99)
sys.meta_path.insert(0, Finder())
from jaxsal import cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
  ("argv", "said"),
  [
    (["train", "--config=tsfp"], "reading .*tsfp.py"),
    (["predict", "a.mp4", "--out=o"], "predicting a.mp4 with unisal, the default model"),
    (["predict", "a.mp4", "--model=m", "--out=o"], "predicting a.mp4 with m"),
    (["predict", "a.mp4", "b.mp4", "--model=m", "--out=o"], "predicting 2 videos with m"),
    (
      ["evaluate", "--model=m", "--dataset=d", "--split=s", "--out=o"],
      "evaluating m on d, split s",
    ),
    (["compare", "a", "b", "--out=c.png"], "comparing a with b"),
    (
      ["submit", "--model=m", "--dataset=d", "--split=s", "--out=o"],
      "predicting d, split s, with m",
    ),
    (["convert", "--to-torch=m", "--out=a.pt"], "reading m"),
    (["prepare", "demo"], "builds demo"),
  ],
)
def test_something_is_said_before_slow_imports(tmp_path, argv, said):
  command = [sys.executable, "-c", UNTIL_SLOW, *argv]
  run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
  assert run.returncode == 99 and run.stderr == ""
  assert re.search(said, run.stdout)


def test_public_names():
  for name in package.__all__:
    assert getattr(package, name) is not None
  with pytest.raises(AttributeError, match="module 'jaxsal' has no attribute 'predictor'"):
    package.predictor  # noqa: B018


def test_no_command_prints_the_help(capsys):
  code, out, _ = jaxsal(capsys)
  assert code == 0 and "predict" in out and "jaxsal COMMAND --help" in out


def test_version(capsys):
  assert jaxsal(capsys, "--version") == (0, f"jaxsal {__version__}\n", "")


def test_python_m_jaxsal():
  command = [sys.executable, "-m", "jaxsal", "--version"]
  run = subprocess.run(command, capture_output=True, text=True, check=True)
  assert run.stdout == f"jaxsal {__version__}\n"


@pytest.mark.parametrize("command", list(cli._COMMANDS))
def test_help_shows_an_example(capsys, command):
  code, out, _ = jaxsal(capsys, command, "--help")
  assert code == 0
  assert f"\n  jaxsal {command} " in out


def test_predict_one_video(capsys, tmp_path, clip):
  out = tmp_path / "out"
  code, printed, errors = jaxsal(
    capsys, "predict", "--model=m", clip, f"--out={out}", "--maps=both", "--blur=1"
  )
  assert (code, errors) == (0, "")
  assert {path.name for path in out.iterdir()} == {"maps", "maps.npz", "overlay.mp4"}
  assert re.search(r"6 frames in .* s, .* frames/s \(network alone .*\) -> .*out", printed)
  assert re.search(r"clips at a time on \d+ x \w+, compiled in", printed)


def test_predict_takes_weights_by_name(capsys, tmp_path, clip, monkeypatch):
  """The tiny network stands for the published weights in the cache; nothing is fetched."""
  from jaxsal import models, weights

  monkeypatch.undo()  # the fixture that replaces every model folder
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  monkeypatch.setenv("JAXSAL_OFFLINE", "1")
  code, _, errors = jaxsal(capsys, "predict", clip, f"--out={tmp_path / 'out'}")
  assert code == 2 and "jaxsal weights fetch unisal --from=FILE" in errors
  models.save(models.create("unisal", "tiny"), weights.folder_of("unisal"))
  command = ("predict", clip, f"--out={tmp_path / 'out'}", "--stride=2")
  code, printed, errors = jaxsal(capsys, *command)
  assert (code, errors) == (0, "")
  assert "with unisal, the default model (--model names another)" in printed
  assert printed.count("compiling for") == 1  # for the size of the video alone
  assert re.search(r"unisal: \d+ frames at a time on", printed)
  assert len(list((tmp_path / "out" / "maps").iterdir())) == 6


def test_predict_without_overlay(capsys, tmp_path, clip):
  out = tmp_path / "out"
  code, *_ = jaxsal(capsys, "predict", "--model=m", clip, f"--out={out}", "--no-overlay")
  assert code == 0
  assert [path.name for path in out.iterdir()] == ["maps"]
  assert len(list((out / "maps").iterdir())) == 6


def test_a_bad_video_does_not_stop_the_others(capsys, tmp_path, clip):
  other = clips.write_clip(tmp_path / "other.mp4", clips.moving_square(3, 34, 50))
  (tmp_path / "empty.mp4").touch()
  out = tmp_path / "out"
  code, _, errors = jaxsal(
    capsys, "predict", "--model=m", clip, tmp_path / "empty.mp4", other, f"--out={out}"
  )
  assert code == 2
  assert "jaxsal: error: " in errors and "empty.mp4: the file is empty" in errors
  assert "2 of 3 videos are complete" in errors
  assert {path.name for path in out.iterdir()} == {"square", "other"}
  assert len(list((out / "other" / "maps").iterdir())) == 3


def test_a_damaged_video_is_an_error_with_its_place(capsys, tmp_path):
  whole = clips.write_clip(
    tmp_path / "whole.mp4",
    clips.moving_square(100, 34, 50),
    mux_options={"movflags": "faststart"},
    options={"g": "10"},
  )
  part = clips.cut(whole, tmp_path / "part.mp4", 0.6)
  code, _, errors = jaxsal(capsys, "predict", "--model=m", part, f"--out={tmp_path / 'out'}")
  assert code == 2
  assert re.search(r"part\.mp4: damaged after frame \d+", errors)
  assert not (tmp_path / "out").exists()
  assert (tmp_path / "out.incomplete" / "overlay.mp4").exists()


def test_bad_input_is_found_before_the_network_is_compiled(capsys, tmp_path, monkeypatch):
  def load(path):
    raise AssertionError("loaded the model of a run that cannot begin")

  monkeypatch.setattr("jaxsal.models.load", load)
  code, _, errors = jaxsal(
    capsys, "predict", "--model=m", tmp_path / "no.mp4", f"--out={tmp_path / 'out'}"
  )
  assert code == 2
  assert errors.startswith("jaxsal: error: ") and "no such file" in errors
  assert "Traceback" not in errors
  assert not (tmp_path / "out").exists()


def test_videos_of_one_name_are_refused(capsys, tmp_path, clip):
  code, _, errors = jaxsal(capsys, "predict", "--model=m", clip, clip, f"--out={tmp_path / 'o'}")
  assert code == 2
  assert "would share the folder" in errors


def test_output_in_use_is_refused_then_replaced(capsys, tmp_path, clip):
  command = ("predict", "--model=m", clip, f"--out={tmp_path / 'out'}", "--no-overlay")
  assert jaxsal(capsys, *command)[0] == 0
  code, _, errors = jaxsal(capsys, *command)
  assert code == 2 and "--overwrite" in errors
  assert jaxsal(capsys, *command, "--overwrite")[0] == 0


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["predict", "a.mp4"], "--out"),
    (["predict", "a.mp4", "--out=o", "--stride=0"], "stride 0: must be at least 1"),
    (
      ["predict", "a.mp4", "--out=o", "--model=m", "--blurr=3"],
      "unknown argument --blurr=3. Did you mean --blur?",
    ),
    (["predict", "a.mp4", "--out=o", "--model=m", "--zzz"], "unknown argument --zzz. See jaxsal"),
    (["--verson"], "unknown argument --verson. Did you mean --version?"),
    (["predict", "a.mp4", "--out=o", "--model=m", "--region=1,2,3,4"], "--region needs --show-ga"),
    (["predict", "a.mp4", "--out=o", "--model=m", "--batch-size=0"], "batch size 0"),
    (["convert", "--from=a.pt", "--out=o"], "--from needs --model=NAME"),
    (["convert", "--from=a.pt", "--model=tsfp", "--out=o", "--set=length"], "FIELD=VALUE"),
    (["predict", "a.mp4", "--out=o", "--model=m", "--maps=jpg"], "invalid choice"),
    (["dance"], "there is no command 'dance'."),
    (["evaulate"], "there is no command 'evaulate'. Did you mean evaluate?"),
  ],
)
def test_wrong_arguments(capsys, argv, message):
  code, _, errors = jaxsal(capsys, *argv)
  assert code == 2
  assert message in errors


def test_train_hands_its_flags_over(capsys, monkeypatch):
  given = []
  stand_in = types.ModuleType("jaxsal.main")
  stand_in.run = given.append
  monkeypatch.setitem(sys.modules, "jaxsal.main", stand_in)
  monkeypatch.setattr(package, "main", stand_in, raising=False)
  flags = ["--config=configs/tsfp.py", "--workdir=w", "--config.steps=3"]
  assert jaxsal(capsys, "train", *flags)[0] == 0
  assert given == [flags]


def test_prepare(capsys, monkeypatch, tmp_path):
  given = []

  def prepare(dataset, data_dir, source, **options):
    given.append((dataset, data_dir, source, options))
    return data_dir / dataset

  monkeypatch.setattr("jaxsal.tfds_builders.build.prepare", prepare)
  code, out, _ = jaxsal(capsys, "prepare", "demo", f"--data-dir={tmp_path}")
  assert code == 0 and str(tmp_path / "demo") in out
  jaxsal(capsys, "prepare", "ucf", "--from=there", "--skip-bad", "--flow-from=net", "--jobs=3")
  options = {"skip_bad": True, "flow_from": "net", "jobs": 3}
  assert given == [
    ("demo", tmp_path, None, {"skip_bad": False, "flow_from": None, "jobs": 1}),
    ("ucf", Path("~/tensorflow_datasets"), Path("there"), options),
  ]


def test_prepare_of_an_unknown_set(capsys, tmp_path):
  code, _, errors = jaxsal(capsys, "prepare", "demmo", f"--data-dir={tmp_path}")
  assert code == 2
  assert errors.startswith("jaxsal: error: ") and "demo" in errors
