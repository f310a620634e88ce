"""Real videos through FFmpeg (PyAV): what a file holds, its frames one by one, and writing MP4."""

import dataclasses
import types
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Self

import av
import av.container
import cv2
import numpy as np
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter

from jaxsal.data.transforms import resize
from jaxsal.errors import UserError

# Containers that write their duration down; elsewhere it is guessed from the bit rate.
_STATED_DURATION = ("mp4", "matroska")
# Seconds by which a whole file may end before the duration it states (rounding, edit lists).
_SLACK = 1.0
# Without these flags FFmpeg's conversion to RGB comes out 1 to 1.5 grey levels too dark.
_EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# Sound that players accept inside an MP4; the rest becomes AAC.
_MP4_SOUND = ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac")


@dataclasses.dataclass(frozen=True)
class VideoInfo:
  """What a video file says of itself.

  Attributes:
    path: the file.
    frames: number of frames, where the container states it.
    fps: frames per second; the average when the rate varies.
    height, width: of a frame as it is shown, in pixels (after rotation).
    has_audio: whether there is a sound track.
    rotation: degrees, counter-clockwise, by which a stored frame is turned to be shown: 0, 90, 180
      or 270.
    duration: seconds, where known.
    time_base: seconds of one tick of the frames' time stamps.
    pixel_aspect: width of a pixel as it is shown over its height.
  """

  path: Path
  frames: int | None
  fps: Fraction
  height: int
  width: int
  has_audio: bool
  rotation: int
  duration: float | None
  time_base: Fraction
  pixel_aspect: Fraction


class Frame(NamedTuple):
  """A decoded frame: seconds since the start of the file, and RGB uint8 [h, w, 3]."""

  time: Fraction
  image: np.ndarray


class DamagedVideo(UserError):
  """A video that breaks off; raised after the last frame before the damage.

  Attributes:
    frames: number of frames before the damage.
  """

  def __init__(self, path: Path, frames: int, reason: str) -> None:
    self.frames = frames
    super().__init__(
      f"{path}: damaged after frame {frames}: {reason}. Copy, download or record the file again."
    )


def probe(source: str | Path | VideoInfo) -> VideoInfo:
  """Looks at a video file and decodes its first frame only.

  Args:
    source: path of the file, or what an earlier call returned, which is returned unread.

  Raises:
    UserError: the file is missing, empty, a folder, no video, or none of its frames can be decoded.
  """
  if isinstance(source, VideoInfo):
    return source
  path = Path(source)
  with open_container(path) as container:
    stream = _video_stream(container, path)
    first = next(_decode(container, stream, path))
    height, width = first.height, first.width
    rotation = _rotation(first)
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if rotation in (90, 270):
      height, width, aspect = width, height, 1 / aspect
    duration = None
    if stream.duration is not None:
      duration = float(stream.duration * stream.time_base)
    elif container.duration is not None:
      duration = container.duration / av.time_base
    return VideoInfo(
      path=path,
      frames=stream.frames or None,
      fps=stream.average_rate or stream.guessed_rate or Fraction(25),
      height=height,
      width=width,
      has_audio=bool(container.streams.audio),
      rotation=rotation,
      duration=duration,
      time_base=stream.time_base,
      pixel_aspect=aspect,
    )


def count_frames(source: str | Path | VideoInfo) -> int:
  """Number of frames, counted without decoding when the container does not state it.

  An estimate: edit lists and damage can make fewer frames decodable. A file is not opened for a
  `VideoInfo` that has the number.
  """
  if isinstance(source, VideoInfo):
    if source.frames:
      return source.frames
    source = source.path
  path = Path(source)
  with open_container(path) as container:
    stream = _video_stream(container, path)
    return stream.frames or sum(packet.size > 0 for packet in container.demux(stream))


def read_frames(path: str | Path, size: tuple[int, int] | None = None) -> Iterator[np.ndarray]:
  """The frames of a video in the order they are shown; see `read_timed_frames`."""
  for frame in read_timed_frames(path, size):
    yield frame.image


