"""DHF1K, Hollywood-2 and UCF-Sports, built from small folders in their authors' layouts."""

import importlib.util
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds
from trees import annotated, dhf1k, hollywood2, ucf

from jaxsal import cli
from jaxsal.data import sources, transforms
from jaxsal.errors import UserError
from jaxsal.evaluation import bounds
from jaxsal.tfds_builders import annotations, shards, video_builder
from jaxsal.tfds_builders.build import prepare
from jaxsal.tfds_builders.dhf1k import dhf1k_dataset_builder

VIDEOS = {1: 12, 2: 5, 601: 9, 701: 4}
SIZE = (36, 64)


@pytest.fixture(autouse=True)
def several_shards(monkeypatch):
  monkeypatch.setattr(shards, "_SHARD_FRAMES", 8)


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory):
  return dhf1k.write(tmp_path_factory.mktemp("downloads") / "dhf1k", VIDEOS, gaze=True, unseen=[3])


def build(name, source, data_dir, skip_bad=True):
  return prepare(name, data_dir, source, skip_bad=skip_bad)


def test_dhf1k(downloaded, tmp_path):
  build("dhf1k", downloaded, tmp_path)
  train, validation, test = (
    sources.open_split("dhf1k", split, tmp_path) for split in ("train", "validation", "test")
  )
  assert [(v.name, v.first, v.frames) for v in train.videos] == [("0001", 0, 12), ("0002", 12, 5)]
  assert len(validation) == 9 and len(test) == 4
  assert train.metadata["annotated"] == {"train": True, "validation": True, "test": False}
  assert train.metadata["jpeg_quality"] == 90
  assert train.metadata["gaze"] == {"train": True, "validation": True, "test": False}
  assert "human infinite" in bounds.of_split(train, None)
  for index, (x, y) in enumerate(annotated.centres(12, SIZE, 1)):
    record = train[index]
    assert record["index"] == index
    image = transforms.decode_frame(record["image"], "")
    assert image.shape == (*SIZE, 3)
    assert image[y, x, 0] > 180 > 120 > np.median(image)  # the square
    expected = [] if index == 3 else [[x - 1.5, y + 0.5], [x + 0.5, y + 0.5], [x + 1.5, y + 0.5]]
    np.testing.assert_allclose(record["fixations"], np.reshape(expected, (-1, 2)))
    density = transforms.decode_density(record["density"], "")
    assert density.shape == SIZE
    if index != 3:
      assert np.unravel_index(density.argmax(), SIZE) == (y, x)
  assert test[0]["fixations"].size == 0
  assert not transforms.decode_density(test[0]["density"], "").any()


def test_gaze_is_mapped_from_the_screen(downloaded, tmp_path):
  build("dhf1k/192x352", downloaded, tmp_path)
  split = sources.open_split("dhf1k/192x352", "train", tmp_path)
  for index, (x, y) in enumerate(annotated.centres(5, SIZE, 2)):
    gaze = split[12 + index]["gaze"]
    assert gaze[:, 2].tolist() == [1, 2]  # the third observer never fixates
    expected = [((x + observer) * 352 / 64, (y + 0.5) * 192 / 36) for observer in (1, 2)]
    np.testing.assert_allclose(gaze[:, :2], expected, atol=0.06)


def test_resized(downloaded, tmp_path):
  for name, size in (("dhf1k/192x352", (192, 352)), ("dhf1k/224x384", (224, 384))):
    build(name, downloaded, tmp_path)
    split = sources.open_split(name, "train", tmp_path)
    assert (split.videos[0].height, split.videos[0].width) == size
    record = split[0]
    assert transforms.decode_frame(record["image"], "").shape == (*size, 3)
    density = transforms.decode_density(record["density"], "")
    assert density.shape == size and density.max() == 255
    x, y = annotated.centres(1, SIZE, 1)[0]
    point = (np.float32([x + 0.5, y + 0.5]) * np.divide(size, SIZE)[::-1]).tolist()
    assert record["fixations"][1].tolist() == pytest.approx(point)
    assert np.hypot(*(np.argwhere(density == 255).mean(0)[::-1] - point)) < 4


