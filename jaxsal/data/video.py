"""Probes and reads videos through FFmpeg (PyAV) or from frames in image files; writes MP4 files."""

import dataclasses
import types
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Self, cast

import av
import av.container
import av.error
import cv2
import numpy as np
from av.stream import Disposition
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from jaxsal.data import images
from jaxsal.data.transforms import Resampling, resize
from jaxsal.errors import UserError

# Containers that state their duration; that of others is guessed from the bit rate.
_STATED_DURATION = ("mp4", "matroska")
# Seconds by which a complete file may end before its stated duration (rounding, edit lists).
_SLACK = 1.0
# Without these flags FFmpeg's conversion to RGB is 1 to 1.5 grey levels too dark.
_EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# Sound formats that players accept in MP4 files; all others are encoded as AAC.
_MP4_SOUND = ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac")


@dataclasses.dataclass(frozen=True)
class VideoInfo:
  """Facts that a video file states, or that are known about frames in image files.

  Attributes:
    path: path of the file, or the folder of the image files.
    frames: number of frames; None if the container does not state it.
    fps: frames per second; the average if the rate varies.
    height, width: size of a frame as it is shown (after rotation), in pixels.
    has_audio: whether there is a sound track.
    rotation: angle in degrees, counter-clockwise, by which stored frames are turned to be shown: 0,
      90, 180 or 270.
    duration: length in seconds; None if it is not known.
    time_base: length of one tick of the frames' time stamps, in seconds.
    pixel_aspect: width of a shown pixel divided by its height.
    files: image files of the frames, in order; none for a video file.
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
  files: tuple[Path, ...] = ()


class Frame(NamedTuple):
  """A decoded frame.

  Attributes:
    time: time at which the frame is shown, in seconds since the start of the file.
    image: the frame, RGB uint8 [h, w, 3].
  """

  time: Fraction
  image: np.ndarray


class DamagedVideo(UserError):
  """The error for a video that breaks off, raised after the last frame before the damage.

  Attributes:
    frames: number of frames before the damage.
  """

  def __init__(self, path: Path, frames: int, reason: str) -> None:
    """Makes the error from the reason why the video cannot be read further."""
    self.frames = frames
    super().__init__(
      f"{path}: damaged after frame {frames}: {reason}. Copy, download or record the file again."
    )


def probe(source: str | Path | VideoInfo) -> VideoInfo:
  """Reads the facts that a video file states, and decodes its first frame only.

  Args:
    source: path of the file, or the result of an earlier call, which is returned as it is.

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
      duration = float(stream.duration * _time_base(stream))
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
      time_base=_time_base(stream),
      pixel_aspect=aspect,
    )


def probe_frames(files: Sequence[Path], fps: float | Fraction = 25) -> VideoInfo:
  """Returns the facts about a video whose frames are image files; decodes the first header only.

  Args:
    files: the image files in order, at least one.
    fps: frames per second.

  Raises:
    UserError: the first file is missing, or is no image.
  """
  fps = Fraction(fps).limit_denominator(1_000_000)
  height, width = images.size(files[0])
  return VideoInfo(
    path=files[0].parent,
    frames=len(files),
    fps=fps,
    height=height,
    width=width,
    has_audio=False,
    rotation=0,
    duration=float(len(files) / fps),
    time_base=1 / fps,
    pixel_aspect=Fraction(1),
    files=tuple(files),
  )


def count_frames(source: str | Path | VideoInfo) -> int:
  """Returns the number of frames, counted without decoding if the container does not state it.

  It is an estimate: edit lists and damage can make fewer frames decodable. No file is opened if
  `source` already has the number.

  Args:
    source: path of the file, or the result of `probe`.
  """
  if isinstance(source, VideoInfo):
    if source.frames:
      return source.frames
    source = source.path
  path = Path(source)
  with open_container(path) as container:
    stream = _video_stream(container, path)
    return stream.frames or sum(packet.size > 0 for packet in container.demux(stream))


def read_frames(
  source: str | Path | VideoInfo,
  size: tuple[int, int] | None = None,
  resampling: Resampling = "area",
) -> Iterator[np.ndarray]:
  """Yields the frames of a video in the order of their times; see `read_timed_frames`."""
  for frame in read_timed_frames(source, size, resampling):
    yield frame.image


