"""Prepared data sets: reading them, and the errors if there are none."""

import pickle
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from clip_set import CLIPS, clip_fixations, clip_size

from jaxsal import tfds_builders
from jaxsal.data import sources
from jaxsal.errors import UserError
from jaxsal.tfds_builders.build import prepare


def test_random_access_without_decoding(clips_dir):
  split = sources.open_split("clips", "train", clips_dir)
  assert [video.frames for video in split.videos] == list(CLIPS)
  assert len(split) == sum(CLIPS)
  for number, video in enumerate(split.videos):
    assert (video.height, video.width) == clip_size(number)
    for index in (0, video.frames - 1):
      record = split[video.first + index]
      assert (record["video"], record["index"]) == (number, index)
      assert isinstance(record["image"], bytes) and isinstance(record["density"], bytes)
      expected = clip_fixations(number, index)
      assert np.array_equal(record["fixations"], expected)
      assert np.array_equal(split.fixations(video.first + index), expected)
  with pytest.raises(IndexError):
    split[len(split)]


def test_a_list_of_videos_is_a_split_of_its_own(clips_dir):
  whole, fold = (sources.open_split("clips", name, clips_dir) for name in ("train", "fold"))
  assert (fold.name, fold.stored, whole.stored) == ("fold", "train", "train")
  assert [(v.name, v.first, v.frames) for v in fold.videos] == [
    ("v1", 0, 5),
    ("v2", 5, 20),
    ("v5", 25, 30),
  ]
  assert len(fold) == 55
  for video in fold.videos:
    (same,) = (v for v in whole.videos if v.name == video.name)
    for index in range(video.frames):
      assert fold[video.first + index]["image"] == whole[same.first + index]["image"]
  with pytest.raises(IndexError, match="'fold'"):
    fold[55]


def test_a_list_of_frames(clips_dir):
  split = sources.open_split("clips", "frames", clips_dir)
  assert [(v.name, v.frames, list(v.targets)) for v in split.videos] == [
    ("v0", 12, [2, 5]),
    ("v1", 5, [4]),
    ("v2", 20, [0, 3, 9, 17]),
    ("v5", 30, [1, 6, 21, 22]),
  ]
  records = sources.target_records(split.videos).tolist()
  assert records == [2, 5, 16, 17, 20, 26, 34, 38, 43, 58, 59]
  assert [split[record]["index"] for record in records] == [2, 5, 4, 0, 3, 9, 17, 1, 6, 21, 22]


@pytest.mark.parametrize("name", ["validation", "fold"])
def test_pickles_as_a_path(clips_dir, name):
  split = sources.open_split("clips", name, clips_dir)
  pickled = pickle.dumps(split)
  assert len(pickled) < 1000
  again = pickle.loads(pickled)
  assert again.videos == split.videos and again[3]["image"] == split[3]["image"]


@pytest.mark.parametrize(
  "dataset, split, message",
  [
    ("nosuch", "train", r"'nosuch' is unknown.*demo"),
    ("no such", "train", r"'no such' must be named NAME or NAME/CONFIG"),
    ("../clips", "train", r"must be named"),
    ("demo", "train", r"not prepared in .*jaxsal prepare demo --data-dir="),
    ("demo/tiny", "train", r"not prepared in .*jaxsal prepare demo/tiny --data-dir="),
    ("clips/small", "train", r"'clips/small' is not prepared"),
    (
      "clips",
      "holdout",
      r"'holdout' is not in clips/1.0.0: use one of train, validation, fold, frames\.",
    ),
  ],
)
def test_wrong_names(clips_dir, dataset, split, message):
  with pytest.raises(UserError, match=message):
    sources.open_split(dataset, split, clips_dir)


def test_missing_directory(tmp_path):
  with pytest.raises(UserError, match=r"does not exist.*jaxsal prepare demo --data-dir=.*absent"):
    sources.open_split("demo", "train", tmp_path / "absent")


@pytest.mark.parametrize("lost", ["dataset_info.json", "features.json", "clips-train*"])
def test_damaged_set(clips_dir, tmp_path, lost):
  shutil.copytree(clips_dir / "clips", tmp_path / "clips")
  for path in list((tmp_path / "clips").rglob(lost)):
    path.unlink()
  with pytest.raises(UserError, match="prepare"):
    sources.open_split("clips", "train", tmp_path)


