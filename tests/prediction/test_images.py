"""Images that are no video, and frames in image files, from the network to the command."""

import re

import clips
import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from jaxsal import cli, models
from jaxsal.data.transforms import resize
from jaxsal.data.video import probe, read_frames
from jaxsal.errors import UserError
from jaxsal.models import SaliencyConfig, SaliencyModel
from jaxsal.pictures import heat_overlay, resize_map, to_grey
from jaxsal.prediction import predict, predict_images


class Bright(SaliencyModel):
  """Map = a colour of the last frame: red in videos, blue in images; as wide as twice the height.

  Upright videos and images are computed at another size.
  """

  resampling = "lanczos"

  def __init__(self, channel=0, size=(16, 32)):
    self.config = SaliencyConfig(length=2, size=size, mean=(0, 0, 0), std=(1, 1, 1))
    self.channel = channel
    self.factor = nnx.Param(jnp.ones(()))

  def for_size(self, height, width):
    return Bright(self.channel, (16, 32) if width > height else (32, 16))

  def for_images(self):
    return Bright(2, self.config.size)

  def __call__(self, frames):
    return self.factor[...] * frames[:, -1, :, :, self.channel]


def image(seed, height=40, width=60):
  small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
  return cv2.resize(small, (width, height))


def write(folder, **images):
  folder.mkdir(exist_ok=True)
  for name, pixels in images.items():
    Image.fromarray(pixels).save(folder / f"{name}.png")
  return [folder / f"{name}.png" for name in images]


def expected(pixels, channel=2):
  """Returns the grey map of `Bright`."""
  size = (16, 32) if pixels.shape[1] > pixels.shape[0] else (32, 16)
  saliency = resize(pixels, size, "lanczos")[..., channel].astype(np.float32) / 255
  return to_grey(resize_map(saliency, pixels.shape[:2]))


def grey(path):
  return cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(int)


def names(folder):
  return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_outputs(tmp_path, capsys):
  given = {"a": image(0), "b": image(1, 50, 30), "c": image(2, 44, 70), "d": image(3, 90, 60)}
  paths = write(tmp_path / "photos", **given)
  report = predict_images(Bright(), paths, tmp_path / "out")
  assert (report.frames, report.out) == (4, tmp_path / "out")
  assert 0 < report.model_seconds < report.seconds
  assert names(report.out / "maps") == [f"{name}.png" for name in "abcd"]
  assert names(report.out / "overlays") == [f"{name}.jpg" for name in "abcd"]
  for name, pixels in given.items():
    wanted = expected(pixels)
    assert np.abs(grey(report.out / f"maps/{name}.png") - wanted).max() <= 1
    shown = cv2.imread(str(report.out / f"overlays/{name}.jpg"))[..., ::-1].astype(int)
    assert np.abs(shown - heat_overlay(pixels, wanted)).mean() < 6
  printed = capsys.readouterr().out
  assert printed.count("compiling for") <= 2  # one program for each shape, in all tests
  assert "2 of 4 images: at 16 x 32 on" in printed and "2 of 4 images: at 32 x 16 on" in printed


def test_parts_of_the_outputs(tmp_path):
  paths = write(tmp_path, a=image(0))
  predict_images(Bright(), paths, tmp_path / "out", overlay=False)
  assert names(tmp_path / "out") == ["maps/a.png"]
  with pytest.raises(UserError, match=r"not empty.*--overwrite"):
    predict_images(Bright(), paths, tmp_path / "out")
  predict_images(Bright(), paths, tmp_path / "out", maps=False, overwrite=True)
  assert names(tmp_path / "out") == ["overlays/a.jpg"]
  with pytest.raises(UserError, match="Nothing to write"):
    predict_images(Bright(), paths, tmp_path / "new", maps=False, overlay=False)
  assert not (tmp_path / "new").exists()


def test_names_of_outputs_differ(tmp_path):
  paths = write(tmp_path, a=image(0), b=image(1))
  Image.fromarray(image(2)).save(tmp_path / "a.bmp")
  predict_images(Bright(), [*paths, tmp_path / "a.bmp"], tmp_path / "out", overlay=False)
  assert names(tmp_path / "out" / "maps") == ["a.bmp.png", "a.png.png", "b.png"]
  paths += write(tmp_path / "other", a=image(0))
  with pytest.raises(UserError, match=r"Two of the images are called 'a\.png'"):
    predict_images(Bright(), paths, tmp_path / "new")


