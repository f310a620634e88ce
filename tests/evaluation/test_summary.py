"""Tests the means, counts and files that are made from the files of the videos."""

import csv
import io
import json

import numpy as np
import pytest
from rich.console import Console

from jaxsal import files
from jaxsal.data.sources import Video
from jaxsal.evaluation import protocols
from jaxsal.evaluation import summary as scores

NAN = np.nan
NSS = ([1.0, NAN, 3.0], [5.0], [NAN, NAN])
CC = ([0.5, 0.25, 0.0], [1.0], [NAN, 0.5])
CATEGORIES = {"v0": "nature", "v2": "nature", "v1": "social events", "elsewhere": "others"}
VIDEOS = tuple(Video(f"v{i}", 0, len(nss), 4, 6, 25.0) for i, nss in enumerate(NSS))


def write(out, protocol, nss=NSS):
  (out / "videos").mkdir(exist_ok=True)
  for number, values in enumerate(zip(nss, CC)):
    arrays = {"frame": np.arange(len(values[0]))}
    for name, value in zip(("nss", "cc"), values):
      arrays |= {name: np.float32(value), f"floor/{name}": np.float32(value) / 2}
    np.savez(out / "videos" / f"{number:05}.npz", **arrays)
  about = {
    "source": {"kind": "model", "name": "[red]tased", "path": None, "weights_sha256": None},
    "dataset": "demo/tiny/1.0.0",
    "split": "validation",
    "protocol": protocols.describe(protocol, "none"),
  }
  return scores.write(out, VIDEOS, about, ["floor"], protocol, CATEGORIES)


@pytest.mark.parametrize(
  ("protocol", "nss", "cc"), [("mit", 3.0, 0.45), ("stavis", (2 + 5) / 2, (0.25 + 1 + 0.5) / 3)]
)
def test_means(tmp_path, protocol, nss, cc):
  summary = write(tmp_path, protocols.find(protocol))
  assert summary["scores"]["nss"] == {"mean": pytest.approx(nss), "count": 3, "dropped": 3}
  assert summary["scores"]["cc"] == {"mean": pytest.approx(cc), "count": 5, "dropped": 1}
  assert summary["bounds"]["floor"]["nss"] == pytest.approx(nss / 2)
  assert (summary["frames"], summary["scored_frames"]) == (6, 6)
  assert summary["metrics"] == ["cc", "nss"]
  assert [row["scores"]["nss"] for row in summary["videos"]] == [2.0, 5.0, None]
  assert [row["dropped"]["nss"] for row in summary["videos"]] == [1, 0, 2]
  assert json.loads((tmp_path / "scores.json").read_text()) == summary


def test_categories(tmp_path):
  summary = write(tmp_path, protocols.find("stavis"))
  assert summary["categories"] == {
    "nature": {
      "videos": 2,
      "scores": {"cc": pytest.approx((0.25 + 0.5) / 2), "nss": 2.0},
      "bounds": {"floor": {"cc": pytest.approx((0.25 + 0.5) / 4), "nss": 1.0}},
    },
    "social events": {
      "videos": 1,
      "scores": {"cc": 1.0, "nss": 5.0},
      "bounds": {"floor": {"cc": 0.5, "nss": 2.5}},
    },
  }
  console = Console(width=70, file=io.StringIO())
  console.print(scores.table(summary))
  assert "social events: [red]tased" in console.file.getvalue()


def test_the_mean_over_splits(tmp_path):
  summaries = []
  for number, nss in enumerate((NSS, ([4.0, NAN, 4.0], [4.0], [NAN, 10.0]))):
    (tmp_path / f"test_{number}").mkdir()
    summary = write(tmp_path / f"test_{number}", protocols.find("stavis"), nss)
    summaries.append(summary | {"split": f"test_{number}"})
  mean = scores.write_folds(tmp_path, summaries, "test")
  assert mean["scores"]["nss"] == {"mean": pytest.approx((3.5 + 6) / 2), "count": 7, "dropped": 5}
  assert mean["bounds"]["floor"]["nss"] == pytest.approx((3.5 + 6) / 4)
  assert mean["splits"]["test_1"]["scores"]["nss"] == 6.0
  assert mean["protocol"]["mean"].endswith("then over splits") and mean["frames"] == 12
  assert [(v["split"], v["name"]) for v in mean["videos"]][2:4] == [
    ("test_0", "v2"),
    ("test_1", "v0"),
  ]
  assert json.loads((tmp_path / "scores.json").read_text()) == mean
  console = Console(width=70, file=io.StringIO())
  console.print(scores.table(mean))
  assert "test_1: [red]tased" in console.file.getvalue()


def test_csv(tmp_path):
  write(tmp_path, protocols.find("mit"))
  frames = list(csv.DictReader((tmp_path / "frames.csv").read_text().splitlines()))
  assert [row["video"] for row in frames] == ["v0", "v0", "v0", "v1", "v2", "v2"]
  assert frames[1] == {"video": "v0", "frame": "1", "cc": "0.25", "nss": ""}
  videos = list(csv.DictReader((tmp_path / "videos.csv").read_text().splitlines()))
  assert videos[2] == {
    "video": "v2", "frames": "2", "cc": "0.5", "nss": "", "cc_dropped": "1", "nss_dropped": "2",
  }  # fmt: skip


def test_table(tmp_path):
  summary = write(tmp_path, protocols.find("mit"))
  console = Console(width=30, file=io.StringIO())
  console.print(scores.table(summary))
  text = " ".join(console.file.getvalue().split())
  assert "[red]tased" in text and "floor" in text  # names are no markup
  assert " 3.000 " in text and " 0.450 " in text
  assert "NSS 3" in text and "Protocol mit" in text


def test_nothing_defined_is_null(tmp_path):
  summary = write(tmp_path, protocols.find("stavis"), nss=([NAN] * 3, [NAN], [NAN] * 2))
  assert summary["scores"]["nss"] == {"mean": None, "count": 0, "dropped": 6}


def test_an_interrupted_run_leaves_no_scores(tmp_path, monkeypatch):
  monkeypatch.setattr(files, "write_text", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
  with pytest.raises(KeyboardInterrupt):
    write(tmp_path, protocols.find("mit"))
  assert not (tmp_path / "scores.json").exists()
