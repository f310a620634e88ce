"""Tests the comparison of two evaluations, and pairs that cannot be compared."""

import json

import cv2
import evaluation
import numpy as np
import pytest

from jaxsal import cli
from jaxsal.errors import UserError
from jaxsal.evaluation.compare import compare


def write(out, names, seed=0, **changes):
  summary = evaluation.write(out, names, frames=2, dropped=0, seed=seed, **changes)
  return [video["scores"]["nss"] for video in summary["videos"]]


@pytest.mark.parametrize("count", [3, 90])  # 90 names would overlap and are left out
def test_a_bar_for_each_video(tmp_path, count, capsys):
  names = [f"$video_{i}^$" for i in range(count)]
  with_sound, muted = (write(tmp_path / n, names, i) for i, n in enumerate(("sound", "muted")))
  out = tmp_path / "pictures" / "difference.png"
  command = ["compare", str(tmp_path / "sound"), str(tmp_path / "muted"), f"--out={out}"]
  assert cli.main(command) == 0
  assert cv2.imread(str(out)).std() > 5
  gains = sum(a > b for a, b in zip(with_sound, muted))
  assert f"sound is better on {gains} of {count} videos" in " ".join(
    capsys.readouterr().out.split()
  )
  differences = compare(tmp_path / "sound", tmp_path / "muted", out)
  expected = sorted((a - b for a, b in zip(with_sound, muted)), reverse=True)
  np.testing.assert_allclose(differences, expected)


def test_a_lower_divergence_is_better(tmp_path, capsys):
  write(tmp_path / "a", ["x"])
  summary = json.loads((tmp_path / "a/scores.json").read_text())
  summary["videos"][0]["scores"]["kl"] += 1
  (tmp_path / "b").mkdir()
  (tmp_path / "b/scores.json").write_text(json.dumps(summary))
  assert compare(tmp_path / "a", tmp_path / "b", tmp_path / "d.svg", metric="kl") == [
    pytest.approx(-1)
  ]
  assert "a is better on 1 of 1 videos" in " ".join(capsys.readouterr().out.split())


def test_videos_without_a_value_are_left_out(tmp_path):
  write(tmp_path / "a", ["x", "y"])
  summary = json.loads((tmp_path / "a/scores.json").read_text())
  summary["videos"][0]["scores"]["nss"] = None
  (tmp_path / "b").mkdir()
  (tmp_path / "b/scores.json").write_text(json.dumps(summary))
  assert compare(tmp_path / "a", tmp_path / "b", tmp_path / "d.png") == [0]
  summary["videos"] = summary["videos"][:1]
  (tmp_path / "b/scores.json").write_text(json.dumps(summary))
  (tmp_path / "a/scores.json").write_text(json.dumps(summary))
  with pytest.raises(UserError, match="No video has a value of nss"):
    compare(tmp_path / "a", tmp_path / "b", tmp_path / "d.png")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"split": "test"}, r"differ in split \(validation and test\)"),
    ({"dataset": "avad/native/1.0.0"}, r"differ in data set \(dhf1k/native/1.0.0 and avad"),
    ({"protocol": {"name": "mit"}}, r"differ in protocol \(dhf1k and mit\)"),
    ({"scored_frames": 3}, r"differ in frames \(2 and 3\)"),
    ({"videos": []}, "differ in videos: evaluate both"),
    ({"metrics": ["cc"]}, "Metric 'nss' is not in both evaluations: use one of cc"),
  ],
)
def test_what_cannot_be_compared(tmp_path, changes, message):
  write(tmp_path / "a", ["x"])
  write(tmp_path / "b", ["x"], **changes)
  with pytest.raises(UserError, match=message):
    compare(tmp_path / "a", tmp_path / "b", tmp_path / "d.png")
  assert not (tmp_path / "d.png").exists()


def test_wrong_names(tmp_path):
  with pytest.raises(UserError, match=r"d\.xcf: the picture must be a \.png"):
    compare(tmp_path, tmp_path, tmp_path / "d.xcf")
  with pytest.raises(UserError, match=r"scores\.json: no such file"):
    compare(tmp_path, tmp_path, tmp_path / "d.png")
