"""One natural order of numbered files, in builders and in `evaluate --maps`."""

import pathlib
import shutil

import cv2
import numpy as np
import pytest
from trees import annotated, dhf1k, hollywood2, own, stavis

from jaxsal.data import naming, sources, transforms
from jaxsal.errors import UserError
from jaxsal.evaluation.systems import FolderMaps
from jaxsal.tfds_builders import annotations
from jaxsal.tfds_builders.avad import avad_dataset_builder
from jaxsal.tfds_builders.build import prepare
from jaxsal.tfds_builders.video_builder import Register

SIZE = (36, 64)
FRAMES = 12


def rename(folder, *patterns, to):
  """Renames numbered files: `to` makes the new stem of a frame's position, from 1."""
  for pattern in patterns:
    for position, path in enumerate(sorted(folder.glob(pattern)), start=1):
      path.rename(path.with_name(f"{to(position)}{path.suffix}"))


def test_the_order_of_names():
  names = ["1.png", "2.png", "10.png", "998.png", "1000.png", "a_2_10.png", "a_10_2.png", "a.png"]
  paths = [pathlib.Path(name) for name in reversed(names)]
  ordered = [path.name for path in naming.in_order(paths)]
  assert ordered == [*names[:5], "a.png", "a_2_10.png", "a_10_2.png"]


