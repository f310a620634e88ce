"""Turns decoded sound of any format into samples of one format without gaps."""

from fractions import Fraction

import av
import av.error
import av.filter

# Seconds by which time stamps may differ from the place of the samples before silence is inserted
# or samples are dropped. A packet is longer, so that a lost one does not move the sound after it.
_TOLERANCE = 0.02


class Resampler:
  """Converts frames of sound; the format of the frames may change between them.

  Sample i of the output belongs to the time i / rate: sound that starts late gets silence at its
  beginning, sound before time 0 is cut, and gaps are filled.
  """

  def __init__(self, rate: int, sample_format: str, layout: str) -> None:
    """Sets the format of the output.

    Args:
      rate: samples per second.
      sample_format: FFmpeg's name of the format of a sample, such as `s16`.
      layout: FFmpeg's name of the channels, such as `mono`.
    """
    self._rate, self._output = rate, f"sample_fmts={sample_format}:channel_layouts={layout}"
    self._graph: av.filter.Graph | None = None
    self._format: tuple[str, int, str] | None = None
    self._samples = 0  # that were given out

  def push(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
    """Adds a frame; returns the samples that are ready."""
    ready = []
    form = frame.format.name, frame.sample_rate, frame.layout.name
    if self._graph is None or form != self._format:
      ready = self.flush()
      self._graph, self._format = self._filters(frame), form
    self._graph.push(frame)
    return ready + self._pull()

  def flush(self) -> list[av.AudioFrame]:
    """Returns the samples that the filters still hold."""
    if self._graph is None:
      return []
    self._graph.push(None)
    ready = self._pull()
    self._graph = None
    return ready

  def _filters(self, frame: av.AudioFrame) -> av.filter.Graph:
    """Makes FFmpeg's filters from frames like this one to the format of the output."""
    graph = av.filter.Graph()
    first = round(self._samples * frame.sample_rate / self._rate)  # counted in samples of the input
    start = f"async=1:min_hard_comp={_TOLERANCE}:first_pts={first}"
    nodes = [
      graph.add_abuffer(
        format=frame.format.name,
        sample_rate=frame.sample_rate,
        layout=frame.layout.name,
        time_base=Fraction(frame.time_base or 0),
      ),
      graph.add("aresample", f"{self._rate}:{start}"),
      graph.add("aformat", self._output),
      graph.add("abuffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    return graph

  def _pull(self) -> list[av.AudioFrame]:
    """Takes the samples that are ready."""
    assert self._graph is not None
    frames = []
    while True:
      try:
        frame = self._graph.pull()
      except (av.error.BlockingIOError, av.error.EOFError):
        return frames
      assert isinstance(frame, av.AudioFrame)
      frame.pts, frame.time_base = self._samples, Fraction(1, self._rate)
      self._samples += frame.samples
      frames.append(frame)
