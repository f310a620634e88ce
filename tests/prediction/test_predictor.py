"""Prediction: the right clip for every frame, and folders that are complete or not there."""

import weakref

import av
import clips
import compilations
import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from jaxsal import models
from jaxsal.data.sound import read_sound
from jaxsal.data.transforms import resize
from jaxsal.data.video import probe, read_frames, read_timed_frames
from jaxsal.data.waveforms import waveform
from jaxsal.data.windows import windows
from jaxsal.errors import UserError
from jaxsal.models import AudioVisualModel, SaliencyConfig, SaliencyModel
from jaxsal.pictures import heat_overlay, resize_map, to_grey
from jaxsal.prediction import PredictOptions, writers
from jaxsal.prediction.files import predict_file
from jaxsal.prediction.predictor import Predictor, clips_of, predict

T = 4
SIZE = (16, 24)


class Weighted(SaliencyModel):
  """A map that is the brightness of a clip's frames, each with a weight of its own."""

  def __init__(self, target="last", padding="repeat", dtype="float32"):
    self.config = SaliencyConfig(
      length=T,
      size=SIZE,
      target=target,
      padding=padding,
      mean=(0, 0, 0),
      std=(1, 1, 1),
      dtype=dtype,
    )
    weights = np.arange(1, T + 1) ** 2
    self.weights = nnx.Param(jnp.asarray(weights / weights.sum(), jnp.float32))

  def __call__(self, frames):
    return jnp.einsum("bthwc,t->bhw", frames / 3, self.weights[...])


def weighted(frames, target="last", padding="repeat"):
  """Returns the maps of `Weighted` for a video of its size, computed with NumPy."""
  clips_ = np.asarray(frames)[windows(len(frames), T, target, padding)]
  weights = np.arange(1, T + 1) ** 2
  return np.einsum("nthwc,t->nhw", clips_ / 255 / 3, weights / weights.sum())


@pytest.fixture(scope="module")
def predictor():
  return Predictor(Weighted(), batch_size=8)


@pytest.fixture
def clip(tmp_path):
  return clips.write_clip(tmp_path / "square.mp4", clips.moving_square(20, 34, 50), sound="aac")


@pytest.mark.parametrize("target", ["last", "middle"])
@pytest.mark.parametrize("padding", ["repeat", "loop"])
def test_clips_of_a_stream_are_those_of_the_whole_video(target, padding):
  length = 5
  for count in range(1, 40):
    frames = [np.array(i) for i in range(count)]
    rows, streamed = zip(*clips_of(iter(frames), length, target, padding))
    expected = windows(count, length, target, padding)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(streamed, expected)


def test_streamed_clips_hold_two_lengths_of_frames():
  frames = []

  def stream():
    for i in range(100):
      frame = np.array(i)
      frames.append(weakref.ref(frame))
      yield frame
      del frame

  for _ in clips_of(stream(), 5, "last", "repeat"):
    assert sum(frame() is not None for frame in frames) <= 2 * 5


class Loud(AudioVisualModel):
  """A map that is the brightness of the last frame plus the loudness of the clip."""

  def __init__(self):
    self.config = SaliencyConfig(length=T, size=SIZE, mean=(0, 0, 0), std=(1, 1, 1))

  def __call__(self, frames, waveform):
    return frames[:, -1].mean(-1) / 2 + jnp.abs(waveform).max(-1)[:, None, None] / 512


