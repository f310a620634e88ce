"""What paths are taken for, image files, and videos whose frames are image files."""

import re
from fractions import Fraction
from pathlib import Path

import clips
import numpy as np
import pytest
from PIL import Image

from jaxsal.data import images, inputs, naming
from jaxsal.data.transforms import resize
from jaxsal.data.video import DamagedVideo, count_frames, probe, probe_frames, read_timed_frames
from jaxsal.errors import UserError


def write(folder, *names, size=(8, 12)):
  """Writes grey images, each a little brighter than the one before it."""
  folder.mkdir(exist_ok=True)
  for number, name in enumerate(names):
    Image.fromarray(np.full((*size, 3), number, np.uint8)).save(folder / name)
  return folder


def touch(folder, *names):
  folder.mkdir(exist_ok=True)
  for name in names:
    (folder / name).touch()
  return folder


def found(*paths, **options):
  """Returns kind and names of the files of every input."""
  return [
    (source.kind, [file.name for file in source.files] or source.path.name)
    for source in inputs.find(paths, **options)
  ]


def test_natural_order():
  names = ["10.png", "2.png", "b1.png", "A3.png", "a10.png", "a2 (2).png", "a2 (10).png", "x.png"]
  expected = ["2.png", "10.png", "a2 (2).png", "a2 (10).png", "A3.png", "a10.png"]
  assert [path.name for path in naming.in_order(map(Path, names))] == [*expected, "b1.png", "x.png"]


def test_single_files(capsys):
  assert found("a/clip.mp4", "b/no_ending", "c/photo.JPG") == [
    ("video", "clip.mp4"),
    ("video", "no_ending"),
    ("images", ["photo.JPG"]),
  ]
  (photo,) = inputs.find(["c/photo.JPG"])
  assert (photo.name, photo.path) == ("c", Path("c/photo.JPG"))
  assert found("photo.jpg", kind="video") == [("video", "photo.jpg")]
  assert capsys.readouterr().out == ""


def test_a_folder_of_videos(tmp_path, capsys):
  clips = touch(tmp_path / "clips", "10.mp4", "9.MOV", "notes.txt", ".hidden.mp4")
  assert found(clips) == [("video", "9.MOV"), ("video", "10.mp4")]
  assert capsys.readouterr().out == f"{clips}/: 2 videos\n"


def test_a_folder_of_frames(tmp_path, capsys):
  frames = write(tmp_path / "frames", *(f"take2_f{i}.png" for i in range(7, 14)))
  names = [f"take2_f{i}.png" for i in range(7, 14)]
  assert found(frames, fps=30) == [("frames", names)]
  said = "7 numbered frames, read as one video at 30 frames/s (--as=images takes them one by one)"
  assert capsys.readouterr().out == f"{frames}/: {said}\n"
  assert found(frames, kind="images") == [("images", names)]
  assert capsys.readouterr().out == f"{frames}/: 7 images\n"
  # The shell, or the user with quotes, may name them one by one.
  for paths in ([f"{frames}/*.png"], frames.iterdir(), [*frames.iterdir(), *frames.iterdir()]):
    (source,) = inputs.find(list(paths))
    assert (source.name, source.kind, len(source.files)) == ("frames", "frames", 7)


@pytest.mark.parametrize(
  "names",
  [
    ["1.png", "2.png", "3.png", "4.png"],  # few
    ["1.png", "2.png", "3.png", "4.png", "b5.png", "6.png"],
    ["1.png", "2.png", "3.png", "4.png", "5.jpg", "6.png"],
    ["1_1.png", "1_2.png", "2_1.png", "2_2.png", "3_1.png", "3_2.png"],  # two numbers
    ["1.png", "2.png", "4.png", "7.png", "9.png", "31.png"],  # gaps
    ["1.png", "01.png", "2.png", "3.png", "4.png", "5.png"],  # one number twice
    ["ant.png", "bee.png", "cat.png", "dog.png", "eel.png"],
  ],
)
def test_images_that_are_no_frames(tmp_path, capsys, names):
  folder = write(tmp_path / "photos", *names)
  ((kind, files),) = found(folder)
  assert kind == "images" and sorted(files) == sorted(names)
  assert "images (--as=frames reads them as one video)" in capsys.readouterr().out
  ((kind, _),) = found(folder, kind="frames")
  assert kind == "frames"
  assert f"{len(names)} frames, read as one video at 25 frames/s\n" in capsys.readouterr().out


def test_frames_may_have_a_gap_or_a_stride_but_one_size(tmp_path):
  folder = write(tmp_path / "gap", *(f"{i:03}.png" for i in range(30) if i != 17))
  assert inputs.find([folder])[0].kind == "frames"
  folder = write(tmp_path / "fifth", *(f"{i}.png" for i in range(1, 51, 5)))
  assert inputs.find([folder])[0].kind == "frames"
  Image.fromarray(np.zeros((12, 8, 3), np.uint8)).save(folder / "21.png")  # turned by 90 degrees
  assert inputs.find([folder])[0].kind == "images"


def test_images_are_taken_together_by_folder(tmp_path):
  one = write(tmp_path / "one", "a.png", "b.png")
  two = write(tmp_path / "two", "c.png")
  paths = [one / "a.png", two / "c.png", "clip.mp4", one / "b.png"]
  assert found(*paths) == [
    ("video", "clip.mp4"),
    ("images", ["a.png", "b.png"]),
    ("images", ["c.png"]),
  ]


def test_a_pattern_may_match_folders(tmp_path):
  write(tmp_path / "v10", *(f"{i}.png" for i in range(5)))
  touch(tmp_path / "v9", "a.mp4", "b.mp4")
  names = [source.name for source in inputs.find([f"{tmp_path}/v*"])]
  assert names == ["a", "b", "v10"]
  (tmp_path / "what[1]?.mp4").touch()  # a file may be called like a pattern
  assert found(tmp_path / "what[1]?.mp4") == [("video", "what[1]?.mp4")]


