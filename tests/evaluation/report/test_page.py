"""Tests the content of the report, for usual evaluations and for odd ones."""

import base64
import json
import re

import cv2
import evaluation
import numpy as np
import pytest

from jaxsal.errors import UserError
from jaxsal.evaluation import report


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  out = tmp_path_factory.mktemp("usual")
  evaluation.write(out, [f"{i:04}" for i in range(601, 621)])
  return report.write(out).read_text("utf-8")


def _rows(markup):
  """Returns the texts of the cells of every table row."""
  return [
    [re.sub(r"<[^>]+>", "|", cell).strip("|") for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]
    for row in re.findall(r"<tr.*?</tr>", markup)
  ]


def test_scores_are_next_to_bounds_and_published_rows(page):
  comparison, *folded = page.split("<details>")
  rows = [row[0] for row in _rows(comparison)]
  assert rows[1] == "TASED-Net|this evaluation"
  assert rows[2:5] == [
    "Bounds, scored on the same frames",
    "human infinite|a ceiling: half of the observers predicts the other half",
    "mean eye position|a floor: the training split&#x27;s mean density, for every frame",
  ]
  assert rows[5] == "Published for DHF1K validation; by falling NSS"
  assert rows[6] == "STSANet|STSANet, table III"
  # AUC-J SIM sAUC CC NSS KL IG, as TASED-Net's table 1 prints them
  numbers = ["0.894", "0.362", "0.718", "0.481", "2.706", "&ndash;", "&ndash;"]
  assert ["TASED-Net|TASED-Net, table 1", *numbers] in _rows(comparison)
  assert 'class="same"><th scope="row">TASED-Net<' in comparison
  assert "Ablations that the papers print for DHF1K validation" in folded[0]
  assert "Not the same frames: published for DHF1K test" in folded[1]
  assert "cannot be compared" not in page


def test_the_protocol_is_spelled_out(page):
  for text in ("10 random frames of the list", "bicubic, to the ground truth&#x27;s size", "none"):
    assert f"<dd>{text}</dd>" in page
  assert "20 videos: 220 of 240 frames" in page
  assert page.count("220 frames, 20 dropped") == len(evaluation.METRICS)


def test_worst_and_best_videos_by_nss(tmp_path):
  summary = evaluation.write(tmp_path, [f"{i:03}" for i in range(20)])
  page = report.write(tmp_path).read_text("utf-8")
  ranked = sorted(summary["videos"], key=lambda video: video["scores"]["nss"])
  names = [video["name"] for video in (*ranked[:4], *ranked[:-5:-1])]
  assert re.findall(r'<h4><a href="#video-\d+">(\d+)</a></h4>', page) == names
  assert page.count("data:image/jpeg") == 3 * 8
  assert page.count('class="fixation"') == 14 * 8  # on the ground truth only


def test_the_pictures_are_the_stored_ones_and_maps_are_coloured(tmp_path):
  evaluation.write(tmp_path, ["only"])
  page = report.write(tmp_path).read_text("utf-8")
  encoded = map(base64.b64decode, re.findall(r'href="data:image/jpeg;base64,([^"]+)"', page))
  images = [cv2.imdecode(np.frombuffer(x, np.uint8), cv2.IMREAD_COLOR) for x in encoded]
  with np.load(tmp_path / "videos" / "00000.npz") as arrays:
    frame = cv2.imdecode(arrays["example_frame"], cv2.IMREAD_COLOR)
    density = cv2.imdecode(arrays["example_density"], cv2.IMREAD_GRAYSCALE)
  assert np.abs(images[0].astype(int) - frame).mean() < 6
  coloured = cv2.applyColorMap(density, cv2.COLORMAP_INFERNO)
  assert np.abs(images[1].astype(int) - coloured).mean() < 6


def test_the_page_loads_nothing(page):
  assert "http:" not in page and "https:" not in page and "url(" not in page
  assert all(link.startswith(("#", "data:")) for link in re.findall(r'(?:href|src)="([^"]*)', page))
  assert "default-src 'none'" in page


def test_names_from_disk_are_text_and_nothing_else(tmp_path):
  name = '<script>alert("1")</script>&amp; \' übung 動画 $title'
  source = {"kind": "maps", "name": name, "path": f"/tmp/{name}", "weights_sha256": None}
  protocol = dict.fromkeys(evaluation.write(tmp_path / "a", ["x"])["protocol"], name)
  changes = {"source": source, "dataset": f"{name}/1.0.0", "split": name, "protocol": protocol}
  evaluation.write(tmp_path / "b", [name, f"{name}2"], bounds={name: {}}, jaxsal=name, **changes)
  page = report.write(tmp_path / "b").read_text("utf-8")
  assert page.count("<script>") == 1
  assert "<script>alert" not in page and 'alert("' not in page and "&amp; '" not in page
  # Once each: title, heading, path, data set with the split twice ... and twice as a video.
  assert page.count("übung 動画 $title") >= 15


def test_a_single_video_is_the_best(tmp_path):
  evaluation.write(tmp_path, ["only"])
  page = report.write(tmp_path).read_text("utf-8")
  assert "1 video: 11 of 12 frames" in page
  assert "<h3>Best</h3>" in page and "<h3>Worst</h3>" not in page


def test_without_a_single_value(tmp_path):
  summary = evaluation.write(tmp_path, ["a", "b"], frames=3, dropped=3)
  assert summary["scores"]["nss"]["mean"] is None
  page = report.write(tmp_path).read_text("utf-8")
  assert "No video has a value of NSS." in page
  assert page.count("0 frames, 6 dropped") == len(evaluation.METRICS)
  assert "nan" not in page.lower().replace("nan_policy", "").replace("information", "")


