"""Runs GFSalNet's demo recipe, made small: both streams from a static model, two steps, maps."""

import json
import pathlib
import runpy

import jax
import numpy as np
import pytest
from flax import nnx
from recipe import ROOT, SHRUNK

from jaxsal import models, nn
from jaxsal.data import sources
from jaxsal.errors import UserError
from jaxsal.evaluation.systems import ModelMaps
from jaxsal.models import resnet
from jaxsal.prediction.options import PredictOptions
from jaxsal.train import log, loop


def make_config(data_dir: pathlib.Path, **changes):
  config = runpy.run_path(str(ROOT / "configs" / "gfsal.py"))["get_config"]()
  shrunk = {"model.length": 1, "model.width": 0.0625, "steps": 2, "data.data_dir": str(data_dir)}
  config.update_from_flattened_dict(SHRUNK | shrunk | changes)
  return config.lock()


class StubEncoder(nnx.Module):
  """Replaces ResNet, which is slow to compile, by a convolution and averages of its outputs."""

  def __init__(self, config, rngs):
    self.conv = nn.Conv2d(3, resnet.stage_channels(config.width)[-1], 1, rngs=rngs)
    self.counts = resnet.stage_channels(config.width)

  def __call__(self, images):
    x, (b, h, w, _) = jax.nn.relu(self.conv(images)), images.shape
    return resnet.Stages(
      *(
        x[..., :count].reshape(b, h // i, i, w // i, i, count).mean((2, 4))
        for i, count in zip((4, 8, 16, 32), self.counts)
      )
    )


@pytest.fixture
def static(tmp_path, monkeypatch):
  """Saves a static model; returns its folder."""
  monkeypatch.setattr(resnet, "Encoder", StubEncoder)
  model = models.create("gfsal", "tiny", streams="appearance", size=(32, 64))
  return models.save(model, tmp_path / "static", {})


def test_training_and_maps(static, data_dir, tmp_path):
  workdir = tmp_path / "run"
  config = make_config(data_dir, init_from=str(static))
  start = models.arrays(loop._make_model(config))
  for name, value in models.arrays(models.load(static)).items():
    np.testing.assert_array_equal(start[name], value)
    np.testing.assert_array_equal(start[name.replace("appearance", "temporal", 1)], value)

  summary = loop.train(config, workdir)
  assert all(np.isfinite(list(summary["scores"]["model"].values())))
  losses = [row["train/loss"] for row in log.read(workdir) if "train/loss" in row]
  assert len(losses) == 2 and np.isfinite(losses).all()
  trained = models.load(workdir)
  assert trained.config.flow == "dis"
  assert json.loads((workdir / "model" / "model.json").read_text())["config"]["flow"] == "dis"
  moved = {name for name, x in models.arrays(trained).items() if (x != start[name]).any()}
  assert {"fusion.conv.kernel", "fusion.conv.bias"} < moved
  for stream in ("appearance", "temporal"):  # the two streams differ by now
    assert f"{stream}.encoder.conv.kernel" in moved
  weights = [stream.prediction.kernel for stream in trained.streams]
  assert np.any(weights[0][...] != weights[1][...])

  split = sources.open_split("demo/tiny", "validation", data_dir)
  maps = ModelMaps(trained, split, PredictOptions())
  maps.compile()
  (first, last) = maps.of_video(0, [0, split.videos[0].frames - 1])
  assert first.shape == (32, 64) and np.any(first != last)
  with pytest.raises(UserError, match="nothing does not exist"):
    ModelMaps(trained, split, PredictOptions(flow_from=tmp_path / "nothing"))


def test_a_stream_that_is_not_there(static, data_dir):
  config = make_config(data_dir, **{"model.streams": "appearance", "temporal_from": str(static)})
  with pytest.raises(UserError, match="temporal_from is set, but gfsal has no temporal stream"):
    loop._make_model(config)
