"""Reads the sound track of a file, for audio-visual networks."""

from pathlib import Path
from typing import cast

import av
import av.error
import numpy as np

from jaxsal.console import say
from jaxsal.data.resampler import Resampler
from jaxsal.data.streams import describe, film_of, sound_of
from jaxsal.data.timeline import Timeline
from jaxsal.data.video import open_container, placed_packets
from jaxsal.data.waveforms import SAMPLE_RATE
from jaxsal.errors import UserError


def read_sound(path: str | Path) -> np.ndarray | None:
  """Reads the default sound track of a file as mono, on the time axis of the frames.

  Channels are mixed. A track that starts late gets silence at its beginning, a track that starts
  before the file's time 0 is cut, and gaps are filled. Sample i is therefore always heard
  i / SAMPLE_RATE seconds after the start of the file (see `jaxsal.data.video.Frame`). Where time
  stamps jump, the sound goes on as the frames do (see `jaxsal.data.timeline.Timeline`). Damaged
  packets become silence, and a line on the terminal says so.

  Args:
    path: video or audio file, in any format that FFmpeg reads.

  Returns:
    int16 [n] at SAMPLE_RATE, or None if there is no sound track or it is empty.

  Raises:
    UserError: the file cannot be read, or nothing of its sound track can be decoded.
  """
  path = Path(path)
  with open_container(path) as container:
    track = sound_of(container)
    if track is None:
      return None
    timeline = Timeline(container, film_of(container), track)
    resampler = Resampler(SAMPLE_RATE, "s16", "mono")
    parts: list[np.ndarray] = []
    total, errors = 0, []

    def add(frames: list[av.AudioFrame]) -> None:
      for frame in frames:
        frame.time_base = track.time_base  # which frames that the decoder held back lack
        parts.extend(part.to_ndarray()[0] for part in resampler.push(frame))

    try:
      for packet in placed_packets(container, track, timeline):
        total += 1
        try:
          add(cast(list[av.AudioFrame], packet.decode()))
        except (av.error.FFmpegError, ValueError) as error:
          errors.append(error)
      add(track.decode(None))
      parts.extend(part.to_ndarray()[0] for part in resampler.flush())
    except (av.error.FFmpegError, ValueError) as error:
      errors.append(error)
    if errors and not parts:
      raise UserError(
        f"{path}: its sound track ({describe(track)}) cannot be decoded: {errors[0]}. Convert it,"
        " for example with `ffmpeg -i IN -c:v copy -ac 2 OUT`, or predict without it."
      ) from errors[0]
    if errors:
      say(
        f"{path}: {len(errors)} of {total} packets of its sound track ({describe(track)}) cannot be"
        " decoded: silence in their place"
      )
  sound = np.concatenate(parts) if parts else np.zeros(0, np.int16)
  return sound if sound.size else None