@pytest.mark.parametrize("mat", [False, True])
@pytest.mark.parametrize("extracted", [False, True])
def test_ways_in_which_dhf1k_is_kept(tmp_path, mat, extracted):
  source = dhf1k.write(tmp_path / "d", {1: 3, 701: 2}, as_frames=extracted, mat=mat)
  build("dhf1k", source, tmp_path)
  train = sources.open_split("dhf1k", "train", tmp_path)
  x, y = annotated.centres(3, SIZE, 1)[2]
  assert train[2]["fixations"].tolist() == [
    [x - 1.5, y + 0.5],
    [x + 0.5, y + 0.5],
    [x + 1.5, y + 0.5],
  ]
  assert len(sources.open_split("dhf1k", "test", tmp_path)) == 2


def test_hollywood2_and_ucf(tmp_path):
  hollywood2.write(tmp_path / "h", mat=True)
  ucf.write(tmp_path / "u")
  build("hollywood2", tmp_path / "h", tmp_path)
  build("ucf", tmp_path / "u", tmp_path)
  train, test = (sources.open_split("hollywood2", s, tmp_path) for s in ("train", "test"))
  assert [(v.name, v.frames) for v in test.videos] == [
    ("actioncliptest00001_1", 1),
    ("actioncliptest00002_1", 3),
  ]
  assert len(train) == 45 and train[6]["index"] == 1
  train = sources.open_split("ucf", "train", tmp_path)
  assert [(v.height, v.width) for v in train.videos] == [(36, 48), (40, 72)]
  last = train.videos[1].first + 11
  image = transforms.decode_frame(train[last]["image"], "")
  expected = annotated.images(12, (40, 72), 2)[11]
  assert np.abs(image.astype(int) - expected).mean() < 10  # JPEG on noise


def test_the_same_through_tfds_itself(downloaded, tmp_path):
  """The calls are those of `tfds build`."""
  tfds.disable_progress_bar()
  builder = dhf1k_dataset_builder.Builder(data_dir=tmp_path, config="224x384", skip_bad=True)
  builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=downloaded))
  build("dhf1k/224x384", downloaded, tmp_path / "ours")
  ours, theirs = (
    sources.open_split("dhf1k/224x384", "train", d) for d in (tmp_path / "ours", tmp_path)
  )
  assert ours.videos == theirs.videos
  for a, b in zip((ours[i] for i in range(17)), (theirs[i] for i in range(17))):
    assert a["image"] == b["image"] and a["density"] == b["density"]


class Stop(BaseException):
  """An interruption."""


def test_an_interrupted_build_continues(downloaded, tmp_path, monkeypatch):
  read, seen = annotations.read, []

  def interrupted(recording):
    if recording.name == "0601":
      raise Stop
    seen.append(recording.name)
    return read(recording)

  monkeypatch.setattr(annotations, "read", interrupted)
  with pytest.raises(Stop):
    build("dhf1k", downloaded, tmp_path)
  with pytest.raises(UserError, match="not prepared"):
    sources.open_split("dhf1k", "train", tmp_path)
  monkeypatch.setattr(annotations, "read", lambda r: seen.append(r.name) or read(r))
  build("dhf1k", downloaded, tmp_path)
  assert seen == ["0001", "0002", "0601", "0701"]  # nothing twice
  assert len(sources.open_split("dhf1k", "train", tmp_path)) == 17
  assert [p.name for p in (tmp_path / "dhf1k" / "native").iterdir()] == ["1.0.0"]


def test_another_folder_is_not_mixed_in(downloaded, tmp_path, monkeypatch):
  read = annotations.read

  def interrupted(recording):
    if recording.name == "0601":
      raise Stop
    return read(recording)

  monkeypatch.setattr(annotations, "read", interrupted)
  with pytest.raises(Stop):
    build("dhf1k", downloaded, tmp_path)
  monkeypatch.setattr(annotations, "read", read)
  build("dhf1k", dhf1k.write(tmp_path / "other", {1: 4}), tmp_path)
  assert len(sources.open_split("dhf1k", "train", tmp_path)) == 4


def first(folder, pattern):
  return min(folder.glob(pattern))


def write_mat(path, **variables):
  scipy.io.savemat(path, variables)


@pytest.fixture
def two_videos(monkeypatch):
  """Makes a DHF1K of two videos, with 12 and 5 frames, complete."""
  monkeypatch.setattr(dhf1k_dataset_builder, "_SPLITS", {"train": (1, 2)})
  register = {"train": video_builder.Register(2, 17)}
  monkeypatch.setattr(dhf1k_dataset_builder.Builder, "REGISTER", register)


