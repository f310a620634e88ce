"""Trains a model on data sets made from downloaded folders, scores it and writes its submission."""

import csv
import json

import cv2
import numpy as np
import pytest
from recipe import make_config
from trees import dhf1k, hollywood2, salicon, ucf

import jaxsal
from jaxsal import cli
from jaxsal.tfds_builders.build import prepare
from jaxsal.train import loop


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
  """Prepares the three visual sets and the static one, native and resized for training."""
  folder = tmp_path_factory.mktemp("sets")
  dhf1k.write(folder / "dhf1k", {1: 12, 2: 5, 601: 9, 602: 3, 701: 4}, unseen=[2])
  hollywood2.write(folder / "hollywood2", train=(1, 10))
  ucf.write(folder / "ucf")
  salicon.write(folder / "salicon", size=(36, 64))
  for name in ("dhf1k", "hollywood2", "ucf", "salicon"):
    for config in ("", "/192x352"):
      prepare(name + config, folder / "data", folder / name, skip_bad=True)
  return folder / "data"


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
  """Trains a tiny TSFP-Net on all sets, as in GFSalNet's second setting, and on still images."""
  workdir = tmp_path_factory.mktemp("run") / "run"
  mixture = tuple((f"{name}/192x352", 1.0) for name in ("ucf", "hollywood2", "dhf1k", "salicon"))
  config = make_config(
    prepared, data__dataset="dhf1k/192x352", data__mixture=mixture, eval__stride=4
  )
  summary = loop.train(config, workdir)
  assert summary["dataset"].split(" + ")[1] == "hollywood2/192x352/1.0.0"
  assert all(np.isfinite(list(summary["scores"]["model"].values())))
  return workdir


def test_evaluation(trained, prepared, tmp_path):
  out = tmp_path / "scores"
  command = ["evaluate", f"--model={trained}", "--dataset=dhf1k", "--split=validation"]
  assert cli.main([*command, f"--data-dir={prepared}", f"--out={out}"]) == 0
  scores = json.loads((out / "scores.json").read_text())
  assert (scores["frames"], scores["scored_frames"]) == (12, 12)
  assert scores["scores"]["nss"]["dropped"] == 2  # frame 2 of both videos: nobody looked there
  assert scores["scores"]["cc"]["count"] == 10
  with (out / "frames.csv").open() as file:
    rows = list(csv.DictReader(file))
  assert [row["video"] for row in rows] == ["0601"] * 9 + ["0602"] * 3
  nss = [float(row["nss"]) for row in rows if row["nss"]]
  assert scores["scores"]["nss"]["mean"] == pytest.approx(np.mean(nss), abs=1e-5)
  page = (out / "report.html").read_text()
  assert "STSANet" in page and "0601" in page


@pytest.mark.parametrize(
  ("name", "split", "frames"),
  [("hollywood2", "test", 4), ("ucf", "test", 9), ("salicon", "validation", 3)],
)
def test_short_shots_several_sizes_and_stills(trained, prepared, tmp_path, name, split, frames):
  scores = jaxsal.evaluate(
    trained, name, split=split, data_dir=prepared, out=tmp_path / "scores", bounds=False
  )
  assert scores["frames"] == frames
  assert all(np.isfinite(row["mean"]) for row in scores["scores"].values())


def test_submission(trained, prepared, tmp_path):
  out = tmp_path / "maps"
  command = ["submit", f"--model={trained}", "--dataset=dhf1k", "--split=test"]
  assert cli.main([*command, f"--data-dir={prepared}", f"--out={out}"]) == 0
  maps = sorted(path.relative_to(out) for path in out.rglob("*.png"))
  assert [str(path) for path in maps] == [f"0701/{i:04}.png" for i in range(1, 5)]
  assert cv2.imread(str(out / maps[0]), cv2.IMREAD_UNCHANGED).shape == (36, 64)


def test_what_has_no_annotation_cannot_be_scored(trained, prepared, tmp_path, capsys):
  command = ["evaluate", f"--model={trained}", "--dataset=dhf1k", "--split=test"]
  assert cli.main([*command, f"--data-dir={prepared}", f"--out={tmp_path / 'scores'}"]) == 2
  assert "jaxsal submit" in capsys.readouterr().err
  assert not (tmp_path / "scores").exists()
