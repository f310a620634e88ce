"""Windows that share work: all are predicted, with the maps they have alone, for less work."""

import clips
import compilations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsal import cli, models
from jaxsal.data.windows import windows
from jaxsal.models import SaliencyConfig, SaliencyModel, operations, s3d
from jaxsal.prediction import shared_windows
from jaxsal.prediction.chunks import chunks
from jaxsal.prediction.predictor import Predictor, clips_of

SIZE = (32, 64)


def seen_by(chunk, length):
  """Returns the frame numbers of a chunk's windows, in a video whose frames are their numbers."""
  numbers = np.array(chunk.frames)
  return [numbers[begin : begin + length] for begin in chunk.windows]


@pytest.mark.parametrize("target", ["last", "middle"])
@pytest.mark.parametrize("padding", ["repeat", "loop"])
@pytest.mark.parametrize("length", [4, 6])
def test_chunks_have_the_windows_of_all_frames_in_order(target, padding, length):
  for count in range(1, 30):
    frames = [np.array(i) for i in range(count)]
    for most in (1, 3, 6):
      cut = list(chunks(clips_of(frames, length, target, padding), most))
      rows = [row for chunk in cut for row in seen_by(chunk, length)]
      np.testing.assert_array_equal(rows, windows(count, length, target, padding))
      assert all(len(chunk.windows) <= most for chunk in cut)
      assert all(len(chunk.frames) == len(chunk.windows) + length - 1 for chunk in cut)
      if count >= 2 * length - 1:  # the reversed windows, and the others
        runs = [length - 1, count - length + 1] if target == "last" else [count]
        assert len(cut) == sum(-(-run // most) for run in runs)


def test_chunks_of_some_frames():
  frames, targets = [np.array(i) for i in range(40)], {2, 3, 9, 11, 30}
  windows_ = clips_of(frames, 4, "last", "repeat")
  cut = list(chunks(windows_, 6, targets, lambda row: {"first": row[0]}))
  rows = [row for chunk in cut for row in seen_by(chunk, 4)]
  np.testing.assert_array_equal(rows, windows(40, 4, targets=sorted(targets)))
  assert [x["first"] for chunk in cut for x in chunk.inputs] == [row[0] for row in rows]
  assert [len(chunk.windows) for chunk in cut] == [1, 1, 2, 1]


class EveryStep(SaliencyModel):
  """A map that weighs each step of each stage differently, plus the sound."""

  samples = 8

  def __init__(self, target, padding):
    self.config = SaliencyConfig(length=24, size=SIZE, target=target, padding=padding)
    self.encoder = s3d.Encoder(s3d.S3DConfig(width=0.0625), nnx.Rngs(0))

  def from_batch(self, batch):
    return self.from_stages(self.encoder(self.normalise(batch["frames"])), batch["waveform"])

  def from_stages(self, stages, waveform):
    maps = jnp.abs(waveform).max(axis=1)[:, None, None]
    for x in stages:
      weights = jnp.sin(1.0 + jnp.arange(x[0, :, 0, 0].size, dtype=x.dtype))
      x = jnp.einsum("bthwc,tc->bhw", x, weights.reshape(x.shape[1], -1))
      maps = maps + jax.image.resize(x, (len(x), *SIZE), "nearest")
    return maps


def both_ways(model, counts, batch_size):
  """Yields the maps of videos of `counts` frames, without shared work and with it."""
  assert shared_windows.can_share(model)
  plain, shared = (Predictor(model, batch_size=batch_size, sharing=on) for on in (False, True))
  rng = np.random.default_rng(0)
  for count in counts:
    video = rng.integers(0, 256, (count, *SIZE, 3), np.uint8)
    sound = rng.standard_normal(count * 900, np.float32)
    yield tuple(np.stack(list(p.maps(video, sound=sound))) for p in (plain, shared))


@pytest.mark.parametrize("target,padding", [("last", "loop"), ("middle", "repeat")])
def test_maps_are_the_same_for_videos_of_any_length(target, padding):
  t = 24
  counts = (1, 5, t, t + 1, 2 * t - 1, 2 * t + 7)
  for plain, shared in both_ways(EveryStep(target, padding), counts, 16):
    np.testing.assert_allclose(shared, plain, atol=1e-5 * np.abs(plain).max())
    assert len(plain) == 1 or plain.std(axis=0).max() > 1e-2 * np.abs(plain).max()


def test_a_second_predictor_compiles_nothing():
  model = EveryStep("last", "loop")
  frames = np.zeros((1, *SIZE, 3), np.uint8)
  list(Predictor(model, batch_size=16).maps(frames))
  with compilations.counted() as events:
    list(Predictor(EveryStep("last", "loop"), batch_size=16, blur=1.0).maps(frames))
  assert events == []


def test_maps_of_tased_net_are_the_same():
  """Its decoder depends on where features have their maxima."""
  model = models.create("tased", "tiny", length=32, size=SIZE)
  for plain, shared in both_ways(model, (2 * 32 + 7,), 8):
    np.testing.assert_allclose(shared, plain, atol=1e-5)
    assert plain.std(axis=0).max() > 1e-3


@pytest.mark.parametrize("name", ["vinet", "stsanet", "tsfp", "avinet", "tsfp_av"])
def test_networks_on_s3d_share(name):
  assert shared_windows.can_share(nnx.eval_shape(lambda: models.create(name)))


@pytest.mark.parametrize("name,fields", [("tsfp", {"length": 16}), ("gfsal", {})])
def test_networks_without_common_steps_do_not_share(name, fields):
  assert not shared_windows.can_share(nnx.eval_shape(lambda: models.create(name, **fields)))


@pytest.mark.parametrize("flags,sharing", [([], True), (["--sharing=off"], False)])
def test_the_command_can_do_without(flags, sharing, tmp_path, monkeypatch):
  asked = []

  def predictor(model, options, **_):
    asked.append(options.sharing)
    raise KeyboardInterrupt

  monkeypatch.setattr("jaxsal.prediction.Predictor", predictor)
  monkeypatch.setattr("jaxsal.models.load", lambda path: EveryStep("last", "repeat"))
  clip = clips.write_clip(tmp_path / "clip.mp4", clips.moving_square(2, 34, 50))
  cli.main(["predict", "--model=any", str(clip), f"--out={tmp_path / 'out'}", *flags])
  assert asked == [sharing]


def test_arithmetic_of_the_encoder():
  """Ends alone would take 54 of 123 GFLOP a map; at least 80 % of that saving is reached."""
  length, size = 32, (224, 384)
  encoder = nnx.eval_shape(lambda: s3d.Encoder(s3d.S3DConfig(), nnx.Rngs(0)))
  encoder.eval()
  graph, state = nnx.split(encoder)

  def flops(function, *shapes):
    return operations(lambda state, *args: function(nnx.merge(graph, state), *args), state, *shapes)

  clip = jax.ShapeDtypeStruct((1, length, *size, 3), jnp.float32)
  plain, _ = flops(lambda encoder, x: encoder(x), clip)
  frames = jax.ShapeDtypeStruct((2 * length - 1, *size, 3), jnp.float32)
  once, shared = flops(shared_windows.share, frames)
  each, stages = flops(
    lambda encoder, shared, i: shared_windows.stages(encoder, shared, i, length),
    shared,
    jax.ShapeDtypeStruct((1,), jnp.int32),
  )
  assert stages.base1.shape == (1, length // 2, size[0] // 4, size[1] // 4, 192)
  saving = 1 - (once / length + each) / plain
  assert 0.8 * (1 - 54 / 123) < saving < 1 - 54 / 123
