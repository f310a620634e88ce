"""A new network needs one file, one recipe and one row in the registry, and nothing else."""

import importlib
import json
import sys

import clips
import numpy as np
import pytest

import jaxsal
from jaxsal import cli, convert, main, models
from jaxsal.cli import _networks
from jaxsal.errors import UserError
from jaxsal.evaluation import published

# The one file in jaxsal/models/.
NETWORK = '''
"""A convolution over the whole clip."""

import dataclasses
from collections.abc import Iterator

import jax
from flax import nnx

from jaxsal import nn
from jaxsal.models._base import SaliencyConfig, SaliencyModel
from jaxsal.models._table import Entry, batch_norm, conv


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig(SaliencyConfig):
  """Configuration of the toy network."""

  batch_norm_momentum: float = 0.1


VARIANTS = {"base": ToyConfig(), "tiny": ToyConfig(length=2, size=(32, 48))}


class ToyNet(SaliencyModel[ToyConfig]):
  """The toy network."""

  def __init__(self, config: ToyConfig, *, rngs: nnx.Rngs) -> None:
    super().__init__(config)
    self.conv = nn.Conv(3, 1, (config.length, 3, 3), padding=(0, 1, 1), rngs=rngs)
    self.bn = nn.BatchNorm(1, momentum=config.batch_norm_momentum, epsilon=1e-5)

  def __call__(self, frames: jax.Array) -> jax.Array:
    return jax.nn.sigmoid(self.bn(self.conv(frames))[:, 0, :, :, 0])

  @staticmethod
  def table(config: ToyConfig) -> Iterator[Entry]:
    yield from conv("layers.0", ("conv",), bias=True)
    yield from batch_norm("layers.1", ("bn",))
'''

# The one recipe in configs/.
RECIPE = """
from ml_collections import ConfigDict

from jaxsal.train.recipe import demo_recipe


def get_config(arg: str = "demo") -> ConfigDict:
  return demo_recipe("toy", variant="tiny", length=2)
"""


@pytest.fixture(scope="module", autouse=True)
def toy(tmp_path_factory):
  """Adds the network; returns its module."""
  folder = tmp_path_factory.mktemp("models")
  (folder / "toy.py").write_text(NETWORK)
  with pytest.MonkeyPatch.context() as patch:
    # The folder is a second jaxsal/models/.
    patch.setattr(models, "__path__", [*models.__path__, str(folder)])
    patch.setattr(_networks, "_MODELS", folder)
    module = importlib.import_module("jaxsal.models.toy")
    # The one row.
    row = models.Network("ToyNet", module.ToyNet, module.ToyConfig, module.VARIANTS)
    patch.setitem(models.MODELS, "toy", row)
    yield module
  del sys.modules["jaxsal.models.toy"], models.toy


@pytest.fixture
def recipe(tmp_path):
  path = tmp_path / "toy.py"
  path.write_text(RECIPE)
  return path


def trained_with(recipe, data_dir, *flags):
  """Runs the trainer's command; returns its exit code and the workdir."""
  workdir = recipe.with_name("run")
  shrunk = {
    "model.size": "(32, 48)",
    "data.dataset": "demo/tiny",
    "data.data_dir": data_dir,
    "eval.stride": 16,
    "optimizer.warmup": 1,
    "steps": 2,
  }
  fields = [f"--config.{name}={value}" for name, value in shrunk.items()]
  return main.run([f"--config={recipe}", f"--workdir={workdir}", *fields, *flags]), workdir


@pytest.fixture(scope="module")
def model():
  model = models.create("toy", "tiny")
  model.eval()
  return model


def assert_same(model, other):
  wanted, arrays = models.arrays(model), models.arrays(other)
  assert arrays.keys() == wanted.keys() and other.config == model.config
  for name, value in wanted.items():
    np.testing.assert_array_equal(arrays[name], value, err_msg=name)


def test_saved_and_loaded(toy, model, tmp_path):
  assert isinstance(model, toy.ToyNet)
  loaded = jaxsal.load(models.save(model, tmp_path / "toy"))
  assert_same(model, loaded)
  assert json.loads((tmp_path / "toy" / "model.json").read_text())["origin"] == {}


def test_from_and_to_pytorch(model, tmp_path):
  state_dict = convert.to_torch(model)
  assert state_dict["layers.0.weight"].shape == (1, 3, 2, 3, 3)
  assert_same(model, convert.from_torch("toy", state_dict, variant="tiny"))
  with pytest.raises(UserError, match="it looks like toy, variant base"):
    convert.from_torch("soundnet", state_dict)


def test_predicts_a_video(model, tmp_path):
  video = clips.write_clip(tmp_path / "square.mp4", clips.moving_square(5, 64, 96))
  maps = jaxsal.predict(model, video)
  assert maps.shape == (5, 64, 96) and 0 <= maps.min() < maps.max() <= 1
  folder = models.save(model, tmp_path / "toy")
  out = tmp_path / "maps"
  assert cli.main(["predict", str(video), f"--model={folder}", f"--out={out}"]) == 0
  assert len(list(out.rglob("*.png"))) == 5


def test_is_listed(capsys):
  assert cli.main(["models", "--variants"]) == 0
  output = capsys.readouterr().out
  rows = [line.split() for line in output.splitlines() if line.strip().startswith("toy ")]
  assert [row[:3] for row in rows] == [["toy", "base", "867"], ["toy", "tiny", "57"]]
  assert rows[1][-3:] == ["2", "32x48", "last"]
  assert published.title("toy") == "ToyNet" and published.headline("toy") is None


# ml_collections (1.1) loads a recipe by a deprecated method.
LOADS_RECIPE = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@LOADS_RECIPE
def test_trains_by_its_recipe(toy, recipe, data_dir, capsys):
  code, workdir = trained_with(recipe, data_dir)
  assert code == 0
  assert "toy, " in capsys.readouterr().out
  model = jaxsal.load(workdir)
  assert isinstance(model, toy.ToyNet) and model.config.batch_norm_momentum == 0.1
  summary = json.loads((workdir / "summary.json").read_text())
  assert summary["model"]["name"] == "toy" and np.isfinite(summary["scores"]["model"]["nss"])


@LOADS_RECIPE
def test_encoder_weights_need_an_encoder(recipe, data_dir, capsys):
  code, _ = trained_with(recipe, data_dir, "--config.encoder_weights=s3d.pt")
  assert code == 2
  assert "encoder_weights is set, but toy has no encoder" in capsys.readouterr().err
