"""Trains a network with sound on sets from the folder of STAViS, and scores it as papers do."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from recipe import make_config
from trees import stavis

import jaxsal
from jaxsal import cli, metrics
from jaxsal.data import sources, transforms
from jaxsal.errors import UserError
from jaxsal.evaluation import bounds
from jaxsal.evaluation.compare import compare
from jaxsal.evaluation.scorer import Scorer
from jaxsal.evaluation.systems import finisher
from jaxsal.models import MODELS, AudioVisualModel, Network, SaliencyConfig
from jaxsal.tfds_builders.build import prepare
from jaxsal.train import loop

CLIPS = {"V1_Speech": 12, "V2_Music": 9, "V3_Dog": 10}
SETS = ("avad", "coutrot1", "diem")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
  """Prepares AVAD, Coutrot 1 and DIEM, native and resized for training, and AVE."""
  folder = tmp_path_factory.mktemp("sets")
  source = folder / "stavis"
  for database in ("AVAD", "Coutrot_db1", "Coutrot_db2"):
    folds = {
      f"{part}_{i}": {name: n for name, n in CLIPS.items() if (name == test) == (part == "test")}
      for i, test in enumerate(CLIPS, start=1)
      for part in ("train", "test")
    }
    stavis.write(source, database, folds, unseen=[2])
  stavis.write(source, "DIEM", {"train": {"news_720x576": 11}, "test": {"sport_900x720": 10}})
  lists = {
    "train": [("DIEM", "news_720x576", "miscellaneous")],
    "test": [
      ("Coutrot_db1", "V1_Speech", "social events"),
      ("Coutrot_db1", "V3_Dog", "nature"),
      ("Coutrot_db2", "V3_Dog", "nature"),
    ],
  }
  stavis.write_ave(source, lists | {"validation": lists["train"]})
  for name in (*SETS, "ave"):
    for config in ("", "/192x352") if name != "ave" else ("",):
      prepare(name + config, folder / "data", source, skip_bad=True)
  return folder / "data"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoudConfig(SaliencyConfig):
  batch_norm_momentum: float = 0.1


class Loud(AudioVisualModel):
  """A network whose map is the brightness of the last frame, scaled by the clip's loudness."""

  def __init__(self, config, *, rngs=None):
    self.config = config
    self.gain = nnx.Param(jnp.ones(()))

  def __call__(self, frames, waveform):
    volume = self.gain[...] * jnp.abs(waveform).mean(-1)[:, None, None]
    return jax.nn.sigmoid(frames[:, -1].mean(-1) * (0.01 + volume))