def read_timed_frames(
  source: str | Path | VideoInfo,
  size: tuple[int, int] | None = None,
  resampling: Resampling = "area",
) -> Iterator[Frame]:
  """Decodes a video frame by frame, and keeps only the decoder's frames in memory.

  Every stored frame comes once, with its own time: no frame is repeated or dropped to make a
  variable frame rate constant. Rotation by quarter turns is applied, mirroring is not. Grey, 10-bit
  and full-range video is converted to 8-bit RGB by the file's own colour matrix; HDR is not
  tone-mapped. Pixels that are not square remain as they are stored.

  Args:
    source: path of the file, or the result of `probe` or `probe_frames`.
    size: height and width to which frames are resized; the size of the video by default.
    resampling: how frames are resized (see `jaxsal.data.transforms.resize`).

  Yields:
    Frames with strictly increasing times.

  Raises:
    UserError: the file is missing, empty, a folder, no video, or none of its frames can be decoded.
    DamagedVideo: data after the last frame are missing or cannot be decoded.
  """
  if isinstance(source, VideoInfo) and source.files:
    frames = _read_images(source)
  else:
    frames = _read_file(source.path if isinstance(source, VideoInfo) else Path(source))
  for time, image in frames:
    yield Frame(time, image if size is None else resize(image, size, resampling))


def _read_images(info: VideoInfo) -> Iterator[Frame]:
  """Yields the frames of a video from image files."""
  for number, file in enumerate(info.files):
    try:
      image = images.read(file)
    except UserError as error:
      if number == 0:
        raise
      raise DamagedVideo(info.path, number, f"{file.name} cannot be read") from error
    if image.shape[:2] != (info.height, info.width):
      h, w = image.shape[:2]
      reason = f"{file.name} is {w} x {h} and not {info.width} x {info.height}"
      raise DamagedVideo(info.path, number, reason)
    yield Frame(number / info.fps, image)