# For each kind of damage: a function that does it, and the expected error.
DAMAGE = {
  "no video": (lambda d: (d / "video/001.AVI").unlink(), r"train: no frames of 001\n"),
  "no maps": (lambda d: shutil.rmtree(d / "annotation/0001/maps"), "0001/maps is missing"),
  "a map less": (
    lambda d: (d / "annotation/0001/maps/0012.png").unlink(),
    "0001: 11 files in .*maps, 12 files in .*fixation",
  ),
  "an annotated frame less": (
    lambda d: [first(d, f"annotation/0001/{k}/0012.png").unlink() for k in ("maps", "fixation")],
    "train: 2 videos with 16 frames; the complete set has 2 with 17",
  ),
  "an unreadable map": (
    lambda d: (d / "annotation/0001/maps/0005.png").write_bytes(b"\x89PNG oops"),
    r"maps/0005.png cannot be decoded \(9 bytes\)",
  ),
  "an empty file": (
    lambda d: (d / "annotation/0001/fixation/0005.png").write_bytes(b""),
    r"fixation/0005.png cannot be decoded \(0 bytes\)",
  ),
  "a map of another size": (
    lambda d: cv2.imwrite(str(d / "annotation/0001/maps/0005.png"), np.zeros((9, 16))),
    "maps/0005.png is 9 x 16, its frame is 36 x 64",
  ),
  "a truncated video": (
    lambda d: (d / "video/001.AVI").write_bytes((d / "video/001.AVI").read_bytes()[:6000]),
    "001.AVI",
  ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_downloads(tmp_path, damage, two_videos, capsys):
  hurt, message = DAMAGE[damage]
  source = dhf1k.write(tmp_path / "d", {1: 12, 2: 5})
  hurt(source)
  with pytest.raises(UserError, match=message):
    build("dhf1k", source, tmp_path, skip_bad=False)
  assert not list(tmp_path.rglob("dataset_info.json"))

  build("dhf1k", source, tmp_path)
  split = sources.open_split("dhf1k", "train", tmp_path)
  assert [(v.name, v.first, v.frames) for v in split.videos] == [("0002", 0, 5)]
  assert any("001" in line for line in split.metadata["skipped"])
  assert "left out" in capsys.readouterr().out


def test_a_mat_file_without_its_variable(tmp_path):
  source = dhf1k.write(tmp_path / "d", {1: 3}, mat=True)
  path = source / "annotation/0001/fixation/maps/0002.mat"
  recording = annotations.find("0001", source / "annotation/0001", source / "video/001.AVI", 30, [])
  write_mat(path, J=np.zeros((36, 64)))
  with pytest.raises(UserError, match=r"0002.mat has no variable I; it has J"):
    list(annotations.read(recording))
  path.write_bytes(b"MATLAB 5.0 MAT-file, broken")
  with pytest.raises(UserError, match=r"0002.mat is not a MATLAB file"):
    list(annotations.read(recording))


def test_counts_that_differ_from_the_register(tmp_path, two_videos):
  source = dhf1k.write(tmp_path / "d", {1: 12, 2: 4})
  message = "train: 2 videos with 16 frames; the complete set has 2 with 17"
  with pytest.raises(UserError, match=message):
    build("dhf1k", source, tmp_path, skip_bad=False)


def test_a_video_longer_than_its_annotation(tmp_path):
  source = dhf1k.write(tmp_path / "d", {1: 12})
  DAMAGE["an annotated frame less"][0](source)
  recording = annotations.find("0001", source / "annotation/0001", source / "video/001.AVI", 30, [])
  with pytest.raises(UserError, match=r"001\.AVI has 12 frames, .*maps says 11"):
    list(annotations.read(recording))


def test_skipping_after_a_stop_keeps_what_was_built(tmp_path, two_videos, monkeypatch):
  source = dhf1k.write(tmp_path / "d", {1: 12, 2: 5})
  (source / "annotation/0002/maps/0005.png").write_bytes(b"")
  with pytest.raises(UserError, match=r"0005\.png cannot be decoded"):
    build("dhf1k", source, tmp_path, skip_bad=False)
  summary = json.loads(first(tmp_path / "dhf1k/native", "*.parts/train-*.json").read_text())
  assert [row["name"] for row in summary["videos"]] == ["0001"]
  read, seen = annotations.read, []
  monkeypatch.setattr(annotations, "read", lambda r: seen.append(r.name) or read(r))
  build("dhf1k", source, tmp_path)
  assert seen == ["0002"]
  split = sources.open_split("dhf1k", "train", tmp_path)
  assert [v.name for v in split.videos] == ["0001"]
  assert len(split.metadata["skipped"]) == 1 and "0005.png" in split.metadata["skipped"][0]


def test_command(downloaded, tmp_path, capsys):
  assert cli.main(["prepare", "dhf1k", f"--data-dir={tmp_path}"]) == 2
  assert "dhf1k is built from a folder of yours. Fetch DHF1K" in capsys.readouterr().err
  assert cli.main(["prepare", "dhf1k", f"--from={tmp_path}/none", f"--data-dir={tmp_path}"]) == 2
  assert "none is not a folder" in capsys.readouterr().err
  assert cli.main(["prepare", "dhf1k", f"--from={tmp_path}", f"--data-dir={tmp_path}"]) == 2
  assert "holds no video of dhf1k" in capsys.readouterr().err
  arguments = ["prepare", "dhf1k", f"--from={downloaded}", f"--data-dir={tmp_path}"]
  assert cli.main(arguments) == 2
  assert "no frames of 003-600" in capsys.readouterr().err
  assert not list(tmp_path.rglob("dataset_info.json"))
  assert cli.main([*arguments, "--skip-bad"]) == 0
  assert "left out: train: no frames of 003-600" in capsys.readouterr().out


def test_a_set_that_was_built_before(tmp_path, two_videos, capsys):
  source = dhf1k.write(tmp_path / "d", {1: 12, 2: 5})
  build("dhf1k", source, tmp_path, skip_bad=False)
  capsys.readouterr()
  directory = build("dhf1k", source, tmp_path)
  assert capsys.readouterr().out == f"dhf1k/native/1.0.0 was built before, in {directory}\n"

  (source / "annotation/0002/maps/0005.png").unlink()
  build("dhf1k/192x352", source, tmp_path)
  capsys.readouterr()
  prepare("dhf1k/192x352", tmp_path)  # needs no download
  said = capsys.readouterr().out.splitlines()
  assert said[1] == "with --skip-bad, because parts were missing or damaged:"
  assert said[2].startswith("  0002: 4 files in ") and len(said) == 5
  assert said[4] == "To build it again, delete that directory and run the command again."


# A warning of the version of protobuf that comes with Beam, about its use by TFDS.
OLD_PROTOBUF = pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated")


@OLD_PROTOBUF
def test_command_of_tfds(downloaded, tmp_path):
  for package in ("apache_beam", "mlcroissant", "tensorflow"):
    if importlib.util.find_spec(package) is None:
      pytest.skip("needs what the command imports: pip install 'jaxsal[tfds]'")

  def build(builder, *arguments):
    program = str(pathlib.Path(sys.executable).with_name("tfds"))
    command = [program, "build", f"tfds_builders/{builder}", f"--data_dir={tmp_path}", *arguments]
    root = pathlib.Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)

  run = build("dhf1k", f"--manual_dir={downloaded}")
  assert run.returncode != 0 and "no frames of 003-600" in run.stderr
  assert not list(tmp_path.rglob("dataset_info.json"))
  run = build("demo", "--config=tiny")
  assert run.returncode == 0, run.stderr
  assert len(sources.open_split("demo/tiny", "train", tmp_path)) == 140


@OLD_PROTOBUF
@pytest.mark.filterwarnings("default")  # warnings of Beam and of the older protobuf that it needs
def test_with_beam(tmp_path):
  pytest.importorskip("apache_beam", reason="builds in parallel: pip install 'jaxsal[beam]'")
  source = dhf1k.write(tmp_path / "d", VIDEOS)
  (source / "annotation/0002/maps/0003.png").write_bytes(b"")
  parallel = tmp_path / "parallel"
  prepare("dhf1k", parallel, source, skip_bad=True, jobs=2)
  build("dhf1k", source, tmp_path)
  one, two = (sources.open_split("dhf1k", "validation", d) for d in (tmp_path, parallel))
  assert one.videos == two.videos and one.metadata == two.metadata
  for i in range(len(one)):
    assert one[i]["image"] == two[i]["image"]


@OLD_PROTOBUF
def test_an_error_of_a_worker(tmp_path, monkeypatch):
  pytest.importorskip("apache_beam", reason="builds in parallel: pip install 'jaxsal[beam]'")
  source = dhf1k.write(tmp_path / "d", {1: 9, 2: 9})
  (source / "annotation/0002/maps/0003.png").write_bytes(b"")
  monkeypatch.setattr(dhf1k_dataset_builder, "_SPLITS", {"train": (1, 2)})
  monkeypatch.setattr(
    dhf1k_dataset_builder.Builder, "REGISTER", {"train": video_builder.Register(2, 18)}
  )
  with pytest.raises(UserError, match=r"^\S+0003\.png cannot be decoded \(0 bytes\)\.$"):
    prepare("dhf1k", tmp_path, source, jobs=2)
  build("dhf1k", source, tmp_path)
  assert len(sources.open_split("dhf1k", "train", tmp_path)) == 9


def test_interrupted_in_the_last_moment(downloaded, tmp_path, monkeypatch):
  """Some shards have been moved to where TFDS deletes them."""
  replace, moved = os.replace, []

  def interrupted(source, target):
    if "-of-" in str(target):
      moved.append(target)
      if len(moved) == 2:
        raise Stop
    return replace(source, target)

  monkeypatch.setattr(os, "replace", interrupted)
  with pytest.raises(Stop):
    build("dhf1k", downloaded, tmp_path)
  monkeypatch.setattr(os, "replace", replace)
  build("dhf1k", downloaded, tmp_path)
  assert len(sources.open_split("dhf1k", "train", tmp_path)) == 17


def test_damaged_videos_without_annotation(tmp_path):
  source = dhf1k.write(tmp_path / "d", {1: 3, 701: 2, 702: 2})
  (source / "video/701.AVI").write_bytes(b"")
  with pytest.raises(UserError, match=r"0701: .*701\.AVI: the file is empty"):
    build("dhf1k", source, tmp_path, skip_bad=False)
  build("dhf1k", source, tmp_path)
  assert [v.name for v in sources.open_split("dhf1k", "test", tmp_path).videos] == ["0702"]


def test_a_frame_of_another_size(tmp_path):
  source = dhf1k.write(tmp_path / "d", {1: 3}, as_frames=True)
  for kind in ("images", "maps", "fixation"):
    cv2.imwrite(str(source / "annotation/0001" / kind / "0002.png"), np.ones((9, 16), np.uint8))
  folder = source / "annotation/0001"
  recording = annotations.find("0001", folder, folder / "images", 30, [])
  with pytest.raises(UserError, match=r"0002\.png is 9 x 16, the video's first frame is 36 x 64"):
    list(annotations.read(recording))


def test_hidden_files_do_not_count(tmp_path):
  source = dhf1k.write(tmp_path / "d", {1: 3})
  (source / "annotation/0001/maps/._0001.png").write_bytes(b"left by another system")
  build("dhf1k", source, tmp_path)
  assert len(sources.open_split("dhf1k", "train", tmp_path)) == 3


def test_without_gaze_records_there_is_no_human_infinite(tmp_path):
  build("dhf1k", dhf1k.write(tmp_path / "d", {1: 3}), tmp_path)
  split = sources.open_split("dhf1k", "train", tmp_path)
  assert split[0]["gaze"].shape == (0, 3)
  assert split.metadata["gaze"] == {"train": False, "validation": False, "test": False}
  assert bounds.of_split(split, None) == {}


def test_workers_get_a_builder_with_its_options(tmp_path):
  builder = dhf1k_dataset_builder.Builder(data_dir=tmp_path, config="192x352", skip_bad=True)
  copy = pickle.loads(pickle.dumps(builder))
  assert copy._skip_bad and copy.builder_config.size == (192, 352)


def test_a_long_list_of_problems_is_cut():
  lines = video_builder.shortened([f"video {i}" for i in range(30)])
  assert lines[-2:] == ["video 19", "and 10 more"]


def test_ranges():
  assert video_builder.missing([7, 1, 2, 3, 600]) == "001-003, 007, 600"
