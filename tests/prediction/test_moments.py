"""An audio-visual network hears the sound of the moment at which a frame is shown."""

from pathlib import Path

import clips
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsal.models import AudioVisualModel, SaliencyConfig
from jaxsal.prediction import Predictor, predict, predict_file

CASES = Path(__file__).parent.parent / "cases"


class Loud(AudioVisualModel):
  """A map that is the loudness of the clip."""

  def __init__(self, length=8, target="last"):
    self.config = SaliencyConfig(
      length=length, size=(16, 24), mean=(0, 0, 0), std=(1, 1, 1), target=target
    )

  def __call__(self, frames, waveform):
    silent = 0 * frames[:, 0].mean(-1)
    return silent + jnp.abs(waveform).max(-1)[:, None, None] / 256


def heard(path, tmp_path, **config):
  """Returns how loud the network finds each frame, from files and in memory."""
  model = Loud(**config)
  out = tmp_path / "out"
  predict_file(Predictor(model), path, out, maps="npz", overlay=True, overwrite=True)
  with np.load(out / "maps.npz") as archive:
    loudness, times = archive["maps"].max((1, 2)), archive["times"]
  np.testing.assert_allclose(predict(model, path).max((1, 2)), loudness, atol=1e-3)
  return times, loudness


@pytest.mark.parametrize("config", [{}, {"length": 32}, {"length": 16, "target": "middle"}])
def test_a_variable_frame_rate(tmp_path, config):
  times, loudness = heard(CASES / "vfr.mkv", tmp_path, **config)
  assert len(times) == 35
  assert (loudness[10:] > 0.02).all()
  assert (loudness[:9] < 1e-3).all()  # from 0 to 8 s
  _, loudness = heard(CASES / "vfr_control.mkv", tmp_path, **config)
  assert len(loudness) == 25
  assert (loudness > 0.02).all()


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_a_film_that_starts_after_its_sound(tmp_path, extension):
  images = clips.moving_square(25, 32, 32)
  path = clips.write_clip(
    tmp_path / f"a.{extension}",
    images,
    times=2 + np.arange(25) / 25,
    sound="aac",
    sound_seconds=2.2,
  )
  times, loudness = heard(path, tmp_path, length=1)
  assert times[0] == pytest.approx(2, abs=0.03)
  assert (loudness[:4] > 0.1).all()  # The tone ends at 2.2 s.
  assert (loudness[8:] < 1e-3).all()


@pytest.mark.parametrize(
  "name", ["time_jumps_back.ts", "one_sound_packet_lost.ts", "muxer_refuses.ts", "mp3_8_kHz.avi"]
)
def test_faults_of_the_sound_leave_the_maps(tmp_path, name):
  _, loudness = heard(CASES / name, tmp_path)
  assert len(loudness) == {"time_jumps_back.ts": 50, "muxer_refuses.ts": 11}.get(name, 25)
  assert loudness.max() > 0.01
  assert (tmp_path / "out" / "overlay.mp4").exists()


def test_sound_that_cannot_be_decoded_counts_as_silence(tmp_path, capsys):
  path = clips.write_clip(
    tmp_path / "a.mkv", clips.moving_square(8, 32, 32), sound="flac", sound_seconds=0.3
  )
  data = bytearray(path.read_bytes())
  for _, packet in clips.packets(path, "audio"):
    place = data.index(packet)
    data[place : place + len(packet)] = bytes(len(packet))
  path.write_bytes(data)
  _, loudness = heard(path, tmp_path)
  assert not loudness.any()
  assert "cannot be decoded" in capsys.readouterr().out


def test_times_place_frames_in_the_sound():
  sound = np.zeros(22050, np.int16)
  sound[11025:] = 16384
  frames = np.zeros((4, 16, 24, 3), np.uint8)
  predictor = Predictor(Loud(length=1))

  def loudness(**place):
    return [saliency.max() > 0.1 for saliency in predictor.maps(frames, sound=sound, **place)]

  assert loudness(fps=25.0) == [False] * 4
  assert loudness(fps=4.0) == [False, False, True, True]
  assert loudness(fps=25.0, times=[0.1, 0.7, 0.8, 0.2]) == [False, True, True, False]