def test_audio_visual_networks_hear_the_video(clip, tmp_path, capsys):
  images = [resize(frame, SIZE) for frame in read_frames(clip)]
  sound, length = read_sound(clip), T * 2205
  rows = windows(len(images), T)
  loudness = [np.abs(waveform(sound, row / 25, 25, length)).max() / 512 for row in rows]
  assert max(loudness) > 0.05
  expected = np.stack([image.mean(-1) / 255 / 2 for image in images])
  predictor = Predictor(Loud(), batch_size=8)
  heard = np.stack(list(predictor.maps(images, sound=sound, fps=25.0)))
  np.testing.assert_allclose(
    heard - expected, np.reshape(loudness, (-1, 1, 1)) + 0 * heard, atol=1e-4
  )
  np.testing.assert_allclose(predict(Loud(), clip).mean((1, 2)), heard.mean((1, 2)), atol=1e-3)
  muted = predict(Loud(), clip, mute=True)
  np.testing.assert_allclose(muted.mean((1, 2)), expected.mean((1, 2)), atol=1e-3)

  silent = clips.write_clip(tmp_path / "silent.mp4", clips.moving_square(8, 34, 50))
  capsys.readouterr()
  report = predict_file(predictor, silent, tmp_path / "out", overlay=False)
  assert report.frames == 8
  assert capsys.readouterr().out.count("no sound track, or an empty one: taken as silence") == 1


@pytest.mark.parametrize("target", ["last", "middle"])
@pytest.mark.parametrize("count", [1, 3, 9, 16])
def test_predict_gives_the_map_of_every_frame(target, count):
  video = clips.moving_square(count, *SIZE)
  maps = predict(Weighted(target), video, batch_size=3)
  assert maps.dtype == np.float32
  np.testing.assert_allclose(maps, weighted(video, target), atol=1e-5)


def test_predict_of_a_file_equals_predict_of_its_frames(clip):
  from_file = predict(Weighted(), clip)
  assert from_file.shape == (20, 34, 50)
  from_frames = predict(Weighted(), np.stack(list(read_frames(clip))))
  np.testing.assert_array_equal(from_file, from_frames)


def test_one_compilation_for_videos_of_any_length():
  traced = []

  class Traced(Weighted):
    def __call__(self, frames):
      traced.append(frames.shape)
      return super().__call__(frames)

  predictor = Predictor(Traced(), batch_size=8)
  for count in (1, 5, 20):
    assert len(list(predictor.maps(clips.moving_square(count, *SIZE)))) == count
  assert traced == [(8, T, *SIZE, 3)]


def tiny_network(seed=0):
  """Returns a TSFP-Net with weights from NumPy, for which JAX compiles no programs."""
  network = nnx.eval_shape(
    lambda: models.create("tsfp", "tiny", length=8, size=(32, 32), width=0.03125)
  )
  random = np.random.default_rng(seed)
  for variable in models.variables(network).values():
    values = random.uniform(0.5, 1.5, variable.shape)
    if len(variable.shape) > 1:
      values = random.normal(0, 1.5 / np.sqrt(np.prod(variable.shape[:-1])), variable.shape)
    variable.set_value(jnp.asarray(values, jnp.float32))
  return network


@pytest.mark.parametrize("make", [lambda seed: Weighted(), lambda seed: Loud(), tiny_network])
def test_a_second_prediction_compiles_nothing(make, capsys):
  first, second = make(0), make(1)
  video = clips.moving_square(3, 34, 50)
  before = predict(first, video, blur=1.0)
  assert capsys.readouterr().out.count("compiling for") <= 1  # earlier tests may have compiled it
  with compilations.counted() as events:
    after = predict(second, video)
  assert events == []
  assert capsys.readouterr().out == ""
  assert np.abs(before - after).max() > 1e-4


def test_programs_depend_on_structure_and_batch_size():
  video = clips.moving_square(3, *SIZE)
  predict(Weighted(), video, batch_size=8)
  for network, batch_size in ((Weighted(dtype="bfloat16"), 8), (Weighted(), 24)):
    with compilations.counted() as events:
      predict(network, video, batch_size=batch_size)
    assert len(events) >= 3
  with compilations.counted() as events:
    predict(Weighted(), video, batch_size=8)
  assert events == []


