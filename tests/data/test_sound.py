"""Sound: the sound of a frame is at the frame's place in the waveform."""

import wave
from fractions import Fraction

import av
import clips
import numpy as np
import pytest

from jaxsal.data.sound import read_sound
from jaxsal.data.video import read_timed_frames
from jaxsal.data.waveforms import SAMPLE_RATE, waveform
from jaxsal.errors import UserError

LENGTH = 70560  # for 32 frames


def clicks(path, fps, frames, at, *, begin=0, end=None, rate=48000, codec="pcm_s16le", channels=2):
  """A video with a click of 2 ms at the times of the frames `at`; its sound begins and ends there.

  Args:
    begin, end: seconds at which the sound track begins and ends; the video's end by default.
  """
  fps = Fraction(fps)
  with av.open(str(path), "w") as output:
    stream = output.add_stream("libx264", rate=fps)
    stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
    layout = {1: "mono", 2: "stereo", 8: "7.1"}[channels]
    track = output.add_stream(codec, rate=rate, layout=layout)
    for i in range(frames):
      frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
      frame.pts, frame.time_base = i, 1 / fps
      output.mux(stream.encode(frame.reformat(format="yuv420p")))
    output.mux(stream.encode(None))
    end = float(frames / fps) if end is None else end
    samples = np.zeros(round(end * rate), np.int16)
    for i in at:
      start = round(float(i / fps) * rate)
      samples[start : start + rate // 500] = 16384
    first = round(begin * rate)
    sound = np.repeat(samples[first:], channels)[None]
    for start in range(0, sound.shape[1], 1024 * channels):
      chunk = np.ascontiguousarray(sound[:, start : start + 1024 * channels])
      frame = av.AudioFrame.from_ndarray(chunk, format="s16", layout=layout)
      frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
      frame.pts = first + start // channels
      output.mux(track.encode(frame))
    output.mux(track.encode(None))
  return path


def onsets(sound):
  """Returns the seconds at which clicks begin, where the sound exceeds a quarter of full scale."""
  loud = np.abs(sound.astype(float)) > 0.25 * 32768 * (0.5 if sound.dtype == np.int16 else 1)
  starts = np.flatnonzero(loud & ~np.concatenate([[False], loud[:-1]]))
  return starts[np.diff(starts, prepend=-SAMPLE_RATE) > SAMPLE_RATE // 100] / SAMPLE_RATE


@pytest.mark.parametrize("fps", ["24", "25", "30000/1001", "30"])
def test_clicks_are_heard_at_their_frames(tmp_path, fps):
  at = [3, 17, 40, 58]
  path = clicks(tmp_path / "a.mov", fps, 64, at)
  times = [float(frame.time) for frame in read_timed_frames(path)]
  # The resampling filter begins to rise a little before the click.
  np.testing.assert_allclose(onsets(read_sound(path)), [times[i] for i in at], atol=2e-4)


@pytest.mark.parametrize(("begin", "end"), [(1.0, None), (0.31, 1.9), (0, 1.0)])
def test_a_track_that_starts_late_or_ends_early(tmp_path, begin, end):
  at = [3, 17, 30, 45, 58]
  path = clicks(tmp_path / "a.mkv", 25, 64, at, begin=begin, end=end)
  sound = read_sound(path)
  heard = [i / 25 for i in at if begin <= i / 25 < (end or 64 / 25)]
  np.testing.assert_allclose(onsets(sound), heard, atol=2e-3)  # Matroska stores milliseconds
  assert not sound[: max(0, int(begin * SAMPLE_RATE) - 100)].any()
  assert len(sound) / SAMPLE_RATE == pytest.approx(end or 64 / 25, abs=0.01)


@pytest.mark.parametrize(
  ("name", "codec", "rate", "channels"),
  [
    ("a.mp4", "aac", 44100, 2),
    ("a.mov", "pcm_s16le", 192000, 2),
    ("a.mov", "pcm_s16le", 48000, 8),
    ("a.avi", "pcm_s16le", 8000, 1),
    ("a.mkv", "flac", 96000, 1),
  ],
)
def test_formats(tmp_path, name, codec, rate, channels):
  if codec in ("aac", "flac"):
    path = clips.write_clip(tmp_path / name, clips.moving_square(8, 32, 32), sound=codec)
    sound = read_sound(path)
    assert len(sound) / SAMPLE_RATE == pytest.approx(8 / 25, abs=0.05)
    assert 0.2 * 32768 < np.abs(sound).max() < 0.45 * 32768
    return
  path = clicks(tmp_path / name, 25, 32, [10, 20], rate=rate, codec=codec, channels=channels)
  sound = read_sound(path)
  assert sound.dtype == np.int16 and sound.ndim == 1
  np.testing.assert_allclose(onsets(sound), [0.4, 0.8], atol=1e-3)


def test_no_track_and_an_empty_one(tmp_path):
  path = clips.write_clip(tmp_path / "a.mp4", clips.moving_square(4, 32, 32))
  assert read_sound(path) is None
  with wave.open(str(tmp_path / "a.wav"), "wb") as file:
    file.setnchannels(1), file.setsampwidth(2), file.setframerate(22050)
  assert read_sound(tmp_path / "a.wav") is None


def test_a_track_of_one_sample(tmp_path):
  with wave.open(str(tmp_path / "a.wav"), "wb") as file:
    file.setnchannels(1), file.setsampwidth(2), file.setframerate(22050)
    file.writeframes(np.int16([12345]).tobytes())
  assert read_sound(tmp_path / "a.wav").tolist() == [12345]


def test_a_damaged_track_is_decoded_or_named(tmp_path):
  path = clips.write_clip(tmp_path / "a.mkv", clips.moving_square(25, 32, 32), sound="aac")
  data = bytearray(path.read_bytes())
  rng = np.random.default_rng(0)
  for i in rng.integers(len(data) // 4, len(data), len(data) // 50):
    data[i] = rng.integers(256)
  path.write_bytes(data)
  try:
    assert read_sound(path) is not None
  except UserError as error:
    assert "a.mkv" in str(error)
  (tmp_path / "b.wav").write_bytes(b"RIFF....WAVEfmt broken")
  with pytest.raises(UserError, match=r"b\.wav"):
    read_sound(tmp_path / "b.wav")


def test_excerpt_in_the_middle():
  sound = np.full(10 * SAMPLE_RATE, 16384, np.int16)
  times = (100 + np.arange(32)) / 25
  actual = waveform(sound, times, 25, LENGTH)
  n = round(32 / 25 * SAMPLE_RATE)
  start = (LENGTH - n) // 2
  assert actual.dtype == np.float32 and actual.shape == (LENGTH,)
  assert not actual[:start].any() and not actual[start + n :].any()
  np.testing.assert_allclose(actual[start : start + n], 128 * np.hanning(n), atol=1e-4)


def test_excerpts_keep_their_place_where_the_track_ends():
  rng = np.random.default_rng(0)
  sound = rng.integers(-32768, 32768, 2 * SAMPLE_RATE).astype(np.int16)
  longer = np.concatenate([sound, np.zeros(SAMPLE_RATE, np.int16)])
  for first in (0, 5, 30, 60):
    times = (first + np.arange(32)) / 25
    np.testing.assert_array_equal(
      waveform(sound, times, 25, LENGTH), waveform(longer, times, 25, LENGTH)
    )


def test_a_clip_that_runs_backwards_is_heard_backwards():
  rng = np.random.default_rng(0)
  sound = rng.integers(-32768, 32768, 2 * SAMPLE_RATE).astype(np.int16)
  times = np.arange(16) / 24
  forward = waveform(sound, times, 24, LENGTH)
  backward = waveform(sound, times[::-1], 24, LENGTH)
  assert forward.any()
  np.testing.assert_array_equal(backward[::-1], np.roll(forward, forward.size % 2))


def test_silence_and_few_frames_a_second():
  assert not waveform(None, np.arange(32) / 25, 25, LENGTH).any()
  sound = np.full(20 * SAMPLE_RATE, 16384, np.int16)
  actual = waveform(sound, np.arange(32) / 5, 5, LENGTH)
  np.testing.assert_allclose(actual, 128 * np.hanning(LENGTH), atol=1e-4)


def test_few_frames_a_second_are_heard_around_the_target():
  sound = np.zeros(40 * SAMPLE_RATE, np.int16)
  sound[20 * SAMPLE_RATE : 21 * SAMPLE_RATE] = 16384
  times = np.arange(32)

  def loud(target):
    return waveform(sound, times, 1, LENGTH, target).max()

  assert loud(20.5) == pytest.approx(128, rel=0.01)
  assert 0 < loud(19.5) < 128
  assert loud(15) == loud(26) == loud(None) == 0
  # Shorter excerpts end with the clip, wherever the target is.
  np.testing.assert_array_equal(
    waveform(sound, 20 + times / 25, 25, LENGTH, 20.0), waveform(sound, 20 + times / 25, 25, LENGTH)
  )