@pytest.fixture(scope="module", autouse=True)
def loud():
  """Registers a network that compiles in no time."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(MODELS, "loud", Network("Loud", Loud, LoudConfig, {"tiny": LoudConfig()}))
    yield


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
  """Trains two steps on the second fold of several sets; returns the workdir."""
  config = make_config(
    prepared,
    model__name="loud",
    data__dataset="avad/192x352",
    data__mixture=tuple((f"{name}/192x352", 1.0) for name in SETS),
    data__train_split="train_2",
    data__validation_split="test_2",
    eval__stride=4,
    steps=2,
  )
  workdir = tmp_path_factory.mktemp("runs") / "run"
  summary = loop.train(config, workdir)
  assert summary["dataset"].split(" + ")[2] == "diem/192x352/1.0.0"
  assert summary["frames"] == 3  # every fourth frame of the one clip, which has 9
  assert all(np.isfinite(list(summary["scores"]["model"].values())))
  return workdir


def scores(out):
  return json.loads((out / "scores.json").read_text())


def test_training_hears(trained):
  assert jaxsal.load(trained).gain[...] != 1  # its gradient comes through the sound alone


def test_the_mean_over_the_splits(trained, prepared, tmp_path, capsys, monkeypatch):
  arguments = [
    f"--data-dir={prepared}",
    "--dataset=avad",
    "--split=test",
    f"--out={tmp_path / 'a'}",
  ]
  command = ["evaluate", *arguments, *[f"--model={trained}"] * 3]
  assert cli.main(command) == 0
  said = capsys.readouterr().out
  assert "test_3: loud" in said and said.count("protocol: stavis") == 1
  mean = scores(tmp_path / "a")
  folds = [scores(tmp_path / "a" / f"test_{i}") for i in (1, 2, 3)]
  assert mean["protocol"]["name"] == "stavis"  # the data set's own
  assert mean["frames"] == sum(CLIPS.values())
  assert [[v["name"] for v in fold["videos"]] for fold in folds] == [[name] for name in CLIPS]
  for name, score in mean["scores"].items():
    assert score["mean"] == pytest.approx(np.mean([f["scores"][name]["mean"] for f in folds]))
  floor = "mean eye position"
  assert mean["bounds"][floor]["nss"] == pytest.approx(
    np.mean([fold["bounds"][floor]["nss"] for fold in folds])
  )
  # Each split's floor comes from the videos that it does not test on.
  train = sources.open_split("avad", "train_3", prepared)
  position = bounds.MeanEyePosition(train).map
  test = sources.open_split("avad", "test_3", prepared)
  density = transforms.decode_density(test[0]["density"], "")
  expected = metrics.cc(np.asarray(finisher(stavis.SIZE, 0.0)(position)), density)
  with np.load(tmp_path / "a" / "test_3" / "videos" / "00000.npz") as arrays:
    assert arrays[f"{floor}/cc"][0] == pytest.approx(expected, abs=1e-4)
  assert "Published for AVAD test" in (tmp_path / "a" / "report.html").read_text()

  monkeypatch.setattr(Scorer, "video", None)  # nothing is left to score
  (tmp_path / "a" / "scores.json").unlink()
  assert cli.main(command) == 0
  assert scores(tmp_path / "a") == mean


def test_with_and_without_sound(trained, prepared, tmp_path):
  for name in ("sound", "muted"):
    jaxsal.evaluate(
      trained,
      "coutrot1",
      split="test",
      data_dir=prepared,
      out=tmp_path / name,
      mute=name == "muted",
      bounds=False,
    )
  difference = tmp_path / "difference.png"
  assert len(compare(tmp_path / "sound", tmp_path / "muted", difference, metric="sim")) == 3
  assert difference.exists()
  assert "without sound" in scores(tmp_path / "muted")["protocol"]["post_processing"]


def test_ave_by_category(prepared, tmp_path):
  found = jaxsal.evaluate(
    "mean-eye-position", "ave", split="test", data_dir=prepared, out=tmp_path / "out"
  )
  assert found["protocol"]["name"] == "stavis"
  by_name = {row["name"]: row["scores"]["nss"] for row in found["videos"]}
  nature = found["categories"]["nature"]
  assert nature["videos"] == 2
  assert nature["scores"]["nss"] == pytest.approx(
    (by_name["Coutrot_db1_V3_Dog"] + by_name["Coutrot_db2_V3_Dog"]) / 2
  )
  assert found["categories"]["social events"]["scores"]["nss"] == by_name["Coutrot_db1_V1_Speech"]
  assert "Nature: 2 of the videos" in (tmp_path / "out" / "report.html").read_text()


def test_what_does_not_fit(prepared, tmp_path):
  options = {"data_dir": prepared, "out": tmp_path / "out"}
  with pytest.raises(UserError, match="2 models for test_1, test_2, test_3: name one, or one for"):
    jaxsal.evaluate(["mean-eye-position"] * 2, "avad", split="test", **options)
  with pytest.raises(UserError, match="2 models for the one split 'test'"):
    jaxsal.evaluate(["mean-eye-position"] * 2, "diem", split="test", **options)
  with pytest.raises(UserError, match="none does not exist: give a model"):
    jaxsal.evaluate(["mean-eye-position"] * 2 + ["none"], "avad", split="test", **options)
  with pytest.raises(UserError, match=r"'validation' is not in avad.*full, train_1, test_1"):
    jaxsal.evaluate("mean-eye-position", "avad", split="validation", **options)
  assert not (tmp_path / "out").exists()