def read_timed_frames(path: str | Path, size: tuple[int, int] | None = None) -> Iterator[Frame]:
  """Decodes a video frame by frame, holding no more than the decoder does.

  Every stored frame comes once, with its own time stamp: nothing is duplicated or dropped to make a
  variable frame rate constant. Rotation by quarter turns is applied, mirroring is not. Grey, 10-bit
  and full-range video becomes 8-bit RGB by the file's own colour matrix; HDR is not tone-mapped.
  Pixels that are not square stay as stored.

  Args:
    path: the file.
    size: height and width to resize to (see `jaxsal.data.transforms.resize`); by default the
      video's own.

  Yields:
    Frames with strictly increasing times.

  Raises:
    UserError: as for `probe`.
    DamagedVideo: after the last frame, when data behind it are missing or cannot be decoded.
  """
  path = Path(path)
  with open_container(path) as container:
    stream = _video_stream(container, path)
    step = 1 / (stream.average_rate or stream.guessed_rate or Fraction(25))
    origin = origin_of(container, stream)
    reformatter = VideoReformatter()
    shape, time = None, None
    for frame in _decode(container, stream, path):
      shape = shape or (frame.height, frame.width)  # later frames may differ: streams are spliced
      rgb = reformatter.reformat(
        frame, width=shape[1], height=shape[0], format="rgb24", interpolation=_EXACT
      )
      image = np.ascontiguousarray(np.rot90(rgb.to_ndarray(), _rotation(frame) // 90))
      stamp = None if frame.pts is None else frame.pts * stream.time_base - origin
      if time is None:
        time = Fraction(0) if stamp is None else stamp
      else:
        time = stamp if stamp is not None and stamp > time else time + step
      yield Frame(time, image if size is None else resize(image, size))


class VideoWriter:
  """Writes frames as H.264 MP4 with the time stamps and the sound of a source video.

  The first sound track is copied packet by packet where MP4 carries its codec (AAC, MP3, AC-3,
  Opus, FLAC, ALAC), else encoded as AAC; a track that cannot be decoded is left out. H.264 in the
  4:2:0 layout that every player knows needs even sizes: with an odd height or width the last row or
  column is repeated once, nothing is cropped. The file appears under its name when it is complete.

  Use as a context manager:

      with VideoWriter("overlay.mp4", source="clip.mov") as writer:
        for frame in read_timed_frames("clip.mov"):
          writer.write(frame.image, frame.time)
  """

  def __init__(self, path: str | Path, source: str | Path | VideoInfo) -> None:
    """Opens `path` for frames of the size that `source` shows.

    Args:
      path: the file to write.
      source: path of the source video, or its `VideoInfo`; it is opened for its sound only.

    Raises:
      UserError: `source` cannot be read; see `probe`.
    """
    self._path = Path(path)
    self._partial = self._path.with_name(f".{self._path.name}.partial")
    info = probe(source)
    self._time_base = info.time_base
    self._pad = info.height % 2, info.width % 2
    self._source = open_container(info.path) if info.has_audio else None

    self._output = av.open(str(self._partial), "w", format="mp4", options={"movflags": "faststart"})
    stream = self._output.add_stream("libx264", rate=info.fps)
    stream.height, stream.width = info.height + self._pad[0], info.width + self._pad[1]
    stream.pix_fmt = "yuv420p"
    stream.options = {"crf": "20", "preset": "veryfast"}
    context = stream.codec_context
    context.time_base = info.time_base
    context.sample_aspect_ratio = info.pixel_aspect
    # BT.709, limited range, said in the file: players guess otherwise, by the size of the frame.
    context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1
    self._stream = stream
    self._reformatter = VideoReformatter()

    self._sound: Iterator[av.Packet] = iter(())
    if self._source is not None:
      origin = origin_of(self._source, _video_stream(self._source, info.path))
      self._sound = _sound(self._source, self._output, origin)
    self._next_sound = next(self._sound, None)

  def write(self, image: np.ndarray, time: Fraction) -> None:
    """Adds a frame [h, w, 3], RGB uint8, shown from `time` (seconds since the start) on."""
    if any(self._pad):
      bottom, right = self._pad
      image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    frame = self._reformatter.reformat(
      rgb, format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
    )
    frame.pts = round(time / self._time_base)
    frame.time_base = self._time_base
    self._output.mux(self._stream.encode(frame))
    self._write_sound(until=time)

  def __enter__(self) -> Self:
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: types.TracebackType | None,
  ) -> None:
    try:
      if error is None:
        self._output.mux(self._stream.encode(None))
        self._write_sound(until=None)
      self._output.close()
      if error is None:
        self._partial.replace(self._path)
    finally:
      if self._source is not None:
        self._source.close()
      self._partial.unlink(missing_ok=True)

  def _write_sound(self, until: Fraction | None) -> None:
    # Sound goes along with the frames: the muxer would hold back whatever runs ahead, in memory.
    while (packet := self._next_sound) is not None:
      if until is not None and packet.dts is not None and packet.dts * packet.time_base > until:
        return
      self._output.mux(packet)
      self._next_sound = next(self._sound, None)


def _sound(
  source: av.container.InputContainer, output: av.container.OutputContainer, origin: Fraction
) -> Iterator[av.Packet]:
  """Adds the first sound track of `source` to `output`; yields its packets, moved by -`origin`."""
  track = next(iter(source.streams.audio), None)
  if track is None or track.codec_context is None:
    return iter(())
  if track.codec_context.codec.canonical_name in _MP4_SOUND:
    return _copied(source, track, output.add_stream_from_template(track), origin)
  mono = track.codec_context.layout.nb_channels == 1
  encoder = output.add_stream("aac", rate=48000, layout="mono" if mono else "stereo")
  return _encoded(source, track, encoder, origin)


def _copied(
  source: av.container.InputContainer,
  track: av.AudioStream,
  copy: av.AudioStream,
  origin: Fraction,
) -> Iterator[av.Packet]:
  shift = round(origin / track.time_base)
  try:
    for packet in source.demux(track):
      if packet.dts is None:  # the demuxer's mark of the end
        continue
      packet.dts -= shift
      if packet.pts is not None:
        packet.pts -= shift
      packet.stream = copy
      yield packet
  except av.FFmpegError:
    return  # damage: the reader of the frames reports it


def _encoded(
  source: av.container.InputContainer,
  track: av.AudioStream,
  encoder: av.AudioStream,
  origin: Fraction,
) -> Iterator[av.Packet]:
  try:
    for frame in source.decode(track):
      if frame.pts is not None:
        frame.pts -= round(origin / frame.time_base)
      yield from encoder.encode(frame)
  except av.FFmpegError:
    pass  # as above
  yield from encoder.encode(None)


def open_container(path: Path) -> av.container.InputContainer:
  """Opens a file for reading.

  Raises:
    UserError: the file is missing, empty, a folder, or nothing that FFmpeg reads.
  """
  if not path.exists():
    raise UserError(f"{path}: no such file. Check the path of the video.")
  if path.is_dir():
    raise UserError(f"{path}: a folder, not a video file. Name the video file inside it.")
  try:
    with path.open("rb") as file:
      head = file.read(12)
    if not head:
      raise UserError(f"{path}: the file is empty (0 bytes). Copy or download it again.")
    try:
      container = av.open(str(path))
    except UnicodeDecodeError:  # PyAV 18 is strict about the encoding of tags, later ones are not
      container = av.open(str(path), metadata_errors="ignore")
  except OSError as error:  # missing rights, for one; FFmpeg's errors of that kind are OSErrors too
    raise UserError(f"{path}: cannot be read: {error.strerror}.") from error
  except av.FFmpegError as error:
    if head[4:8] == b"ftyp":
      raise UserError(
        f"{path}: begins like an MP4 but has no readable index (moov), which stands at its end "
        "when a download or recording broke off. Copy, download or record the file again."
      ) from error
    raise UserError(
      f"{path}: not a video that FFmpeg can read ({error.strerror}). "
      "Use a video file such as MP4, MKV, MOV, AVI or WebM."
    ) from error
  if container.format.name == "tty":  # FFmpeg shows text files as films of a terminal
    container.close()
    raise UserError(f"{path}: a text file. Use a video file such as MP4, MKV, MOV, AVI or WebM.")
  return container


def _video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
  """The first video stream that is no cover picture, set up to decode on several threads."""
  for stream in container.streams.video:
    if stream.disposition & Disposition.attached_pic:
      continue
    if stream.codec_context is None:
      raise UserError(
        f"{path}: FFmpeg has no decoder for its video stream. Convert it to H.264 first."
      )
    stream.thread_type = "AUTO"
    return stream
  kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
  raise UserError(
    f"{path}: no video stream, it holds {kinds} only. Use a file that has moving pictures."
  )


def _decode(
  container: av.container.InputContainer, stream: av.VideoStream, path: Path
) -> Iterator[av.VideoFrame]:
  """Frames as the decoder gives them out.

  What cannot be decoded before the first frame is passed over, as players do: a recording may begin
  between two key frames.

  Raises:
    DamagedVideo: after the last frame, when something behind it is missing or broken.
    UserError: there was not one frame.
  """
  stated = None
  if any(name in _STATED_DURATION for name in container.format.name.split(",")):
    stated = container.duration and container.duration / av.time_base
  start = (container.start_time or 0) / av.time_base
  frames, end, reason = 0, 0.0, None
  try:
    # All streams, because only the last of them reaches the stated end.
    for packet in container.demux():
      if packet.is_corrupt and stated:
        reason = "the file ends in the middle of a packet"
        break
      if packet.pts is not None:
        end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base) - start)
      if packet.stream_index != stream.index:
        continue
      try:
        decoded = packet.decode()
      except av.FFmpegError:
        if frames:
          raise
        continue
      for frame in decoded:
        frames += 1
        yield frame
    if reason:
      # Frames are stored out of order: one that is shown after the missing one may be there.
      missing = packet.pts if packet.stream_index == stream.index else None
      for frame in stream.decode(None):
        if missing is None or frame.pts is None or frame.pts < missing:
          frames += 1
          yield frame
  except av.FFmpegError as error:
    reason = f"FFmpeg says '{error.strerror}'"
  if not frames:
    raise UserError(
      f"{path}: not one frame of its video stream can be decoded. "
      "Copy, download or record the file again."
    )
  if reason is None and stated and end < stated - _SLACK:
    reason = f"it ends at {end:.1f} s of the {stated:.1f} s that it states"
  if reason:
    raise DamagedVideo(path, frames, reason)


def _rotation(frame: av.VideoFrame) -> int:
  return round(frame.rotation / 90) % 4 * 90


def origin_of(
  container: av.container.InputContainer, stream: av.VideoStream | av.AudioStream
) -> Fraction:
  """The file's first time stamp (hours, in a broadcast) as a whole number of the stream's ticks."""
  start = Fraction(container.start_time or 0, av.time_base)
  return round(start / stream.time_base) * stream.time_base
