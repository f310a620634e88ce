"""Puts packets of a film and its sound on one axis of time, from 0 on and without jumps."""

import itertools
import operator
import statistics
from collections import deque
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

import av
import av.container

# Seconds by which time stamps may go back without being a break, as in FFmpeg's program.
_BACK = Fraction(1, 10)
# Seconds by which time stamps may skip ahead without being a break: in containers whose time stamps
# are known to jump (those of broadcasts), as in FFmpeg's program, and in all others, where a gap is
# usually meant.
_AHEAD_IN_BROADCASTS = 10
_AHEAD = 600
# FFmpeg's flag of containers whose time stamps may jump (AVFMT_TS_DISCONT).
_JUMPS = 0x0200
# Seconds by which film and sound of one moment may be apart in the file.
_INTERLEAVING = 10
# Number of packets of sound that wait for the film to break where the sound broke.
_MOST_HELD = 500
# Number of packets of the film that wait until it is known which is shown first after a break: more
# than a film's frames are out of order.
_MOST_REORDERED = 32


class _Segment(NamedTuple):
  """A part of the film without breaks.

  Attributes:
    offset: seconds that are added to its time stamps.
    begin: time at which it begins on the common axis.
  """

  offset: Fraction
  begin: Fraction


class _Track:
  """The state of the film or of the sound.

  Attributes:
    time_base: length of a tick of its time stamps, in seconds.
    offset: seconds that are added to its time stamps.
    segment: number of the film's segment in which it is.
    decoded: time at which its last packet is decoded; None before the first packet.
    end: latest time at which one of its packets is shown; None before the first packet.
    steps: the last differences between packets, in seconds.
  """

  def __init__(self, stream: av.VideoStream | av.AudioStream, offset: Fraction) -> None:
    assert stream.time_base is not None
    self.time_base = stream.time_base
    self.offset = offset
    self.segment = 0
    self.decoded: Fraction | None = None
    self.end: Fraction | None = None
    self.steps: deque[Fraction] = deque(maxlen=25)

  def following(self) -> Fraction:
    """Returns the time of the next packet if it follows at the usual step."""
    if self.end is None:
      return Fraction(0)
    return self.end + (statistics.median_low(self.steps) if self.steps else Fraction(1, 25))

  def shift(self, packet: av.Packet) -> None:
    """Moves a packet to the common axis."""
    ticks = round(self.offset / self.time_base)
    if packet.pts is not None:
      packet.pts += ticks
    if packet.dts is not None:
      packet.dts += ticks
      decoded = packet.dts * self.time_base
      if self.decoded is not None and decoded > self.decoded:
        self.steps.append(decoded - self.decoded)
      self.decoded = decoded
    shown = packet.dts if packet.pts is None else packet.pts
    if shown is not None:
      time = shown * self.time_base
      self.end = time if self.end is None else max(self.end, time)


