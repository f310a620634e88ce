"""A data set from one's own videos and a table of gaze."""

import contextlib
import pathlib
import runpy

import clips
import jax.numpy as jnp
import numpy as np
import pytest
from trees import annotated, own

from jaxsal import cli
from jaxsal.data import pipeline, sources, transforms
from jaxsal.errors import UserError
from jaxsal.evaluation import bounds, systems
from jaxsal.models import AudioVisualModel, SaliencyConfig
from jaxsal.prediction import PredictOptions
from jaxsal.tfds_builders.build import prepare
from jaxsal.train import loop

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
# A recipe of minutes becomes one of seconds.
SHRUNK = {
  "model.variant": "tiny",
  "model.length": 8,
  "model.size": (32, 64),
  "data.batch_size": 8,
  "eval.batch_size": 8,
  "eval.stride": 4,
  "eval.every": 2,
  "checkpoint.every": 2,
  "optimizer.warmup": 1,
  "steps": 2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return own.write(tmp_path_factory.mktemp("own") / "folder", sound=["park"])


@pytest.fixture(scope="module")
def data_dir(folder, tmp_path_factory):
  directory = tmp_path_factory.mktemp("data")
  for name in ("own", "own/192x352"):
    prepare(name, directory, folder)
  return directory


def check_gaze(split):
  """Both observers look at the square, in every frame, at the first of their samples."""
  for video in split.videos:
    seed = 1 + list(own.VIDEOS).index(video.name)
    for index, (x, y) in enumerate(annotated.centres(video.frames, own.SIZE, seed)):
      record = split[video.first + index]
      assert record["gaze"].tolist() == [[x, y, 1], [x + 1, y, 2]]
      assert record["fixations"].tolist() == [[x, y], [x + 1, y]]


def test_records(data_dir):
  train, validation = (
    sources.open_split("own", name, data_dir) for name in ("train", "validation")
  )
  assert [(v.name, v.frames, v.fps) for v in train.videos] == [("bench", 9, 25), ("park", 12, 25)]
  assert [v.name for v in validation.videos] == ["street"]
  for split in (train, validation):
    check_gaze(split)
  x, y = annotated.centres(1, own.SIZE, 1)[0]
  image = transforms.decode_frame(train[0]["image"], "")
  assert image.shape == (*own.SIZE, 3) and image[y, x, 0] > 180
  density = transforms.decode_density(train[0]["density"], "")
  assert np.unravel_index(density.argmax(), own.SIZE) in ((y - 1, x), (y, x))
  assert [train.sound(video).size > 0 for video in train.videos] == [False, True]


def test_densities_have_the_blur_that_bounds_use(data_dir):
  for name, width in (("own", 64), ("own/192x352", 352)):
    split = sources.open_split(name, "validation", data_dir)
    assert bounds._blur_sigma(split, split.videos[0]) == pytest.approx(0.0199 * width, rel=1e-3)
    assert "human infinite" in bounds.of_split(split, None)
  split = sources.open_split("own", "validation", data_dir)
  record = split[4]
  density = transforms.decode_density(record["density"], "")
  points, size, sigma = record["gaze"][:, :2], own.SIZE, 12.74 / 640 * 64
  rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
  exact = sum(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2 / sigma**2) for x, y in points)
  np.testing.assert_allclose(density / 255, exact / exact.max(), atol=0.003)


def test_batches(data_dir):
  split = sources.open_split("own/192x352", "train", data_dir)
  clip = {"length": 8, "size": (48, 64), "target": "last", "padding": "repeat", "batch_size": 2}
  with contextlib.closing(pipeline.train_batches(split, seed=0, samples=4000, **clip)) as batches:
    batch = next(batches)
  assert batch["frames"].shape == (2, 8, 48, 64, 3) and batch["mask"].all()
  assert batch["fixations"].any((1, 2)).all() and batch["density"].any((1, 2)).all()


def test_a_recipe_trains_on_it(data_dir, tmp_path):
  config = runpy.run_path(str(CONFIGS / "tsfp.py"))["get_config"]()
  config.update_from_flattened_dict(
    SHRUNK | {"data.dataset": "own", "data.data_dir": str(data_dir)}
  )
  summary = loop.train(config.lock(), tmp_path / "run")
  assert summary["dataset"] == "own/native/1.0.0" and summary["frames"] == 3
  assert all(np.isfinite(list(summary["scores"]["model"].values())))


def test_samples_may_name_frames(tmp_path):
  source = own.write(tmp_path / "s", gaze=own.gaze_lines(by_frame=True))
  prepare("own", tmp_path, source)
  check_gaze(sources.open_split("own", "train", tmp_path))


