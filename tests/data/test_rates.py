"""Frame rates that are none are refused wherever they come from."""

import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
import scipy.io
from trees import ledov, own, stavis

from jaxsal.data import sources, video
from jaxsal.data.rates import check_fps
from jaxsal.errors import UserError
from jaxsal.tfds_builders import records
from jaxsal.tfds_builders.build import prepare

NONE = [0, -25.0, float("nan"), float("inf")]


def test_rates():
  assert check_fps(Fraction(30000, 1001), "v") == pytest.approx(29.97, abs=0.001)
  for fps in (*NONE, Fraction(0)):
    with pytest.raises(UserError, match=rf"^v: {fps} frames per second is no frame rate; it must"):
      check_fps(fps, "v")


@pytest.mark.parametrize("fps", NONE)
def test_tables_of_videos(fps, clips_dir, tmp_path):
  row = records.Video(name="a", frames=3, height=4, width=6, fps=fps)
  with pytest.raises(UserError, match=r"^Video 'a': .* is no frame rate"):
    records.videos_table([row])
  shutil.copytree(clips_dir / "clips", tmp_path / "clips")
  (path,) = (tmp_path / "clips").rglob("metadata.json")
  metadata = json.loads(path.read_text())
  metadata["videos"]["train"][2]["fps"] = fps
  path.write_text(json.dumps(metadata))
  with pytest.raises(UserError, match=r"clips.*, video 'v2': .* is no frame rate"):
    sources.open_split("clips", "train", tmp_path)


@pytest.mark.parametrize("fps", NONE)
def test_downloads(fps, tmp_path, monkeypatch):
  source = stavis.write(tmp_path / "s", "DIEM", {"train": {"a": 3}, "test": {"b": 2}})
  (source / "fold_lists/DIEM_list_train_fps.txt").write_text(f"a 3 {fps}\n")
  with pytest.raises(UserError, match=r"DIEM_list_train_fps\.txt, line 1: .* with fps above 0"):
    prepare("diem", tmp_path, source)

  source = ledov.write(tmp_path / "l")
  path = source / "human_drum01" / "Data.mat"
  data = scipy.io.loadmat(path, simplify_cells=True)["Data"]
  scipy.io.savemat(path, {"Data": data | {"VideoFrameRate": np.float64(fps)}})
  with pytest.raises(UserError, match=r"human_drum01: .*must have .* one frame rate"):
    prepare("ledov", tmp_path, source)

  source = own.write(tmp_path / "o", {"bench": 3, "park": 3})
  probe = video.probe

  def without_rate(path):
    info = probe(path)
    if info.path.stem == "bench":
      object.__setattr__(info, "fps", fps)
    return info

  monkeypatch.setattr(video, "probe", without_rate)
  with pytest.raises(UserError, match=r"bench: .*bench\.mp4: .* is no frame rate"):
    prepare("own", tmp_path, source)