def _read_file(path: Path) -> Iterator[Frame]:
  """Yields the frames of a video file at their own size."""
  with open_container(path) as container:
    stream = _video_stream(container, path)
    step = 1 / (stream.average_rate or stream.guessed_rate or Fraction(25))
    origin = origin_of(container, stream)
    reformatter = VideoReformatter()
    shape, time = None, None
    for frame in _decode(container, stream, path):
      # In spliced streams later frames may have another size.
      shape = shape or (frame.height, frame.width)
      rgb = reformatter.reformat(
        frame, width=shape[1], height=shape[0], format="rgb24", interpolation=_EXACT
      )
      image = np.ascontiguousarray(np.rot90(rgb.to_ndarray(), _rotation(frame) // 90))
      stamp = None if frame.pts is None else frame.pts * _time_base(stream) - origin
      if time is None:
        time = Fraction(0) if stamp is None else stamp
      else:
        time = stamp if stamp is not None and stamp > time else time + step
      yield Frame(time, image)


class VideoWriter:
  """Writes frames as H.264 MP4, with the times and the sound of a source video.

  The first sound track is copied packet by packet if MP4 files can hold its codec (AAC, MP3, AC-3,
  E-AC-3, Opus, FLAC, ALAC), and otherwise encoded as AAC. A track that cannot be decoded is left
  out. All players know H.264 in the 4:2:0 layout, which needs even sizes; if the height or width is
  odd, the last row or column is repeated, and nothing is cropped. The file appears under its name
  when it is complete.

  The writer is a context manager:

      with VideoWriter("overlay.mp4", source="clip.mov") as writer:
        for frame in read_timed_frames("clip.mov"):
          writer.write(frame.image, frame.time)
  """

  def __init__(self, path: str | Path, source: str | Path | VideoInfo) -> None:
    """Opens a file for frames of the size of a source video.

    Args:
      path: path of the new file.
      source: path of the source video, or the result of `probe` for it.

    Raises:
      UserError: the source video cannot be read.
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
    # The file states BT.709 and limited range, which players otherwise guess from the frame's size.
    context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1
    self._stream = stream
    self._reformatter = VideoReformatter()

    self._sound: Iterator[av.Packet] = iter(())
    if self._source is not None:
      origin = origin_of(self._source, _video_stream(self._source, info.path))
      self._sound = _sound(self._source, self._output, origin)
    self._next_sound = next(self._sound, None)

  def write(self, image: np.ndarray, time: Fraction) -> None:
    """Adds a frame.

    Args:
      image: the frame, RGB uint8 [h, w, 3].
      time: time from which the frame is shown, in seconds since the start.
    """
    if any(self._pad):
      bottom, right = self._pad
      image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    frame = self._reformatter.reformat(
      rgb, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range="MPEG"
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
    # Sound is written in step with the frames, because the muxer keeps all that is ahead in memory.
    while (packet := self._next_sound) is not None:
      if until is not None and packet.dts is not None and packet.dts * packet.time_base > until:
        return
      self._output.mux(packet)
      self._next_sound = next(self._sound, None)


def _sound(
  source: av.container.InputContainer, output: av.container.OutputContainer, origin: Fraction
) -> Iterator[av.Packet]:
  """Adds the first sound track of `source` to `output`; yields its packets, `origin` earlier."""
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
  """Yields the packets of a sound track as they are, `origin` earlier."""
  shift = round(origin / _time_base(track))
  try:
    for packet in source.demux(track):
      if packet.dts is None:  # This packet marks the end of the stream.
        continue
      packet.dts -= shift
      if packet.pts is not None:
        packet.pts -= shift
      packet.stream = copy
      yield packet
  except av.error.FFmpegError:
    return  # The reader of the frames reports the damage.


def _encoded(
  source: av.container.InputContainer,
  track: av.AudioStream,
  encoder: av.AudioStream,
  origin: Fraction,
) -> Iterator[av.Packet]:
  """Yields the packets of a sound track as `encoder` makes them, `origin` earlier."""
  try:
    for frame in source.decode(track):
      if frame.pts is not None and frame.time_base is not None:
        frame.pts -= round(origin / frame.time_base)
      yield from encoder.encode(frame)
  except av.error.FFmpegError:
    pass  # The reader of the frames reports the damage.
  yield from encoder.encode(None)


def open_container(path: Path) -> av.container.InputContainer:
  """Opens a file for reading.

  Raises:
    UserError: the file is missing, empty, a folder, or in a format that FFmpeg does not read.
  """
  if not path.exists():
    raise UserError(f"{path}: no such file. Check the path of the video.")
  if path.is_dir():
    raise UserError(f"{path}: a folder, not a video file. Name the video file inside it.")
  head = b""
  try:
    with path.open("rb") as file:
      head = file.read(12)
    if not head:
      raise UserError(f"{path}: the file is empty (0 bytes). Copy or download it again.")
    try:
      container = av.open(str(path))
    except UnicodeDecodeError:  # PyAV 18 is strict about the encoding of tags.
      container = av.open(str(path), metadata_errors="ignore")
  except OSError as error:  # For example, the user may not read it; some of FFmpeg's are OSErrors.
    raise UserError(f"{path}: cannot be read: {error.strerror}.") from error
  except av.error.FFmpegError as error:
    if head[4:8] == b"ftyp":
      raise UserError(
        f"{path}: begins like an MP4 but has no readable index (moov), which is often at the end of"
        " the file and missing if a download or recording broke off. Copy, download or record the"
        " file again."
      ) from error
    raise UserError(
      f"{path}: not a video that FFmpeg can read ({error.strerror}). "
      "Use a video file such as MP4, MKV, MOV, AVI or WebM."
    ) from error
  if container.format.name == "tty":  # FFmpeg decodes text files as videos of a terminal.
    container.close()
    raise UserError(f"{path}: a text file. Use a video file such as MP4, MKV, MOV, AVI or WebM.")
  return container


def _video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
  """Returns the first video stream that is no cover picture, set to decode in several threads."""
  for stream in container.streams.video:
    if stream.disposition & Disposition.attached_pic:
      continue
    if stream.codec_context is None:
      raise UserError(
        f"{path}: FFmpeg has no decoder for its video stream. Convert the file to H.264 first."
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
  """Yields frames in the decoder's order.

  Data before the first decodable frame are skipped, as in players, because a recording may begin
  between two key frames.

  Raises:
    DamagedVideo: data after the last frame are missing or damaged.
    UserError: no frame can be decoded.
  """
  stated = None
  if any(name in _STATED_DURATION for name in container.format.name.split(",")):
    stated = container.duration and container.duration / av.time_base
  start = (container.start_time or 0) / av.time_base
  frames, end, reason = 0, 0.0, None
  broken: av.Packet | None = None
  try:
    # Packets of all streams are read, because only the longest stream reaches the stated end.
    for packet in container.demux():
      if packet.is_corrupt and stated:
        reason, broken = "the file ends in the middle of a packet", packet
        break
      if packet.pts is not None and packet.time_base is not None:
        end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base) - start)
      if packet.stream_index != stream.index:
        continue
      try:
        # Packets of a video stream give video frames, which the type stubs do not tell.
        decoded = cast(list[av.VideoFrame], packet.decode())
      except av.error.FFmpegError:
        if frames:
          raise
        continue
      for frame in decoded:
        frames += 1
        yield frame
    if broken is not None:
      # Frames are stored out of order. Those that are shown after the missing frame are left out.
      missing = broken.pts if broken.stream_index == stream.index else None
      for frame in stream.decode(None):
        if missing is None or frame.pts is None or frame.pts < missing:
          frames += 1
          yield frame
  except av.error.FFmpegError as error:
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
  """Returns the rotation by which a frame is shown, in whole quarter turns: 0, 90, 180 or 270."""
  return round(frame.rotation / 90) % 4 * 90


def origin_of(
  container: av.container.InputContainer, stream: av.VideoStream | av.AudioStream
) -> Fraction:
  """Returns the file's first time stamp, rounded to ticks of the stream.

  In recorded broadcasts it can be hours.
  """
  start = Fraction(container.start_time or 0, av.time_base)
  return round(start / _time_base(stream)) * _time_base(stream)


def _time_base(stream: av.VideoStream | av.AudioStream) -> Fraction:
  """Returns the length of a stream's ticks in seconds; FFmpeg states it for every opened stream."""
  assert stream.time_base is not None
  return stream.time_base