def test_frames_of_a_variable_rate(tmp_path):
  """A sample belongs to the frame that is shown at its time."""
  source = own.write(tmp_path / "s", {"a": 4, "b": 4}, gaze=[])
  images = annotated.images(4, own.SIZE, 1)
  clips.write_clip(source / "videos" / "a.mp4", images, times=(0, 0.5, 0.52, 0.56))
  times = {0.499: 0, 0.5: 1, 0.519: 1, 0.52: 2, 0.57: 3}
  lines = [f"a,o{i},{time},5,{6 + i}" for i, time in enumerate(times)]
  (source / "gaze.csv").write_text("\n".join(["video,observer,time,x,y", *lines, "b,o,0.0,5,5"]))
  prepare("own", tmp_path, source)
  split = sources.open_split("own", "train", tmp_path)
  found = {int(y) - 6: i for i in range(4) for _, y in split[i]["fixations"]}
  assert found == dict(enumerate(times.values()))


def test_lost_samples_further_columns_and_the_order_of_lines(tmp_path):
  gaze = [
    "Y, X, pupil, Observer, Time, Video",
    *("8,9,3.1,zoe,0.05,park", "20,21,3.1,abel,0.0,park", ",,0,abel,0.01,park"),
    *("5,6,3.1,zoe,0.0,park", "nan,nan,0,abel,0.09,park", "200,6,3.1,zoe,0.09,park"),
    *("7,7,3.1,abel,0.0,bench", "", "1,1,2.9,abel,0.04,bench"),
  ]
  source = own.write(tmp_path / "s", {"bench": 3, "park": 4}, gaze=gaze)
  prepare("own", tmp_path, source)
  park = sources.open_split("own", "validation", tmp_path)
  expected = [[[21, 20, 1], [6, 5, 2]], [[9, 8, 2]], [], []]
  assert [park[i]["gaze"].tolist() for i in range(4)] == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_of_tables(tmp_path, encoding):
  lines = ["video,split", "street,train", "bench,test", "park,train"]
  source = own.write(tmp_path / "s", splits=lines)
  for name in ("gaze.csv", "splits.csv"):
    path = source / name
    path.write_text(path.read_text().replace("anna", "anné"), encoding)
  prepare("own", tmp_path, source)
  for name in ("train", "test"):
    check_gaze(sources.open_split("own", name, tmp_path))


def test_splits(tmp_path):
  splits = ["video,split", "street,train", "bench,test", "park,train"]
  prepare("own", tmp_path, own.write(tmp_path / "s", splits=splits))
  train, test = (sources.open_split("own", name, tmp_path) for name in ("train", "test"))
  assert [v.name for v in train.videos] == ["park", "street"]
  assert [v.name for v in test.videos] == ["bench"]


def edit(line, text):
  """Replaces a line of gaze.csv, counted from 1."""

  def change(folder):
    lines = (folder / "gaze.csv").read_text().splitlines()
    lines[line - 1] = text
    (folder / "gaze.csv").write_text("\n".join(lines))

  return change


def edit_all(folder, change):
  """Changes the whole text of gaze.csv."""
  (folder / "gaze.csv").write_text(change((folder / "gaze.csv").read_text()))


def scale(x, y=1.0, time=1.0):
  """Multiplies the columns of gaze.csv."""

  def change(folder):
    heading, *lines = (line.split(",") for line in (folder / "gaze.csv").read_text().splitlines())
    rows = [
      f"{video},{observer},{time * float(t)},{x * float(u)},{y * float(v)}"
      for video, observer, t, u, v in lines
    ]
    (folder / "gaze.csv").write_text("\n".join([",".join(heading), *rows]))

  return change


def splits(*lines):
  return lambda folder: (folder / "splits.csv").write_text("\n".join(["video,split", *lines]))


