"""The wheel is complete: its commands work in an empty folder, far from any checkout."""

import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]
TINY = (
  "--config.model.variant=tiny",
  "--config.model.length=8",
  "--config.model.size=(32, 64)",
  "--config.data.dataset=demo/tiny",
  "--config.data.batch_size=8",
  "--config.eval.batch_size=8",
  "--config.eval.stride=16",
  "--config.steps=2",
  "--config.eval.every=2",
  "--config.checkpoint.every=2",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  """The folder with the wheel and the source distribution."""
  out = tmp_path_factory.mktemp("dist")
  command = [sys.executable, "-m", "build", f"--outdir={out}", str(ROOT)]
  # Warnings of the tools that build are not the package's.
  env = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
  done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
  assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
  return out


@pytest.fixture(scope="module")
def run(built, tmp_path_factory):
  """Runs `python -m jaxsal ARGUMENTS` in an empty folder with the wheel's code alone."""
  (wheel,) = built.glob("*.whl")
  site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("empty")
  install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", f"--target={site}"]
  subprocess.run([*install, str(wheel)], check=True)
  # The wheel's folder comes before the checkout that the tests run from.
  flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
  env = os.environ | {"PYTHONPATH": str(site), "XLA_FLAGS": flags}

  def run(*arguments: str) -> str:
    done = subprocess.run(
      [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout

  run.folder, run.site = folder, site
  return run


def test_contents(built):
  (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
  names = zipfile.ZipFile(wheel).namelist()
  assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"jaxsal"}
  for name in ("py.typed", "configs/tsfp.py", "evaluation/published.toml"):
    assert f"jaxsal/{name}" in names
  assert "jaxsal/tfds_builders/demo/demo_dataset_builder.py" in names
  with tarfile.open(source) as archive:
    inside = {name.split("/", 1)[-1] for name in archive.getnames()}
  assert {"configs/tsfp.py", "jaxsal/cli/__init__.py", "tests/test_wheel.py", "LICENSE"} <= inside


def test_models(run):
  assert pathlib.Path(run("-c", "import jaxsal; print(jaxsal.__file__)")).is_relative_to(run.site)
  assert "TSFP-Net" in run("-m", "jaxsal", "models") or "tsfp" in run("-m", "jaxsal", "models")


@pytest.mark.slow
def test_a_training_by_the_name_of_its_recipe(run):
  import clips

  clip = clips.write_clip(run.folder / "clip.mp4", clips.moving_square(6, 34, 50))
  data = f"--config.data.data_dir={run.folder / 'data'}"
  said = run("-m", "jaxsal", "train", "--config=tsfp", data, *TINY)
  assert "runs/tsfp" in said
  assert (run.folder / "runs" / "tsfp" / "model" / "model.safetensors").exists()
  run("-m", "jaxsal", "predict", "--model=runs/tsfp", str(clip), "--out=saliency")
  assert len(list((run.folder / "saliency" / "maps").iterdir())) == 6