def test_what_takes_long_is_said_once(monkeypatch, capsys):
  monkeypatch.setattr(models, "load", lambda path: Weighted())
  predict("runs/[red]", clips.moving_square(2, *SIZE), batch_size=32)
  loading, compiling = capsys.readouterr().out.splitlines()
  assert loading == "loading runs/[red]"
  assert compiling.startswith("compiling for 8 x cpu (up to a minute the first time")


def test_a_folder_of_another_network(monkeypatch):
  monkeypatch.setattr(models, "load", lambda path: nnx.Linear(1, 1, rngs=nnx.Rngs(0)))
  with pytest.raises(UserError, match="runs/x holds a Linear, which predicts no saliency"):
    Predictor("runs/x")


def test_options_are_handed_whole_with_changes():
  options = PredictOptions(blur=2.0, batch_size=3)
  predictor = Predictor(Weighted(), options, batch_size=16)
  assert predictor.options == PredictOptions(blur=2.0, batch_size=16)
  video = clips.moving_square(3, *SIZE)
  np.testing.assert_array_equal(
    predict(Weighted(), video, options), predict(Weighted(), video, blur=2.0)
  )


def test_batches_go_to_all_devices_and_are_rounded_up():
  devices = len(jax.local_devices())
  predictor = Predictor(Weighted(), batch_size=1)
  assert predictor.batch_size == devices
  video = clips.moving_square(11, *SIZE)
  np.testing.assert_allclose(list(predictor.maps(video)), weighted(video), atol=1e-5)


def test_blur_smooths_the_map():
  video = clips.moving_square(3, *SIZE)
  blurred = predict(Weighted(), video, blur=2.0)
  for given, plain in zip(blurred, weighted(video)):
    np.testing.assert_allclose(given, cv2.GaussianBlur(plain, (0, 0), 2.0), atol=1e-4)


class Huge(Weighted):
  def __call__(self, frames):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")


@pytest.mark.parametrize("when", ("compiling", "computing"))
def test_a_batch_too_large_for_the_device(monkeypatch, when):
  with pytest.raises(UserError, match=r"batch size 8 does not fit in the memory of 8 x cpu"):
    if when == "compiling":
      Predictor(Huge(), batch_size=8)
    predictor = Predictor(Weighted(), batch_size=8)
    monkeypatch.setattr(predictor, "_forward", lambda *_: Huge()(None))
    next(predictor.maps(np.zeros((3, *SIZE, 3), np.uint8)))


def test_an_error_in_the_frames_reaches_the_caller(predictor):
  def frames():
    yield from clips.moving_square(30, *SIZE)
    raise RuntimeError("camera unplugged")

  with pytest.raises(RuntimeError, match="camera unplugged"):
    list(predictor.maps(frames()))


def test_frames_are_closed_when_the_caller_stops_early(predictor):
  closed = []

  def frames():
    try:
      while True:
        yield np.zeros((*SIZE, 3), np.uint8)
    finally:
      closed.append(True)

  maps = predictor.maps(frames())
  next(maps)
  maps.close()
  assert closed == [True]


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: predict(Weighted(), np.zeros((2, 8, 8, 3))), "float64 .* must be uint8"),
    (lambda: predict(Weighted(), np.zeros((8, 8, 3), np.uint8)), "must be uint8"),
    (lambda: predict(Weighted(), np.zeros((0, 8, 8, 3), np.uint8)), "at least one"),
    (lambda: Predictor(Weighted(), batch_size=0), "batch size 0"),
    (lambda: Predictor(Weighted(), blur=-1.0), "blur -1.0"),
    (lambda: Predictor(Weighted(), blurr=1.0), "'blurr' is not an option .* batch_size, blur,"),
  ],
)
def test_bad_arguments(call, message):
  with pytest.raises(UserError, match=message):
    call()


@pytest.mark.parametrize("fps", [0, -25.0, np.nan, np.inf])
def test_a_frame_rate_that_is_none_is_refused_at_once(predictor, fps):
  with pytest.raises(
    UserError, match=r"^fps: \S+ frames per second is no frame rate; .*above 0\.$"
  ):
    predictor.maps(clips.moving_square(2, *SIZE), fps=fps)


