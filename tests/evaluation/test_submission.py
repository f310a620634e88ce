"""Tests the folders and images that a benchmark takes."""

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from movement import Movement

import jaxsal
from jaxsal import cli, models
from jaxsal.data import sources, transforms
from jaxsal.errors import UserError
from jaxsal.evaluation import submission
from jaxsal.evaluation.submission import submit


@pytest.fixture(scope="module")
def split(data_dir):
  return sources.open_split("demo/tiny", "test", data_dir)


def run(out, data_dir, model=None, **options):
  options = {"split": "test", "data_dir": data_dir, "batch_size": 8} | options
  return submit(model or Movement(), "demo/tiny", out=out, **options)


def tree(out):
  return {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory):
  """The folder of a finished submission, which tests only read."""
  return run(tmp_path_factory.mktemp("submission") / "movement", data_dir)


def test_tree(finished, split):
  assert {path.name for path in finished.iterdir()} == {video.name for video in split.videos}
  for video in split.videos:
    names = sorted(path.name for path in (finished / video.name).iterdir())
    assert names == [f"{i:04}.png" for i in range(1, video.frames + 1)]


def test_images(finished, split):
  video = split.videos[1]
  frames = [
    transforms.decode_frame(split[video.first + i]["image"], "") for i in range(video.frames)
  ]
  maps = jaxsal.predict(
    Movement(), np.stack([transforms.resize(frame, (32, 48)) for frame in frames]), batch_size=8
  )
  for i, saliency in enumerate(maps, start=1):
    grey = cv2.imread(str(finished / video.name / f"{i:04}.png"), cv2.IMREAD_UNCHANGED)
    assert (grey.shape, grey.dtype) == ((video.height, video.width), np.uint8)
    assert grey.max() == 255
    # OpenCV's bicubic kernel is a little sharper.
    other = cv2.resize(saliency, (video.width, video.height), interpolation=cv2.INTER_CUBIC)
    assert np.corrcoef(grey.ravel(), other.ravel())[0, 1] > 0.99


def test_a_submission_scores_as_its_model_does(data_dir, tmp_path):
  out = run(tmp_path / "maps", data_dir, split="validation", blur=1.0)
  options = {"split": "validation", "data_dir": data_dir, "bounds": False}
  direct = jaxsal.evaluate(Movement(), "demo/tiny", out=tmp_path / "a", blur=1.0, **options)
  maps = jaxsal.evaluate(out, "demo/tiny", out=tmp_path / "b", maps=True, **options)
  for name, score in direct["scores"].items():
    if name in ("cc", "nss", "sim", "auc_shuffled"):  # rounding to 8 bits hardly moves these
      assert maps["scores"][name]["mean"] == pytest.approx(score["mean"], rel=0.01)


def test_a_run_that_was_stopped_continues(finished, data_dir, tmp_path, monkeypatch):
  write = submission._write_video
  written = []

  def until_the_second(folder, maps, video, *rest):
    written.append(video.name)
    write(folder, maps, video, *rest)
    if len(written) == 2:
      raise KeyboardInterrupt

  monkeypatch.setattr(submission, "_write_video", until_the_second)
  out = tmp_path / "out"
  with pytest.raises(KeyboardInterrupt):
    run(out, data_dir)
  assert [path.name for path in out.iterdir()] == written[:1]
  (out / f".{written[1]}-killed").mkdir()  # an unfinished folder of a killed process
  run(out, data_dir)
  assert written[1:] == written[1:2] * 2
  assert tree(out) == tree(finished)
  assert not list(out.glob(".*"))


def test_maps_of_another_model_are_not_mixed_in(data_dir, tmp_path):
  out = run(tmp_path / "out", data_dir)
  with pytest.raises(UserError, match=r"(?s)another run:.*blur_video: 0\.0 there, 2\.0 now"):
    run(out, data_dir, blur_video=2.0)
  before = tree(out)
  run(out, data_dir, blur_video=2.0, overwrite=True)
  assert tree(out).keys() == before.keys() and tree(out) != before
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "thesis.tex").touch()
  with pytest.raises(UserError, match=r"thesis\.tex"):
    run(tmp_path / "full", data_dir, overwrite=True)


def test_names_stay_inside_the_folder(data_dir, tmp_path, monkeypatch, split):
  monkeypatch.setattr(sources, "open_split", lambda *_: split)
  videos = (*split.videos[:1], split.videos[1].__class__("../up", 1, 1, 4, 4, 25.0))
  monkeypatch.setattr(split, "videos", videos)
  with pytest.raises(UserError, match=r"'\.\./up', which cannot be the name of a folder"):
    run(tmp_path / "out", data_dir)
  assert list(tmp_path.iterdir()) == []


def test_the_command(finished, data_dir, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(models, "load", lambda path: Movement())
  command = ["submit", "--model=m", "--dataset=demo/tiny", f"--data-dir={data_dir}"]
  assert cli.main([*command, "--split=test", f"--out={tmp_path / 'out'}"]) == 0
  assert f"ready: {tmp_path / 'out'}" in capsys.readouterr().out.replace("\n", "")
  assert tree(tmp_path / "out") == tree(finished)
  assert cli.main([*command, "--split=tset", f"--out={tmp_path / 'out'}"]) == 2
  assert "'tset' is not in" in capsys.readouterr().err


def test_a_network_that_gives_nan_is_an_error(data_dir, tmp_path, split):
  model = Movement()
  model.factor[...] = jnp.asarray(jnp.nan)
  message = f"{split.videos[0].name}, frame 0: the map is not finite, because the network computes"
  with pytest.raises(UserError, match=message):
    run(tmp_path / "out", data_dir, model)
  assert not list((tmp_path / "out").iterdir())