WRONG = {
  "no table": (lambda d: (d / "gaze.csv").unlink(), r"gaze\.csv is missing; write it as a CSV"),
  "no heading": (
    edit(1, "bench,anna,0.0,5,5"),
    r"gaze\.csv, line 1: the columns are bench, .*; exactly one .* time \(in seconds\) or frame",
  ),
  "two kinds of time": (edit(1, "video,observer,time,frame,x,y"), "line 1: .*exactly one"),
  "semicolons": (edit(1, "video;observer;time;x;y"), "line 1: .*exactly one"),
  "semicolons and decimal commas": (
    lambda d: edit_all(d, lambda text: text.replace(".", ",").replace(",", ";")),
    "line 1: .*exactly one.* Separate columns by commas, not by semicolons, and write decimal poi",
  ),
  "tabs": (
    lambda d: edit_all(d, lambda text: text.replace(",", "\t")),
    "line 1: .*Separate columns by commas, not by tabs",
  ),
  "decimal commas": (
    edit(4, "bench,anna,0,1,7,5,7,5"),
    "line 4: there are 8 fields, .*5 columns. Write decimal points, not commas",
  ),
  "quoted decimal commas": (
    edit(4, 'bench,anna,"0,1","7,5","7,5"'),
    "line 4: time is '0,1', which is not a number; write a decimal point, not a comma",
  ),
  "another encoding": (
    lambda d: (d / "gaze.csv").write_bytes(
      "video,observer,time,x,y\nbench,zoé,0,5,5".encode("cp1252")
    ),
    r"gaze\.csv is neither UTF-8 nor UTF-16 text .*Save it as text in UTF-8",
  ),
  "rows and columns exchanged": (
    lambda d: (scale(1.6)(d), edit_all(d, lambda text: text.replace("x,y", "y,x"))),
    r"video '\w+': x and y look exchanged",
  ),
  "no column x": (
    edit(1, "video,observer,time,u,v"),
    "line 1: column x is missing, the columns are video, observer, time, u, v.*by commas",
  ),
  "a field less": (edit(4, "bench,anna,0.1,7"), "line 4: there are 4 fields, .* names 5 columns"),
  "an unknown video": (
    edit(4, "bench.mp4,anna,0.1,7,7"),
    r"line 4: there is no video 'bench\.mp4' in videos/; .* without its suffix",
  ),
  "no observer": (edit(4, "bench,,0.1,7,7"), "line 4: the observer is empty"),
  "no number": (edit(4, "bench,anna,0.1,7,left"), "line 4: y is 'left', which is not a number"),
  "an infinite number": (edit(4, "bench,anna,inf,7,7"), "line 4: time is 'inf', which is not a"),
  "no time": (edit(4, "bench,anna,,7,7"), "line 4: the time is empty"),
  "shares of the frame": (
    scale(1 / 64, 1 / 48),
    "video 'bench': x and y are all between 0 and 1.* width, 64, and y by its height, 48",
  ),
  "other pixels": (
    scale(20, 20),
    r"video 'bench': only \d+ of 54 samples lie in its frames of 64 x 48 pixels: x is from 140",
  ),
  "milliseconds": (
    scale(1, time=1000),
    r"video 'bench': only 0 of 54 samples lie in its 0\.36 seconds: the time is from 4 to 348",
  ),
  "an unknown split": (
    splits("bench,training"),
    r"splits\.csv, line 2: split 'training' is unknown; use one of train, validation, test",
  ),
  "a split twice": (
    splits("bench,train", "bench,test"),
    "line 3: video 'bench' is named a second time",
  ),
  "a video without split": (splits("bench,train"), r"splits\.csv does not name video 'park'"),
  "two videos of a name": (
    lambda d: (d / "videos" / "park.mov").touch(),
    r"park\.\w+ has the name of another video apart from its suffix; rename it",
  ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_tables(tmp_path, wrong):
  hurt, message = WRONG[wrong]
  source = own.write(tmp_path / "s")
  hurt(source)
  with pytest.raises(UserError, match=message) as error:
    prepare("own", tmp_path, source, skip_bad=True)
  assert str(error.value).endswith(".")
  assert not list(tmp_path.rglob("dataset_info.json"))


@pytest.mark.parametrize("frame", ["9", "-1", "1.5"])
def test_wrong_frames(tmp_path, frame):
  source = own.write(tmp_path / "s", gaze=["video,observer,frame,x,y", f"bench,anna,{frame},5,5"])
  with pytest.raises(UserError, match=rf"line 2: frame {frame} is not in .*are 0 to 8; count"):
    prepare("own", tmp_path, source)


def test_one_video_is_too_few(tmp_path):
  source = own.write(tmp_path / "s", {"bench": 4})
  with pytest.raises(UserError, match=r"only one video.*Add videos, or name the split"):
    prepare("own", tmp_path, source)
  splits("bench,test")(source)
  prepare("own", tmp_path, source)
  assert sources.open_split("own", "test", tmp_path).videos[0].name == "bench"


def test_damaged_and_unwatched_videos(tmp_path, capsys):
  gaze = [line for line in own.gaze_lines() if not line.startswith("street")]
  source = own.write(tmp_path / "s", own.VIDEOS | {"zoo": 5}, gaze=[*gaze, "zoo,anna,0.0,5,5"])
  (source / "videos/bench.mp4").write_bytes(b"")
  with pytest.raises(
    UserError, match=r"bench: .*bench\.mp4: .*empty(.|\n)*street: gaze\.csv has no"
  ):
    prepare("own", tmp_path, source)
  assert (
    cli.main(["prepare", "own", f"--from={source}", f"--data-dir={tmp_path}", "--skip-bad"]) == 0
  )
  assert "left out: bench: " in capsys.readouterr().out
  train, validation = (sources.open_split("own", s, tmp_path) for s in ("train", "validation"))
  assert [v.name for v in (*train.videos, *validation.videos)] == ["park", "zoo"]


def test_other_gaze_is_not_mixed_into_an_interrupted_build(tmp_path):
  source = own.write(tmp_path / "s")
  good = (source / "videos/street.mp4").read_bytes()
  (source / "videos/street.mp4").write_bytes(good[: len(good) * 3 // 4])
  with contextlib.suppress(UserError):
    prepare("own", tmp_path, source)
  (source / "videos/street.mp4").write_bytes(good)
  scale(1, 0.5)(source)
  prepare("own", tmp_path, source)
  split = sources.open_split("own", "train", tmp_path)
  assert split[0]["fixations"][0, 1] == annotated.centres(1, own.SIZE, 1)[0][1] / 2


def test_without_a_folder(tmp_path):
  with pytest.raises(UserError, match=r"own is built from a folder of yours\. Make a folder with"):
    prepare("own", tmp_path)
  with pytest.raises(UserError, match=r"holds no video of own\. Make a folder with your videos"):
    prepare("own", tmp_path, tmp_path)


CASES = pathlib.Path(__file__).parents[1] / "cases"


def test_videos_with_other_streams_jumping_clocks_and_broken_sound(tmp_path):
  frames = {
    "timecode.mov": 25,
    "sound_first.mp4": 25,
    "thumbnail_first.mkv": 25,
    "mp3_8_kHz.avi": 25,
    "second_piece.mkv": 50,
  }
  (tmp_path / "videos").mkdir()
  lines = ["video,observer,time,x,y"]
  for name in frames:
    (tmp_path / "videos" / name).write_bytes((CASES / name).read_bytes())
    lines += [f"{pathlib.Path(name).stem},anna,{0.01 + number / 25},9,9" for number in range(25)]
  (tmp_path / "gaze.csv").write_text("\n".join(lines) + "\n")
  prepare("own", tmp_path / "data", tmp_path, skip_bad=True)
  splits = [sources.open_split("own", name, tmp_path / "data") for name in ("train", "validation")]
  stored = {video.name: video.frames for split in splits for video in split.videos}
  assert stored == {pathlib.Path(name).stem: count for name, count in frames.items()}


class Loud(AudioVisualModel):
  """A map that is the loudness of the clip."""

  def __init__(self):
    self.config = SaliencyConfig(length=8, size=(16, 32), mean=(0, 0, 0), std=(1, 1, 1))

  def __call__(self, frames, waveform):
    return 0 * frames[:, 0].mean(-1) + jnp.abs(waveform).max(-1)[:, None, None] / 256


def test_frames_of_a_variable_rate_keep_their_moment_in_the_sound(tmp_path):
  (tmp_path / "videos").mkdir()
  for name in ("vfr", "vfr_control"):
    (tmp_path / "videos" / f"{name}.mkv").write_bytes((CASES / f"{name}.mkv").read_bytes())
  lines = [f"vfr,anna,{second + 0.01},9,9" for second in range(10)]
  lines += [f"vfr,anna,{10.01 + number / 25},9,9" for number in range(25)]
  lines += [f"vfr_control,anna,{0.01 + number / 25},9,9" for number in range(25)]
  (tmp_path / "gaze.csv").write_text("\n".join(["video,observer,time,x,y", *lines]) + "\n")
  (tmp_path / "splits.csv").write_text("video,split\nvfr,train\nvfr_control,validation\n")
  prepare("own", tmp_path / "data", tmp_path)
  control = sources.open_split("own", "validation", tmp_path / "data").videos[0]
  assert control.times is None
  split = sources.open_split("own", "train", tmp_path / "data")
  (video,) = split.videos
  expected = np.concatenate([np.arange(10), 10 + np.arange(25) / 25])
  np.testing.assert_allclose(video.times, expected, atol=0.01)
  np.testing.assert_allclose(video.seconds(np.arange(35)), expected, atol=0.01)
  batches = pipeline.eval_batches(
    split,
    length=8,
    size=(16, 32),
    target="last",
    padding="repeat",
    batch_size=5,
    samples=8 * 2205,
  )
  loudness = np.concatenate([np.abs(batch["waveform"]).max(-1) for batch in batches])
  assert (loudness[10:] > 5).all()
  assert (loudness[:9] < 1).all()

  system = systems.ModelMaps(Loud(), split, PredictOptions())
  system.compile()
  loudness = np.stack(list(system.of_video(0, range(35)))).max((1, 2))
  assert (loudness[10:] > 0.02).all()
  assert (loudness[:9] < 1e-3).all()