@pytest.mark.parametrize(
  "convert",
  [list, lambda x: x.tolist(), torch.from_numpy, jnp.asarray, lambda x: tuple(map(jnp.asarray, x))],
  ids=["list of arrays", "numbers", "torch", "jax", "tuple of jax arrays"],
)
def test_frames_in_lists_and_tensors(convert):
  video = clips.moving_square(3, *SIZE)
  frames = convert(video)
  if isinstance(frames, list) and not isinstance(frames[0], np.ndarray):
    with pytest.raises(UserError, match=r"video is int64 \[3, 16, 24, 3\]: frames must be uint8"):
      predict(Weighted(), frames)
  else:
    np.testing.assert_array_equal(predict(Weighted(), frames), predict(Weighted(), video))


@pytest.mark.parametrize(
  ("video", "message"),
  [
    (iter(np.zeros((2, 8, 8, 3), np.uint8)), "video is a .*iterator: give an array, or a list of"),
    ((image for image in []), "video is a generator: give an array, or a list of what it yields"),
    (["a.mp4", "b.mp4"], r"video is <U5 \[2\]: frames must be uint8"),
    ([np.zeros((8, 8, 3)), np.zeros((8, 9, 3))], "video is a list that NumPy cannot read"),
    (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"video is uint8 \[2, 3, 8, 8\]: frames must be"),
    (torch.zeros(2, 8, 8, 3, requires_grad=True), "video is a Tensor that NumPy cannot read"),
    (None, r"video is object \[\]: frames must be"),
    (np.zeros((2, 0, 8, 3), np.uint8), r"video is uint8 \[2, 0, 8, 3\]: frames must be"),
  ],
)
def test_what_is_no_video_gets_one_sentence(video, message):
  with pytest.raises(UserError, match=rf"^{message}.*\.$"):
    predict(Weighted(), video)


class Failing(Weighted):
  """A map that is not finite if most of the clip is bright."""

  def __init__(self, value):
    super().__init__()
    self.value = value

  def __call__(self, frames):
    maps = super().__call__(frames)
    return jnp.where(frames.mean((1, 2, 3, 4))[:, None, None] > 0.5, self.value, maps)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_maps_that_are_not_finite_are_an_error(tmp_path, value):
  images = np.zeros((14, *SIZE, 3), np.uint8)
  images[10:] = 255
  message = "frame 12: the map is not finite, because the network computes NaN or infinite values"
  with pytest.raises(UserError, match=f"^{message}"):
    predict(Failing(value), images)
  clip = clips.write_clip(tmp_path / "bright.mp4", images)
  with pytest.raises(UserError, match=rf"^{clip}, {message}"):
    predict_file(Predictor(Failing(value)), clip, tmp_path / "out", maps="both")
  assert not [path for path in tmp_path.iterdir() if path != clip]


def test_maps_are_resized_within_bounds():
  step = np.zeros((8, 8), np.float32)
  step[:, 4:] = 1
  resized = resize_map(step, (30, 31))
  assert resized.shape == (30, 31)
  assert resized.min() == 0 and resized.max() == 1


def test_grey_maps_reach_255_and_empty_ones_stay_empty():
  assert to_grey(np.array([[0.0, 0.1], [0.2, 0.4]], np.float32)).tolist() == [[0, 64], [128, 255]]
  assert to_grey(np.zeros((2, 2), np.float32)).max() == 0


def test_overlay_leaves_dull_places_alone_and_reddens_salient_ones():
  frame = np.full((2, 2, 3), 100, np.uint8)
  shown = heat_overlay(frame, np.array([[0, 0], [60, 255]], np.uint8))
  assert (shown[0] == 100).all()
  assert shown[1, 1, 0] > 150 > 100 > shown[1, 1, 2]  # salient: red
  assert shown[1, 0, 2] > shown[1, 0, 0]  # less so: blue


