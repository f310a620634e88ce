"""Lists of frames, in the format of DIEM-Meta and LEDOV-Meta."""

import pathlib

import pytest
from trees import stavis

from jaxsal.data import sources
from jaxsal.errors import UserError
from jaxsal.tfds_builders import annotations, frame_lists
from jaxsal.tfds_builders.build import prepare
from jaxsal.tfds_builders.diem import diem_dataset_builder
from jaxsal.tfds_builders.video_builder import Register


def read(tmp_path, text, encoding="utf-8"):
  path = tmp_path / "list.csv"
  path.write_text(text, encoding)
  videos = [
    annotations.Recording(
      name=name, frames=frames, images=pathlib.Path(), maps=None, fixations=None, fps=25
    )
    for name, frames in (("bear", 4), ("bird", 2))
  ]
  problems = []
  return frame_lists.read(path, videos, problems), problems


def test_the_frames_that_are_in_the_list(tmp_path):
  lines = ["bear,2,True", "bear,0,True", "bear,3,False", "bird,1,False"]
  selection, problems = read(tmp_path, "\n".join(["video,frame,mask", *lines, "", ""]))
  assert selection == {"bear": [0, 2]} and not problems


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_of_lists(tmp_path, encoding):
  selection, problems = read(tmp_path, "video,frame,mask\nbear,2,True\n", encoding)
  assert selection == {"bear": [2]} and not problems


def test_a_list_in_another_encoding(tmp_path):
  selection, (problem,) = read(tmp_path, "video,frame,mask\nbär,2,True\n", "latin-1")
  assert selection == {} and "list.csv is neither UTF-8 nor UTF-16 text" in problem


WRONG = {
  "of another format": ("bear 1-3", ": the first line must be video,frame,mask"),
  "empty": ("", ": the first line must be video,frame,mask"),
  "an unknown video": ("video,frame,mask\ncat,0,True", " names the video cat, which is not there"),
  "a frame too many": (
    "video,frame,mask\nbear,4,True",
    " names frame 4 of bear, which has 0 to 3",
  ),
  "a negative frame": (
    "video,frame,mask\nbear,-1,True\nbear,9,True",
    " names frame -1 of bear, which has 0 to 3",
  ),
  "no number": (
    "video,frame,mask\nbear,x,True",
    ", line 2: 'bear,x,True' is not a video, a frame's number from 0 on, and True or False",
  ),
  "no truth": (
    "video,frame,mask\nbear,1,1",
    ", line 2: 'bear,1,1' is not a video, a frame's number from 0 on, and True or False",
  ),
  "a field less": (
    "video,frame,mask\nbear,1,True\nbear,1",
    ", line 3: 'bear,1' is not a video, a frame's number from 0 on, and True or False",
  ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_lists(tmp_path, wrong):
  text, problem = WRONG[wrong]
  selection, problems = read(tmp_path, text)
  assert selection == {} and problems == [f"{tmp_path / 'list.csv'}{problem}"]


def test_diem_meta(tmp_path, monkeypatch):
  monkeypatch.setattr(diem_dataset_builder.Builder, "REGISTER", {"full": Register(2, None)})
  source = stavis.write(tmp_path / "s", "DIEM", {"train": {"a": 5}, "test": {"b": 4}})
  path = source / "fold_lists" / "DIEM_meta.csv"
  path.write_text("video,frame,mask\nb,4,True\n")
  with pytest.raises(UserError, match=r"DIEM_meta\.csv names frame 4 of b, which has 0 to 3"):
    prepare("diem", tmp_path, source)
  path.write_text("video,frame,mask\nb,3,True\na,0,False\na,1,True\na,2,True\n")
  prepare("diem", tmp_path, source)
  split = sources.open_split("diem", "meta", tmp_path)
  assert [(v.name, list(v.targets)) for v in split.videos] == [("a", [1, 2]), ("b", [3])]
  assert set(split.names) >= {"full", "train", "test", "meta"}