def test_a_video_without_a_stored_frame(tmp_path):
  evaluation.write(tmp_path, ["a"])
  path = tmp_path / "videos" / "00000.npz"
  with np.load(path) as arrays:
    kept = {name: arrays[name] for name in arrays if not name.startswith("example")}
  np.savez(path, **kept)
  assert "No frame of this video was stored." in report.write(tmp_path).read_text("utf-8")


def test_a_set_the_papers_do_not_know(tmp_path):
  bound = {"kind": "bound", "name": "mean eye position", "path": None, "weights_sha256": None}
  evaluation.write(tmp_path, ["a"], dataset="demo/tiny/1.1.0", source=bound, bounds={})
  page = report.write(tmp_path).read_text("utf-8")
  assert "<h1>Mean eye position on the demo set, validation</h1>" in page
  assert "The five papers print no scores for the demo set." in page
  assert "Bounds, scored" not in page and "Published for" not in page


def test_a_part_of_a_split_is_not_the_split(tmp_path):
  evaluation.write(tmp_path, ["a"], split="validation[:10%]")
  page = report.write(tmp_path).read_text("utf-8")
  assert "Published for" not in page
  assert "Not the same frames: published for DHF1K validation</summary>" in page


def test_another_protocol_than_the_papers_is_pointed_out(tmp_path):
  evaluation.write(tmp_path, ["a"], dataset="diem/native/1.0.0", split="test")
  page = report.write(tmp_path).read_text("utf-8")
  assert "by the protocol <b>stavis</b>, this evaluation follows <b>dhf1k</b>" in page
  assert "Not the same frames: published for DIEM test (all 20 videos)" in page


def test_categories_have_bounds_of_their_own(tmp_path):
  part = {"videos": 7, "scores": {"nss": 2.125}, "bounds": {"mean eye position": {"nss": 1.5}}}
  evaluation.write(
    tmp_path, ["a"], dataset="ave/native/1.0.0", categories={"social <events>": part}
  )
  rows = _rows(report.write(tmp_path).read_text("utf-8"))
  start = rows.index(["Social &lt;events&gt;: 7 of the videos"])
  assert rows[start + 1][0] == "TASED-Net" and "2.125" in rows[start + 1]
  assert rows[start + 2][0] == "mean eye position" and "1.500" in rows[start + 2]


def test_published_rows_of_a_category_are_below_it(tmp_path):
  part = {"videos": 2, "scores": {"nss": 2.125}, "bounds": {}}
  names = {"dataset": "ave/native/1.0.0", "split": "test", "categories": {"nature": part}}
  evaluation.write(tmp_path, ["a"], **names)
  page = report.write(tmp_path).read_text("utf-8")
  rows = _rows(page)
  start = rows.index(["Nature: 2 of the videos"])
  assert "2.125" in rows[start + 1]
  assert rows[start + 2][0].startswith("human infinite") and "3.32" in rows[start + 2]
  assert "Not the same frames: published for AVE test (miscellaneous)" in page
  assert "published for AVE test (nature)" not in page


def test_a_cross_validation_has_the_videos_of_all_its_splits(tmp_path):
  folds = [
    evaluation.write(tmp_path / f"test_{i}", names, seed=i)
    for i, names in enumerate((["a", "b"], ["c"]))
  ]
  evaluation.write(tmp_path / "mean", [], dataset="avad/native/1.0.0", split="test")
  summary = json.loads((tmp_path / "mean" / "scores.json").read_text()) | {
    "videos": [
      row | {"split": f"test_{i}"} for i, fold in enumerate(folds) for row in fold["videos"]
    ],
    "splits": {"test_1": {"source": {"path": "m/B"}, "scores": {"nss": 2.125}, "bounds": {}}},
  }
  (tmp_path / "scores.json").write_text(json.dumps(summary), "utf-8")
  page = report.write(tmp_path).read_text("utf-8")
  assert page.count('<tr id="video-') == 3 and page.count("data:image/jpeg") == 3 * 3
  assert ["TASED-Net|m/B", *["&ndash;"] * 4, "2.125", "&ndash;", "&ndash;"] in _rows(page)
  assert "Published for AVAD test; by falling NSS" in page


def test_hundreds_of_videos_stay_a_small_page(tmp_path):
  evaluation.write(tmp_path, [f"{i:04}" for i in range(700)], frames=2)
  page = report.write(tmp_path).read_text("utf-8")
  assert len(page) < 1e6
  assert page.count('<tr id="video-') == 700
  assert page.count("data:image") == 3 * 8


def test_an_unfinished_evaluation(tmp_path):
  with pytest.raises(UserError, match=r"scores\.json: no such file"):
    report.write(tmp_path)


def test_an_evaluation_of_another_format(tmp_path):
  evaluation.write(tmp_path, ["a"], format=2)
  with pytest.raises(UserError, match="format 2, and this version reads format 1"):
    report.write(tmp_path)


def test_a_missing_video_leaves_the_old_report(tmp_path):
  evaluation.write(tmp_path, ["a", "b"])
  old = report.write(tmp_path).read_text("utf-8")
  (tmp_path / "videos" / "00001.npz").unlink()
  with pytest.raises(UserError, match=r"00001\.npz: no such file"):
    report.write(tmp_path)
  assert (tmp_path / "report.html").read_text("utf-8") == old


def test_nan_in_the_scores_is_no_value(tmp_path):
  summary = evaluation.write(tmp_path, ["a", "b"])
  summary["videos"][0]["scores"]["nss"] = summary["scores"]["kl"]["mean"] = float("nan")
  (tmp_path / "scores.json").write_text(json.dumps(summary), "utf-8")
  assert '<p class="value"><span class="missing">' in report.write(tmp_path).read_text("utf-8")
