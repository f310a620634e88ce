"""Reads the sound track of a file, for audio-visual networks."""

from fractions import Fraction
from pathlib import Path

import av
import av.error
import av.filter
import numpy as np

from jaxsal.data.video import open_container, origin_of
from jaxsal.data.waveforms import SAMPLE_RATE
from jaxsal.errors import UserError


def read_sound(path: str | Path) -> np.ndarray | None:
  """Reads the first sound track of a file as mono, on the time axis of the frames.

  Channels are mixed. A track that starts late gets silence at its beginning, a track that starts
  before the file's time 0 is cut, and gaps are filled. Sample i is therefore always heard
  i / SAMPLE_RATE seconds after the start of the file (see `jaxsal.data.video.Frame`).

  Args:
    path: video or audio file, in any format that FFmpeg reads.

  Returns:
    int16 [n] at SAMPLE_RATE, or None if there is no sound track or it is empty.

  Raises:
    UserError: the file cannot be read, or its sound track cannot be decoded.
  """
  path = Path(path)
  with open_container(path) as container:
    track = next(iter(container.streams.audio), None)
    if track is None:
      return None
    origin = origin_of(container, track)
    parts, graph = [], None
    try:
      for frame in container.decode(track):
        if frame.pts is not None and frame.time_base is not None:
          frame.pts -= round(origin / frame.time_base)
        graph = graph or _resampler(frame)
        graph.push(frame)
        parts += _pull(graph)
      if graph is not None:
        graph.push(None)
        parts += _pull(graph)
    except (av.error.FFmpegError, ValueError) as error:
      raise UserError(
        f"{path}: its sound track ({_describe(track)}) cannot be decoded: {error}. Convert it, for"
        " example with `ffmpeg -i IN -c:v copy -ac 2 OUT`, or predict without it."
      ) from error
  sound = np.concatenate(parts) if parts else np.zeros(0, np.int16)
  return sound if sound.size else None


def _resampler(frame: av.AudioFrame) -> av.filter.Graph:
  """Makes FFmpeg's filters from frames like this one to mono at SAMPLE_RATE, from time 0 on."""
  graph = av.filter.Graph()
  nodes = [
    graph.add_abuffer(
      format=frame.format.name,
      sample_rate=frame.sample_rate,
      layout=frame.layout.name,
      time_base=Fraction(frame.time_base or 0),
    ),
    graph.add("aresample", f"{SAMPLE_RATE}:async=1:first_pts=0"),
    graph.add("aformat", "sample_fmts=s16:channel_layouts=mono"),
    graph.add("abuffersink"),
  ]
  graph.link_nodes(*nodes).configure()
  return graph


def _pull(graph: av.filter.Graph) -> list[np.ndarray]:
  """Takes the samples that are ready."""
  parts = []
  while True:
    try:
      parts.append(graph.pull().to_ndarray()[0])
    except (av.error.BlockingIOError, av.error.EOFError):
      return parts


def _describe(track: av.AudioStream) -> str:
  context = track.codec_context
  return f"{context.codec.name}, {context.sample_rate} Hz, {context.channels} channels"