class Timeline:
  """Corrects the time stamps of the packets of a file, which are given in the order of the file.

  Times begin at the file's first time stamp, which can be hours in recorded broadcasts. Where time
  stamps jump (recordings that were joined, counters that wrap), they go on with the usual step. The
  film says how far the time stamps of such a break are moved. Sound that reaches the break before
  the film waits for it, so that both stay together.
  """

  def __init__(
    self,
    container: av.container.InputContainer,
    film: av.VideoStream | None,
    sound: av.AudioStream | None,
  ) -> None:
    """Begins before the first packet of `container`, at least one of whose streams is given."""
    self._ahead = _AHEAD_IN_BROADCASTS if container.format.flags & _JUMPS else _AHEAD
    origin = Fraction(container.start_time or 0, av.time_base)
    self._tracks = {s.index: _Track(s, -origin) for s in (film, sound) if s is not None}
    leader = sound if film is None else film
    self._film = None if leader is None else leader.index
    self._segments = [_Segment(-origin, Fraction(0))]
    self._held: list[av.Packet] = []  # packets of sound after a jump that the film has not made
    self._leading: list[av.Packet] = []  # packets of the film from the first one after a gap on

  def place(self, packet: av.Packet) -> list[av.Packet]:
    """Takes the next packet of the file; returns the packets whose times are now corrected.

    Packets of streams other than the film and the sound are dropped.
    """
    track = self._tracks.get(packet.stream.index)
    if track is None:
      return []
    if packet.stream.index == self._film:
      return self._place_film(track, packet)
    if self._held:
      return self._place_held(track, packet)
    if self._jumps(track, packet):
      return self._enter(track, [packet])
    track.shift(packet)
    return [packet]

  def flush(self) -> list[av.Packet]:
    """Returns the packets that still wait at the end of the file."""
    placed = self._break(self._tracks[self._leading[0].stream.index]) if self._leading else []
    return placed + (self._continue() if self._held else [])

  def _latest(self) -> Fraction:
    ends = (track.end for track in self._tracks.values())
    return max((end for end in ends if end is not None), default=Fraction(0))

  def _jumps(self, track: _Track, packet: av.Packet) -> bool:
    """Returns whether a packet is shown far ahead of everything, or both its times go back."""
    if self._is_ahead(track, packet):
      return True
    if packet.dts is None:  # in Matroska, the first packets of films with B-frames
      return False

    def back(stamp: int, last: Fraction | None) -> bool:
      return stamp * track.time_base + track.offset < (
        -self._ahead if last is None else last - _BACK
      )

    shown = packet.dts if packet.pts is None else packet.pts
    return back(packet.dts, track.decoded) and back(shown, track.end)

  def _is_ahead(self, track: _Track, packet: av.Packet) -> bool:
    shown = packet.dts if packet.pts is None else packet.pts
    limit = self._latest() + self._ahead
    return shown is not None and shown * track.time_base + track.offset > limit

  def _place_film(self, track: _Track, packet: av.Packet) -> list[av.Packet]:
    if not self._leading and not self._jumps(track, packet):
      track.shift(packet)
      return [packet]
    # Frames are stored out of order: after a gap, the first frame shown is not the first stored,
    # and frames from before the gap may follow. All are there when one is decoded after the gap.
    self._leading.append(packet)
    if len(self._leading) < _MOST_REORDERED and self._goes_on(track, packet):
      return []
    return self._break(track)

  def _goes_on(self, track: _Track, packet: av.Packet) -> bool:
    """Returns whether the film has no break as far as the times of decoding tell."""
    if packet.dts is None:
      return True
    decoded = packet.dts * track.time_base + track.offset
    return 0 <= decoded - (track.decoded or 0) < self._ahead

  def _break(self, track: _Track) -> list[av.Packet]:
    """Ends the film's segment; returns the packets that wait for that."""
    leading, self._leading = self._leading, []
    jumped = [self._jumps(track, packet) for packet in leading]
    for packet in itertools.compress(leading, map(operator.not_, jumped)):
      track.shift(packet)
    after = list(itertools.compress(leading, jumped))
    if not after:  # The sound has shown meanwhile that the gap is meant.
      return leading
    begin = track.following()
    _go_on(track, min(after, key=_shown))
    track.segment += 1
    for packet in after:
      track.decoded = None
      track.shift(packet)
    self._segments.append(_Segment(track.offset, begin))
    if not self._held:
      return leading
    sound = self._tracks[self._held[0].stream.index]
    held, self._held = self._held, []
    return leading + self._enter(sound, held)

  def _enter(self, track: _Track, packets: list[av.Packet]) -> list[av.Packet]:
    """Moves the sound to the film's segment in which `packets` lie, or lets them wait for it."""
    stamp = packets[0].dts
    assert stamp is not None
    latest = self._latest()
    for number in range(track.segment + 1, len(self._segments)):
      segment = self._segments[number]
      time = stamp * track.time_base + segment.offset
      if segment.begin - _INTERLEAVING <= time <= latest + _INTERLEAVING:
        track.offset, track.segment, track.decoded = segment.offset, number, None
        track.shift(packets[0])
        return [packets[0], *self._again(packets[1:])]
    self._held = packets
    return self._continue() if len(packets) > _MOST_HELD else []

  def _place_held(self, track: _Track, packet: av.Packet) -> list[av.Packet]:
    """Takes a packet of sound after others that wait."""
    assert track.end is not None or track.decoded is None
    if packet.dts is not None and track.decoded is not None:
      time = packet.dts * track.time_base + track.offset
      if abs(time - track.decoded) < 1 and time > track.decoded:
        # Only the packets in between had wrong time stamps.
        odd, self._held = self._held, []
        offset = track.offset
        for one in odd:
          _go_on(track, one)
          track.shift(one)
        track.offset = offset
        track.decoded = None
        track.shift(packet)
        return [*odd, packet]
    self._held.append(packet)
    return self._continue() if len(self._held) > _MOST_HELD else []

  def _continue(self) -> list[av.Packet]:
    """Lets the sound that waits follow the sound before it, because the film does not break."""
    held, self._held = self._held, []
    track = self._tracks[held[0].stream.index]
    _go_on(track, held[0])
    track.decoded = None
    track.shift(held[0])
    return [held[0], *self._again(held[1:])]

  def _again(self, packets: Iterable[av.Packet]) -> list[av.Packet]:
    return [placed for packet in packets for placed in self.place(packet)]


def _go_on(track: _Track, packet: av.Packet) -> None:
  """Sets the track's offset so that `packet` follows at the usual step."""
  track.offset = track.following() - _shown(packet) * track.time_base


def _shown(packet: av.Packet) -> int:
  stamp = packet.dts if packet.pts is None else packet.pts
  assert stamp is not None
  return stamp