def test_images_that_cannot_be_read_do_not_stop_the_others(tmp_path):
  good, cut = write(tmp_path, good=image(0), cut=image(1, 300, 400))
  clips.cut(cut, cut)
  (text := tmp_path / "text.jpg").write_text("hello")
  with pytest.raises(UserError) as error:
    predict_images(Bright(), [cut, good, text, tmp_path / "no.jpg"], tmp_path / "out")
  for line, wanted in zip(
    str(error.value).splitlines(),
    (
      r"text\.jpg: not an image",
      r"no\.jpg: no such file",
      r"cut\.png: the image cannot be read",
      r"The maps of all other images \(1\) are in .*out\.",
    ),
    strict=True,
  ):
    assert re.search(wanted, line)
  assert names(tmp_path / "out" / "maps") == ["good.png"]
  for paths in ([text], [cut]):
    with pytest.raises(UserError, match="image"):
      predict_images(Bright(), paths, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_unisal_takes_images_without_its_recurrent_part(tmp_path, monkeypatch):
  model = models.create("unisal", "tiny")
  seen = []
  adapt = type(model).for_size
  monkeypatch.setattr(  # the authors' sizes take long to compile
    type(model), "for_size", lambda self, *size: seen.append(self.config) or self
  )
  write(tmp_path, a=image(0, 32, 64))
  found = predict(model, tmp_path / "a.png")
  assert found.shape == (1, 32, 64)
  assert (seen[0].domain, seen[0].static) == ("salicon", True)
  alone = model.for_images()
  alone.eval()
  frame = image(0, 32, 64)[None, None]
  wanted = nnx.jit(lambda model, frames: model(model.normalise(frames)))(alone, frame)
  np.testing.assert_allclose(found, wanted, atol=1e-4)
  assert adapt(model, 480, 640).size == (288, 384)


def test_predict_of_a_folder_of_frames_is_that_of_the_frames(tmp_path):
  frames = np.stack([image(seed) for seed in range(6)])
  write(tmp_path / "frames", **{str(number): frame for number, frame in enumerate(frames)})
  found = predict(Bright(), tmp_path / "frames")
  np.testing.assert_array_equal(found, predict(Bright(), frames))
  with pytest.raises(UserError, match=r"photos: several videos or images"):
    write(tmp_path / "photos", a=image(0), b=image(1))
    predict(Bright(), tmp_path / "photos")


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
  """Runs `jaxsal predict` with `Bright` in a folder; returns exit code, stdout and stderr."""
  monkeypatch.setattr("jaxsal.models.load", lambda path: Bright())
  monkeypatch.chdir(tmp_path)

  def run(*arguments):
    code = cli.main(["predict", "--model=m", "--out=out", *arguments])
    return code, *capsys.readouterr()

  return run


def test_the_command_reads_frames_as_a_video(command, tmp_path):
  frames = [image(seed) for seed in range(6)]
  write(tmp_path / "frames", **{str(8 + i): frame for i, frame in enumerate(frames)})
  code, printed, errors = command("frames", "--fps=12.5")
  assert (code, errors) == (0, "")
  assert "frames/: 6 numbered frames, read as one video at 12.5 frames/s" in printed
  assert "predicting frames with m" in printed and "frames: 6 frames in" in printed
  assert names(tmp_path / "out") == [f"maps/0000{i}.png" for i in range(1, 7)] + ["overlay.mp4"]
  info = probe(tmp_path / "out" / "overlay.mp4")
  assert (info.frames, info.fps, info.height, info.width) == (6, 12.5, 40, 60)
  for number, frame in enumerate(frames, start=1):
    found = grey(tmp_path / "out" / "maps" / f"0000{number}.png")
    assert np.abs(found - expected(frame, 0)).max() <= 1
  shown = next(read_frames(tmp_path / "out" / "overlay.mp4")).astype(int)
  assert np.abs(shown - heat_overlay(frames[0], expected(frames[0], 0))).mean() < 8


def test_the_command_reads_them_as_images(command, tmp_path):
  write(tmp_path / "frames", **{str(i): image(i) for i in range(6)})
  code, printed, _ = command("frames", "--as=images", "--no-overlay")
  assert code == 0 and "frames/: 6 images\n" in printed and "frames: 6 images in" in printed
  assert names(tmp_path / "out") == [f"maps/{i}.png" for i in range(6)]


def test_the_command_takes_one_image(command, tmp_path):
  write(tmp_path, photo=image(0))
  code, printed, errors = command("photo.png")
  assert (code, errors) == (0, "")
  assert "predicting photo.png with m" in printed and "photo.png: 1 image in" in printed
  assert names(tmp_path / "out") == ["maps/photo.png", "overlays/photo.jpg"]


def test_the_command_takes_inputs_of_all_kinds(command, tmp_path):
  write(tmp_path / "frames", **{str(i): image(i) for i in range(5)})
  write(tmp_path / "photos", a=image(0), b=image(1))
  (tmp_path / "clips").mkdir()
  for name in ("one", "two"):
    clips.write_clip(tmp_path / "clips" / f"{name}.mp4", clips.moving_square(3, 34, 50))
  code, printed, errors = command("clips/*.mp4", "frames", "photos/?.png", "no.mp4", "--no-overlay")
  assert code == 2
  assert "no.mp4: no such file" in errors and "4 of 5 inputs are complete" in errors
  assert "predicting 5 inputs with m" in printed
  assert {path.name for path in (tmp_path / "out").iterdir()} == {"one", "two", "frames", "photos"}
  assert names(tmp_path / "out" / "photos") == ["maps/a.png", "maps/b.png"]


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["clip.mp4", "--fps=30"], "--fps is for images that are the frames of one video"),
    (["photo.png", "--fps=0"], "fps 0: frames per second must be a number above 0"),
    (["photo.png", "--show-gates"], "--show-gates needs a video"),
    (["photo.png", "--maps=both"], "--maps=both is for videos"),
    (["photo.png", "--maps=none", "--no-overlay"], "Nothing to write"),
    (["missing.png"], "missing.png: no such file"),
    (["photo.png", "x/photo.png"], "no such file"),
    (["*.mp4"], "no file or folder fits this pattern"),
  ],
)
def test_wrong_arguments(command, tmp_path, arguments, message):
  write(tmp_path, photo=image(0))
  code, _, errors = command(*arguments)
  assert code == 2
  assert message in errors and "Traceback" not in errors