WAYS = {
  "without zeros": str,
  "zeros that ran out": lambda i: f"{i + 90:02}",
  "from 0": lambda i: f"{i - 1}",
  "with a text": lambda i: f"frame{i}",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mat", [False, True])
def test_frames_of_dhf1k_by_number(tmp_path, way, mat):
  source = dhf1k.write(tmp_path / "d", {1: FRAMES}, as_frames=True, mat=mat)
  folder = source / "annotation" / "0001"
  fixations = "fixation/maps/*.mat" if mat else "fixation/*.png"
  rename(folder, "images/*.png", "maps/*.png", fixations, to=WAYS[way])
  problems = []
  recording = annotations.find("0001", folder, folder / "images", 30, problems)
  assert not problems
  for frame, (x, y) in zip(annotations.read(recording), annotated.centres(FRAMES, SIZE, 1)):
    assert [x + 0.5, y + 0.5] in frame.fixations.tolist()
    assert frame.image[y, x, 0] > 180


def test_zeros_do_not_count_when_names_are_paired(tmp_path):
  source = dhf1k.write(tmp_path / "d", {1: FRAMES}, as_frames=True)
  folder = source / "annotation" / "0001"
  rename(folder, "images/*.png", to=str)
  rename(folder, "fixation/*.png", to=lambda i: f"{i:07}")
  problems = []
  recording = annotations.find("0001", folder, folder / "images", 30, problems)
  assert not problems and len(list(annotations.read(recording))) == FRAMES


UNPAIRED = {
  "images from 0": (
    lambda d: rename(d, "images/*.png", to=lambda i: f"{i - 1:04}"),
    r"maps/0012\.png has no partner in \S*images|images/0000\.png has no partner in \S*maps",
  ),
  "another frame is missing": (
    lambda d: [(d / "maps/0003.png").unlink(), (d / "fixation/0004.png").unlink()],
    r"has no partner in",
  ),
  "another text": (
    lambda d: rename(d, "fixation/*.png", to=lambda i: f"eye_{i:04}"),
    r"maps/0001\.png has no partner in \S*fixation, where its name must be the same",
  ),
  "a frame twice": (
    lambda d: shutil.copy(d / "maps/0003.png", d / "maps/3.png"),
    r"0003\.png and 3\.png have the same number",
  ),
  "a map less": (
    lambda d: (d / "maps/0012.png").unlink(),
    r"11 files in .*12 files in .*; \S*0012\.png has no partner in \S*maps",
  ),
}


@pytest.mark.parametrize("way", UNPAIRED)
def test_names_that_do_not_pair_are_told_before_anything_is_built(tmp_path, way):
  hurt, message = UNPAIRED[way]
  source = dhf1k.write(tmp_path / "d", {1: FRAMES, 2: 1}, as_frames=True)
  hurt(source / "annotation" / "0001")
  with pytest.raises(UserError, match=f"0001: .*({message})"):
    prepare("dhf1k", tmp_path, source)


def test_videos_and_folders_of_dhf1k_by_number(tmp_path):
  source = dhf1k.write(tmp_path / "d", {1: 3, 2: 4, 601: 3}, gaze=True)
  (source / "video/001.AVI").rename(source / "video/1.AVI")
  (source / "video/601.AVI").rename(source / "video/0601.avi")
  (source / "annotation/0001").rename(source / "annotation/1")
  (source / "annotation/0601").rename(source / "annotation/601")
  for observer in (1, 2, 3):
    place = source / f"exportdata_train/P{observer:03}"
    (place / f"P{observer:03}_Trail0001.txt").rename(place / f"P{observer:03}_Trail1.txt")
  prepare("dhf1k", tmp_path, source, skip_bad=True)
  train, validation = (sources.open_split("dhf1k", s, tmp_path) for s in ("train", "validation"))
  assert [video.name for video in (*train.videos, *validation.videos)] == ["0001", "0002", "0601"]
  assert len(train[0]["gaze"]) == 2


def test_two_videos_of_one_number(tmp_path):
  source = dhf1k.write(tmp_path / "d", {1: 3})
  shutil.copy(source / "video/001.AVI", source / "video/1.AVI")
  with pytest.raises(UserError, match=r"001\.AVI and 1\.AVI have the same number"):
    prepare("dhf1k", tmp_path, source)


def test_shots_and_own_videos_come_in_natural_order(tmp_path):
  hollywood2.write(tmp_path / "h", train=(1,) * 11)
  for shot in (tmp_path / "h/training").iterdir():
    shot.rename(shot.with_name(f"shot_{int(shot.name[15:20])}"))
  prepare("hollywood2", tmp_path, tmp_path / "h", skip_bad=True)
  videos = sources.open_split("hollywood2", "train", tmp_path).videos
  assert [video.name for video in videos] == [f"shot_{i}" for i in range(1, 12)]
  prepare(
    "own", tmp_path, own.write(tmp_path / "o", dict.fromkeys(("clip10", "clip9", "clip1"), 3))
  )
  validation = sources.open_split("own", "validation", tmp_path)
  assert [video.name for video in validation.videos] == ["clip10"]


STAVIS = {
  "as distributed": lambda i: f"{i:05}",
  "without zeros": str,
  "with fewer zeros": lambda i: f"{i:02}",
  "from 0": lambda i: f"{i - 1:05}",
  "from 0 without zeros": lambda i: f"{i - 1}",
}
PLACES = {
  "img_": "video_frames/AVAD/V1/img_*.jpg",
  "eyeMap_": "annotations/AVAD/V1/maps/eyeMap_*.jpg",
  "fixMap_": "annotations/AVAD/V1/fixMap_*.mat",
}


@pytest.fixture
def avad(tmp_path, monkeypatch):
  """Writes the folder of an AVAD of one video."""
  monkeypatch.setattr(avad_dataset_builder.Builder, "REGISTER", {"full": Register(2, None)})
  rows = {f"{part}_{n}": {"V1": FRAMES, "V2": 1} for part in ("train", "test") for n in (1, 2, 3)}
  return stavis.write(tmp_path / "s", "AVAD", rows)


def renumber(folder, way, *prefixes):
  for prefix in prefixes:
    rename(folder, PLACES[prefix], to=lambda i, prefix=prefix: prefix + STAVIS[way](i))


@pytest.mark.parametrize("way", STAVIS)
def test_frames_of_stavis_by_number(avad, tmp_path, way):
  renumber(avad, way, "img_", "eyeMap_")
  renumber(avad, way if "0" in way else "without zeros", "fixMap_")  # need not be written alike
  prepare("avad", tmp_path, avad)
  split = sources.open_split("avad", "full", tmp_path)
  assert [(video.name, video.frames) for video in split.videos] == [("V1", FRAMES), ("V2", 1)]
  for i, (x, y) in enumerate(annotated.centres(FRAMES, SIZE, 1)):
    assert [x + 0.5, y + 0.5] in split[i]["fixations"].tolist()
    assert transforms.decode_frame(split[i]["image"], "")[y, x, 0] > 180


def test_kinds_of_stavis_that_are_counted_differently(avad, tmp_path):
  renumber(avad, "from 0", "img_")
  with pytest.raises(UserError, match=r"V1: frames are counted from 0 in \S*video_frames"):
    prepare("avad", tmp_path, avad)


def test_a_frame_of_stavis_twice(avad, tmp_path):
  maps = avad / "annotations/AVAD/V1/maps"
  shutil.copy(maps / "eyeMap_00003.jpg", maps / "eyeMap_3.jpg")
  with pytest.raises(UserError, match=r"V1: .*eyeMap_3\.jpg .* the same number"):
    prepare("avad", tmp_path, avad)


@pytest.fixture(scope="module")
def split(data_dir):
  return sources.open_split("demo/tiny", "validation", data_dir)


def write_maps(folder, split, stem):
  """Writes images whose value is the number of the frame, from 1."""
  for video in split.videos:
    (folder / video.name).mkdir(parents=True)
    for i in range(1, video.frames + 1):
      cv2.imwrite(str(folder / video.name / f"{stem(i)}.png"), np.full((4, 6), i, np.uint8))


@pytest.mark.parametrize(
  "stem",
  [*WAYS.values(), lambda i: f"map-{i}_of_{99 + i % 2}"],
)
def test_maps_of_another_system_by_number(tmp_path, split, stem):
  write_maps(tmp_path, split, stem)
  maps = list(FolderMaps(tmp_path, split).of_video(0, range(split.videos[0].frames)))
  np.testing.assert_allclose([255 * m[0, 0] for m in maps], np.arange(1, len(maps) + 1), rtol=1e-6)


def test_maps_with_other_files_in_the_folder(tmp_path, split):
  write_maps(tmp_path, split, str)
  folder = tmp_path / split.videos[0].name
  (folder / "._1.png").write_bytes(b"left by another system")
  (folder / "10.png").rename(folder / "10.PNG")
  maps = list(FolderMaps(tmp_path, split).of_video(0, range(12)))
  np.testing.assert_allclose([255 * m[0, 0] for m in maps], np.arange(1, 13), rtol=1e-6)
  (folder / "12.png").rename(folder / "0011.png")
  with pytest.raises(UserError, match=r"0011\.png and 11\.png have the same number"):
    FolderMaps(tmp_path, split)
