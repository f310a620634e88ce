"""Chooses the film and the sound track of a file among its streams, and reads its packets."""

from collections.abc import Iterator

import av
import av.container
import av.error
from av.stream import Disposition

# Formats of single pictures. A video stream in one of them is less likely to be the film.
_PICTURES = ("mjpeg", "png", "bmp", "gif", "tiff", "webp", "jpeg2000")
_STILL = Disposition.still_image | Disposition.timed_thumbnails


def film_of(container: av.container.InputContainer) -> av.VideoStream | None:
  """Returns the video stream that players show; None if there are only covers or no pictures.

  Moving pictures come before stills and thumbnails, a stream that FFmpeg decodes before one that it
  does not, the default stream before others, and the largest picture first. The place of a stream
  in the file decides only between streams that are alike in all of this.
  """

  def merit(stream: av.VideoStream) -> tuple[bool, bool, bool, bool, int]:
    context = stream.codec_context
    return (
      not stream.disposition & _STILL and stream.frames != 1,
      context is not None,
      bool(stream.disposition & Disposition.default),
      context is not None and context.codec.canonical_name not in _PICTURES,
      0 if context is None else context.width * context.height,
    )

  films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
  return max(films, key=merit, default=None)


def sound_of(container: av.container.InputContainer) -> av.AudioStream | None:
  """Returns the sound track that players play: the default one, otherwise the first.

  Tracks that FFmpeg cannot decode are taken only if there are no others.
  """

  def merit(track: av.AudioStream) -> tuple[bool, bool]:
    return track.codec_context is not None, bool(track.disposition & Disposition.default)

  return max(container.streams.audio, key=merit, default=None)


def read_packets(container: av.container.InputContainer) -> Iterator[av.Packet]:
  """Yields the packets of all streams in the order of the file.

  PyAV's empty packets, which mark the end, are left out: they name stream 0 whatever their stream.

  Raises:
    FFmpegError: the file cannot be read further. If FFmpeg says that data are temporarily
      unavailable, as it does for some damaged files, reading goes on and the error follows the last
      packet.
  """
  error: av.error.FFmpegError | None = None
  while True:
    advanced = False
    try:
      for packet in container.demux():
        advanced = True
        if packet.size or packet.dts is not None:
          yield packet
      break
    except av.error.BlockingIOError as pause:
      error = pause
      if not advanced:
        break
  if error is not None:
    raise error


def describe(track: av.AudioStream) -> str:
  """Returns codec, rate and channels of a sound track, for messages."""
  context = track.codec_context
  if context is None:
    return "in a format that FFmpeg does not decode"
  return f"{context.codec.name}, {context.sample_rate} Hz, {context.channels} channels"