def test_damaged_record(clips_dir, tmp_path):
  shutil.copytree(clips_dir / "clips", tmp_path / "clips")
  (path,) = (tmp_path / "clips").rglob("clips-train*")
  content = bytearray(path.read_bytes())
  content[:] = content[: len(content) // 2] + bytes(len(content) // 2)
  path.write_bytes(content)
  split = sources.open_split("clips", "train", tmp_path)
  with pytest.raises(UserError, match=r"is damaged.*record .* of 'train'"):
    for record in range(len(split)):
      split[record]


BROKEN = """
  import os, signal
  import clip_set

  class Builder(clip_set.Clips):
    name = "broken"
    pkg_dir_path = None

    def _generate_examples(self, frames):
      for number, example in enumerate(super()._generate_examples(frames)):
        if number == 5 and os.environ.get("HOW") == "error":
          raise RuntimeError("interrupted")
        if number == 5 and os.environ.get("HOW") == "kill":
          os.kill(os.getpid(), signal.SIGKILL)
        yield example
"""


@pytest.fixture
def broken_builder(tmp_path, monkeypatch):
  package = tmp_path / "builders" / "broken"
  package.mkdir(parents=True)
  (package / "__init__.py").touch()
  (package / "broken_dataset_builder.py").write_text(textwrap.dedent(BROKEN))
  monkeypatch.setattr(tfds_builders, "__path__", [*tfds_builders.__path__, str(package.parent)])
  return package.parent


@pytest.mark.parametrize("how", ["error", "kill"])
def test_interrupted_build_leaves_nothing_that_loads(broken_builder, tmp_path, how, monkeypatch):
  directory = tmp_path / "data"
  code = f"""
    import sys
    sys.path[:0] = {sys.path!r}
    from jaxsal import tfds_builders
    tfds_builders.__path__.append({str(broken_builder)!r})
    from jaxsal.tfds_builders.build import prepare
    prepare("broken", {str(directory)!r})
  """
  run = [sys.executable, "-c", textwrap.dedent(code)]
  monkeypatch.setenv("HOW", how)
  failed = subprocess.run(run, capture_output=True, text=True, check=False)
  assert failed.returncode == -signal.SIGKILL if how == "kill" else "interrupted" in failed.stderr
  with pytest.raises(UserError, match=r"not prepared.*jaxsal prepare broken"):
    sources.open_split("broken", "train", directory)
  monkeypatch.setenv("HOW", "")
  finished = prepare("broken", directory)
  assert len(sources.open_split("broken", "train", directory)) == sum(CLIPS)
  assert prepare("broken", directory) == finished  # built once only


@pytest.mark.parametrize(
  "dataset, message",
  [("nosuch", "'nosuch' is unknown.*demo"), ("demo/huge", "demo/default, demo/tiny")],
)
def test_prepare_wrong_names(tmp_path, dataset, message):
  with pytest.raises(UserError, match=message):
    prepare(dataset, tmp_path)
  assert not list(tmp_path.iterdir())


def test_demo_set(tmp_path, capfd):
  directory = prepare("demo/tiny", tmp_path)
  out = capfd.readouterr()
  assert out.out.count("\n") == 1 and not out.err  # one line of our own, nothing of TFDS
  assert directory == tmp_path / "demo" / "tiny" / "1.1.0"
  split = sources.open_split("demo/tiny", "validation", tmp_path)
  assert len(split.videos) == 2 and split.videos[0].first == 0
  assert isinstance(split[0]["exact"], bytes)  # images of one data set stay encoded too
  with pytest.raises(UserError, match="'demo' is not prepared"):  # the default is another one
    sources.open_split("demo", "validation", tmp_path)


def test_imports_neither_jax_nor_tensorflow():
  code = "import sys; from jaxsal.data import sources, transforms, windows; print(*sys.modules)"
  run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert not {"jax", "tensorflow"} & set(run.stdout.split())


def test_the_pipeline_needs_neither_jax_nor_ffmpeg():
  """Grain imports JAX if it finds it; nothing else does."""
  code = "import sys; sys.modules |= dict.fromkeys(['jax', 'av']); import jaxsal.data.pipeline"
  subprocess.run([sys.executable, "-c", code], check=True)