def test_outputs_of_a_file(predictor, clip, tmp_path):
  out = tmp_path / "out"
  report = predict_file(predictor, clip, out, maps="both")
  assert (report.frames, report.out) == (20, out)
  assert 0 < report.model_seconds < report.seconds
  assert {path.name for path in out.iterdir()} == {"maps", "maps.npz", "overlay.mp4"}

  frames = list(read_frames(clip, SIZE))
  expected = weighted(frames)
  archive = np.load(out / "maps.npz")
  assert archive["maps"].dtype == np.float16
  np.testing.assert_allclose(archive["maps"], expected, atol=1e-3)
  np.testing.assert_allclose(archive["times"], np.arange(20) / 25)

  names = sorted(path.name for path in (out / "maps").iterdir())
  assert names == [f"{i:05}.png" for i in range(1, 21)]
  for name, saliency in zip(names, expected):
    grey = cv2.imread(str(out / "maps" / name), cv2.IMREAD_UNCHANGED)
    assert (grey.shape, grey.dtype, grey.max()) == ((34, 50), np.uint8, 255)
    wanted = to_grey(resize_map(saliency.astype(np.float32), (34, 50)))
    assert np.abs(grey.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize(
  ("network", "sound", "overlay", "times"),
  [
    (Weighted, None, False, 2),  # probe, frames
    (Weighted, None, True, 3),  # and frames at full size
    (Weighted, "aac", True, 4),  # and the sound for the overlay
    (Loud, None, True, 3),
    (Loud, "aac", True, 5),  # and the sound for the network
  ],
)
def test_a_video_is_opened_once_by_each_reader(
  network, sound, overlay, times, tmp_path, monkeypatch
):
  source = clips.write_clip(tmp_path / "clip.mp4", clips.moving_square(6, 34, 50), sound=sound)
  opened, plain_open = [], av.open

  def counting(file, mode="r", **options):
    opened.append(str(file)) if mode == "r" else None
    return plain_open(file, mode, **options)

  predictor = Predictor(network(), batch_size=8)
  monkeypatch.setattr(av, "open", counting)
  predict_file(predictor, source, tmp_path / "out", overlay=overlay)
  assert opened == [str(source)] * times


@pytest.mark.parametrize("name", ["bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4"])
def test_real_clips(predictor, tmp_path, name):
  source = clips.remux(clips.real_clip(name), tmp_path / name, seconds=1)
  predict_file(predictor, source, tmp_path / "out")
  before, after = probe(source), probe(tmp_path / "out" / "overlay.mp4")
  assert len(list((tmp_path / "out" / "maps").iterdir())) == before.frames
  assert (after.frames, after.fps, after.has_audio) == (before.frames, before.fps, before.has_audio)
  assert (after.height, after.width) == (before.height, before.width)
  assert after.duration == pytest.approx(before.duration, abs=0.01)
  times = [[frame.time for frame in read_timed_frames(path)] for path in (source, after.path)]
  assert times[0] == times[1]
  if before.has_audio:
    assert clips.packets(after.path, "audio") == clips.packets(source, "audio")


def test_a_network_of_this_project(tmp_path, clip):
  network = tiny_network()
  models.save(network, tmp_path / "model", origin={})
  report = predict_file(Predictor(tmp_path / "model"), clip, tmp_path / "out", maps="npz")
  maps = np.load(tmp_path / "out" / "maps.npz")["maps"]
  assert report.frames == len(maps) == 20
  assert maps.std() > 0.01
  network.eval()
  last = np.stack(list(read_frames(clip, (32, 32)))[12:])[None]
  expected = nnx.jit(lambda network, frames: network(network.normalise(frames)))(network, last)
  np.testing.assert_allclose(maps[-1:], expected, atol=2e-3)


@pytest.mark.parametrize(("height", "width", "count"), [(35, 51, 6), (34, 50, 1)])
def test_odd_sizes_and_single_frames(predictor, tmp_path, height, width, count):
  images = clips.moving_square(count, height, width)
  source = clips.write_clip(tmp_path / "clip.mp4", images)
  predict_file(predictor, source, tmp_path / "out")
  grey = cv2.imread(str(tmp_path / "out" / "maps" / "00001.png"), cv2.IMREAD_UNCHANGED)
  assert grey.shape == (height, width)
  info = probe(tmp_path / "out" / "overlay.mp4")
  assert (info.frames, info.height, info.width) == (count, height + height % 2, width + width % 2)


def test_variable_frame_rate(predictor, tmp_path):
  times = np.cumsum([0, 0.02, 0.1, 0.05, 0.3, 0.02])
  source = clips.write_clip(tmp_path / "vfr.mp4", clips.moving_square(6, 34, 50), times=times)
  predict_file(predictor, source, tmp_path / "out", maps="npz")
  np.testing.assert_allclose(np.load(tmp_path / "out" / "maps.npz")["times"], times, atol=1e-6)
  shown = [float(frame.time) for frame in read_timed_frames(tmp_path / "out" / "overlay.mp4")]
  np.testing.assert_allclose(shown, times, atol=1e-4)


def test_a_damaged_video_is_predicted_up_to_the_damage(predictor, tmp_path):
  images = clips.moving_square(100, 34, 50)
  whole = clips.write_clip(
    tmp_path / "whole.mp4", images, mux_options={"movflags": "faststart"}, options={"g": "10"}
  )
  part = clips.cut(whole, tmp_path / "part.mp4", 0.6)
  with pytest.raises(UserError, match=r"damaged after frame (\d+).*out\.incomplete") as error:
    predict_file(predictor, part, tmp_path / "out", maps="both")
  assert not (tmp_path / "out").exists()
  kept = np.load(tmp_path / "out.incomplete" / "maps.npz")["maps"]
  assert 10 < len(kept) < 90
  assert f"after frame {len(kept)}:" in str(error.value)
  assert probe(tmp_path / "out.incomplete" / "overlay.mp4").frames == len(kept)
  frames = list(read_frames(whole, SIZE))[: len(kept)]
  np.testing.assert_allclose(kept, weighted(frames), atol=1e-3)
  assert list(tmp_path.glob(".*")) == []


def test_nothing_is_left_when_the_work_is_interrupted(predictor, clip, tmp_path, monkeypatch):
  def interrupt(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(writers, "heat_overlay", interrupt)
  before = set(tmp_path.iterdir())
  with pytest.raises(KeyboardInterrupt):
    predict_file(predictor, clip, tmp_path / "out", maps="both")
  assert set(tmp_path.iterdir()) == before


def test_an_output_folder_in_use_is_replaced_on_request_only(predictor, clip, tmp_path):
  out = tmp_path / "out"
  (out / "maps").mkdir(parents=True)
  (out / "maps" / "99999.png").touch()
  with pytest.raises(UserError, match=r"not empty.*--overwrite"):
    predict_file(predictor, clip, out)
  predict_file(predictor, clip, out, overwrite=True)
  assert not (out / "maps" / "99999.png").exists()
  (out / "thesis.tex").touch()
  with pytest.raises(UserError, match=r"thesis\.tex.*not replaced"):
    predict_file(predictor, clip, out, overwrite=True)
  with pytest.raises(UserError, match="a file is in the way"):
    predict_file(predictor, clip, clip)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"maps": "jpeg"}, "'jpeg' is unknown"),
    ({"maps": "none", "overlay": False}, "Nothing to write"),
  ],
)
def test_bad_options_write_nothing(predictor, clip, tmp_path, options, message):
  with pytest.raises(UserError, match=message):
    predict_file(predictor, clip, tmp_path / "out", **options)
  assert not (tmp_path / "out").exists()