def test_nothing_that_can_be_predicted(tmp_path):
  folder = touch(tmp_path / "texts", "a.txt", "b.txt", "Makefile")
  (folder / "deep").mkdir()
  there = "2 files with .txt, 1 file with no ending, 1 folder (name one, or all by"
  with pytest.raises(UserError, match=re.escape(there)) as error:
    inputs.find([folder])
  assert "holds no videos or images" in str(error.value) and ".webp" in str(error.value)
  with pytest.raises(UserError, match="holds no videos or images, but nothing"):
    inputs.find([touch(tmp_path / "empty")])
  with pytest.raises(UserError, match="no file or folder fits this pattern"):
    inputs.find([tmp_path / "*.mp4"])
  photos = write(tmp_path / "photos", "a.png", "b.jpg")
  with pytest.raises(UserError, match="holds no videos, but 1 file with"):
    inputs.find([photos], "video")
  touch(photos, "c.mp4")
  with pytest.raises(UserError, match=r"holds 1 video and 2 images\. Pass --as=video"):
    inputs.find([photos])
  assert found(photos, kind="video") == [("video", "c.mp4")]
  assert found(photos, kind="images") == [("images", ["a.png", "b.jpg"])]
  for fps in (0, -25):
    with pytest.raises(UserError, match=f"fps {fps}: frames per second must be a number above 0"):
      inputs.find([photos], "frames", fps)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tiff"])
def test_images_of_all_formats(tmp_path, ending):
  image = np.zeros((16, 24, 3), np.uint8)
  image[:, :8, 0] = image[:, 8:, 2] = 200
  path = tmp_path / f"a.{ending}"
  Image.fromarray(image).save(path)
  assert images.size(path) == (16, 24)
  read = images.read(path)
  assert (read.shape, read.dtype) == ((16, 24, 3), np.uint8)
  assert np.abs(read[:, [4, 20]].astype(int) - image[:, [4, 20]]).max() < 20


@pytest.mark.parametrize(
  ("mode", "pixel", "expected"),
  [
    ("L", 90, (90, 90, 90)),
    ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
    ("1", 1, (255, 255, 255)),
    ("I;16", 90 * 256 + 7, (90, 90, 90)),
  ],
)
def test_images_become_rgb(tmp_path, mode, pixel, expected):
  Image.new(mode, (3, 2), pixel).save(tmp_path / "a.png")
  assert (images.read(tmp_path / "a.png") == expected).all()


def test_photos_are_turned_as_they_are_shown(tmp_path):
  image = Image.fromarray(clips.moving_square(1, 16, 24)[0])
  exif = Image.Exif()
  exif[0x0112] = 6  # the camera was held upright
  image.save(tmp_path / "a.png", exif=exif)
  assert images.size(tmp_path / "a.png") == (24, 16)
  np.testing.assert_array_equal(images.read(tmp_path / "a.png"), np.rot90(image, -1))


def test_images_that_cannot_be_read(tmp_path):
  with pytest.raises(UserError, match="no such file"):
    images.read(tmp_path / "a.jpg")
  (tmp_path / "a.jpg").write_text("hello")
  for read in (images.read, images.size):
    with pytest.raises(UserError, match=r"a\.jpg: not an image\. Use a JPEG, PNG"):
      read(tmp_path / "a.jpg")
  for ending in ("jpg", "png"):
    Image.fromarray(clips.moving_square(1, 90, 120)[0]).save(tmp_path / f"b.{ending}")
    part = clips.cut(tmp_path / f"b.{ending}", tmp_path / f"c.{ending}")
    assert images.size(part) == (90, 120)
    with pytest.raises(UserError, match=rf"c\.{ending}: the image cannot be read"):
      images.read(part)


def test_frames_in_files_are_like_a_video(tmp_path):
  frames = clips.moving_square(7, 20, 30)
  for number, frame in enumerate(frames):
    Image.fromarray(frame).save(tmp_path / f"{number}.png")
  (source,) = inputs.find([tmp_path], fps=30000 / 1001)
  info = source.probe()
  assert (info.frames, info.height, info.width, info.has_audio) == (7, 20, 30, False)
  assert info.fps == Fraction(30000, 1001) and info.duration == pytest.approx(7 * 1001 / 30000)
  assert probe(info) is info and count_frames(info) == 7
  read = list(read_timed_frames(info))
  np.testing.assert_array_equal([frame.image for frame in read], frames)
  assert [frame.time for frame in read] == [Fraction(1001 * i, 30000) for i in range(7)]
  for small, frame in zip(read_timed_frames(info, (8, 12), "lanczos"), frames, strict=True):
    np.testing.assert_array_equal(small.image, resize(frame, (8, 12), "lanczos"))


def test_a_frame_that_does_not_fit_ends_the_video(tmp_path):
  folder = write(tmp_path / "frames", *(f"{i}.png" for i in range(6)))
  info = probe_frames(naming.in_order(folder.iterdir()))
  Image.new("RGB", (5, 4)).save(folder / "4.png")
  with pytest.raises(DamagedVideo, match=r"after frame 4: 4\.png is 5 x 4 and not 12 x 8") as error:
    list(read_timed_frames(info))
  assert error.value.frames == 4
  (folder / "1.png").unlink()
  with pytest.raises(DamagedVideo, match=r"after frame 1: 1\.png cannot be read"):
    list(read_timed_frames(info))
  (folder / "0.png").unlink()
  with pytest.raises(UserError, match="no such file"):
    list(read_timed_frames(info))
