"""Probes and reads videos through FFmpeg (PyAV) or from frames in image files; writes MP4 files."""

import dataclasses
import io
import math
import types
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import av
import av.container
import av.error
import cv2
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from jaxsal.console import say
from jaxsal.data import images
from jaxsal.data.resampler import Resampler
from jaxsal.data.streams import describe, film_of, read_packets, sound_of
from jaxsal.data.timeline import Timeline
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
    mirrored: whether stored frames are mirrored left to right before they are turned.
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
  mirrored: bool
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
    mirrored, rotation = _orientation(first)
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
      mirrored=mirrored,
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
    mirrored=False,
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
    count = stream.frames
    try:
      if not count:
        for packet in read_packets(container):
          count += packet.stream.index == stream.index and packet.size > 0
    except av.error.FFmpegError:
      pass  # The reader of the frames reports the damage.
    return count


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

  The film is read among several video streams (see `jaxsal.data.streams.film_of`). Every stored
  frame comes once, with its own time: no frame is repeated or dropped to make a variable frame rate
  constant. Where time stamps jump, as in joined recordings, times go on with the usual step (see
  `jaxsal.data.timeline.Timeline`). Rotation by quarter turns and mirroring are applied. Grey,
  10-bit and full-range video is converted to 8-bit RGB by the file's own colour matrix; HDR is not
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
    reformatter = VideoReformatter()
    shape, time = None, None
    for frame in _decode(container, stream, path):
      # In spliced streams later frames may have another size.
      shape = shape or (frame.height, frame.width)
      rgb = reformatter.reformat(
        frame, width=shape[1], height=shape[0], format="rgb24", interpolation=_EXACT
      )
      mirrored, rotation = _orientation(frame)
      image = rgb.to_ndarray()[:, :: -1 if mirrored else 1]
      image = np.ascontiguousarray(np.rot90(image, rotation // 90))
      stamp = None if frame.pts is None else frame.pts * _time_base(stream)
      if time is None:
        time = Fraction(0) if stamp is None else stamp
      else:
        time = stamp if stamp is not None and stamp > time else time + step
      yield Frame(time, image)


class VideoWriter:
  """Writes frames as H.264 MP4, with the times and the sound of a source video.

  The sound track is copied packet by packet if MP4 files can hold it (AAC, MP3, AC-3, E-AC-3, Opus,
  FLAC, ALAC at the usual rates), and otherwise encoded as AAC. Parts of the sound that cannot be
  decoded or written, or that change their format, are left out, and a line on the terminal says so.
  A fault of the sound never stops the video. All players know H.264 in the 4:2:0 layout, which
  needs even sizes; if the height or width is odd, the last row or column is repeated, and nothing
  is cropped. The file appears under its name when it is complete.

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
    self._source_path = info.path
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

    self._sound: _Sound | None = None
    if self._source is not None:
      self._sound = _Sound(self._source, self._output, film_of(self._source))
    self._next_sound = self._sound and self._sound.next()

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
    self._mux(self._stream.encode(frame))
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
        self._mux(self._stream.encode(None))
        self._write_sound(until=None)
      self._output.close()
      if error is None:
        self._partial.replace(self._path)
        if self._sound is not None and (fault := self._sound.fault()):
          say(f"{self._path.name} of {self._source_path}: {fault}")
    finally:
      if self._source is not None:
        self._source.close()
      self._partial.unlink(missing_ok=True)

  def _write_sound(self, until: Fraction | None) -> None:
    # Sound is written in step with the frames, because the muxer keeps all that is ahead in memory.
    while self._sound is not None and (packet := self._next_sound) is not None:
      if until is not None and packet.dts is not None and packet.dts * packet.time_base > until:
        return
      self._mux([packet])
      self._next_sound = self._sound.next()

  def _mux(self, packets: list[av.Packet]) -> None:
    for packet in packets:
      try:
        self._output.mux(packet)
      except (av.error.InvalidDataError, av.error.ArgumentError):
        # The muxer writes in the order of the times, so this may be a packet of sound that it took
        # before. Those of the film are the encoder's and in order.
        if self._sound is None:
          raise
        self._sound.lost += 1


class _Sound:
  """The packets of a file's sound track as an MP4 file takes them, whatever is wrong with them.

  Attributes:
    lost: number of packets that were left out.
  """

  def __init__(
    self,
    source: av.container.InputContainer,
    output: av.container.OutputContainer,
    film: av.VideoStream | None,
  ) -> None:
    """Adds a sound track to `output`, if the one of `source` can be decoded."""
    self.lost, self._total, self._remark = 0, 0, ""
    self._packets: Iterator[av.Packet] = iter(())
    track = sound_of(source)
    assert track is not None
    self._what = describe(track)
    if track.codec_context is None:
      self._remark = f"without the sound, which is {self._what}"
      return
    self._source, self._track = source, track
    self._timeline = Timeline(source, film, track)
    if track.codec_context.codec.canonical_name in _MP4_SOUND:
      if _fits_mp4(track):
        self._packets = self._copied(output.add_stream_from_template(track))
        return
      self._remark = f"the sound ({self._what}) does not fit in an MP4 file and is encoded as AAC"
    mono = track.codec_context.layout.nb_channels == 1
    layout = "mono" if mono else "stereo"
    self._packets = self._encoded(output.add_stream("aac", rate=48000, layout=layout), layout)

  def next(self) -> av.Packet | None:
    """Returns the next packet; None at the end."""
    return next(self._packets, None)

  def fault(self) -> str:
    """Returns what is wrong with the sound that was written, in words; empty if nothing is."""
    if not self.lost:
      return self._remark
    gaps = f"{self.lost} of {self._total} packets of the sound ({self._what}) are left out"
    return f"{self._remark}; {gaps}" if self._remark else gaps

  def _decoded(self) -> Iterator[tuple[av.Packet | None, list[av.AudioFrame]]]:
    """Yields the track's packets with their frames, and at the end None with the last frames."""
    for packet in placed_packets(self._source, self._track, self._timeline):
      self._total += 1
      try:
        yield packet, cast(list[av.AudioFrame], packet.decode())
      except (av.error.FFmpegError, ValueError):
        self.lost += 1
    try:
      frames = self._track.decode(None)
    except (av.error.FFmpegError, ValueError):
      frames = []
    for frame in frames:
      frame.time_base = self._track.time_base  # which frames that the decoder held back lack
    yield None, frames

  def _copied(self, copy: av.AudioStream) -> Iterator[av.Packet]:
    """Yields the packets as they are, apart from those that cannot be decoded."""
    form, last = None, None
    for packet, frames in self._decoded():
      if packet is None or packet.dts is None:
        continue
      # The track's header states one format only.
      forms = {(frame.sample_rate, frame.layout.nb_channels) for frame in frames}
      form = form or next(iter(forms), None)
      if forms - {form}:
        self.lost += 1
        continue
      if last is not None and packet.dts <= last:  # where recordings were joined
        packet.dts = last + 1
      if packet.pts is not None:
        packet.pts = max(packet.pts, packet.dts)
      last = packet.dts
      packet.stream = copy
      yield packet

  def _encoded(self, encoder: av.AudioStream, layout: str) -> Iterator[av.Packet]:
    """Yields the packets that `encoder` makes."""
    resampler = Resampler(48000, "fltp", layout)
    for packet, frames in self._decoded():
      try:
        ready = [sound for frame in frames for sound in resampler.push(frame)]
        ready += resampler.flush() if packet is None else []
      except (av.error.FFmpegError, ValueError):
        self.lost += 1
        continue
      for frame in ready:
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


def _fits_mp4(track: av.AudioStream) -> bool:
  """Returns whether FFmpeg begins an MP4 file with a copy of this sound track."""
  try:
    with av.open(io.BytesIO(), "w", format="mp4") as trial:
      trial.add_stream_from_template(track)
      trial.start_encoding()
  except (av.error.FFmpegError, ValueError):
    return False
  return True


def placed_packets(
  container: av.container.InputContainer, stream: av.AudioStream, timeline: Timeline
) -> Iterator[av.Packet]:
  """Yields a stream's packets with the times of `timeline`, up to where the file is damaged."""
  try:
    for packet in read_packets(container):
      yield from (one for one in timeline.place(packet) if one.stream.index == stream.index)
  except av.error.FFmpegError:
    pass  # The reader of the frames reports the damage.
  yield from (one for one in timeline.flush() if one.stream.index == stream.index)


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
  """Returns the film among the video streams, set to decode in several threads."""
  stream = film_of(container)
  if stream is not None and stream.codec_context is not None:
    stream.thread_type = "AUTO"
    return stream
  if stream is not None:
    raise UserError(
      f"{path}: FFmpeg has no decoder for its video stream. Convert the file to H.264 first."
    )
  kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
  holds = "its only picture is a cover" if container.streams.video else f"it holds {kinds} only"
  raise UserError(f"{path}: no video stream, {holds}. Use a file that has moving pictures.")


def _decode(
  container: av.container.InputContainer, stream: av.VideoStream, path: Path
) -> Iterator[av.VideoFrame]:
  """Yields frames in the decoder's order, with times on the axis of `Timeline`.

  Data before the first decodable frame are skipped, as in players, because a recording may begin
  between two key frames.

  Raises:
    DamagedVideo: data after the last frame are missing or damaged.
    UserError: no frame can be decoded.
  """
  stated = None
  if any(name in _STATED_DURATION for name in container.format.name.split(",")):
    stated = container.duration and container.duration / av.time_base
  timeline = Timeline(container, stream, sound_of(container))
  # The end is that on the file's own clock: a piece of a longer recording does not begin at 0.
  frames, end, reason = 0, 0.0, None
  missing: int | None = None

  def packets() -> Iterator[av.Packet]:
    nonlocal reason, end, missing
    corrupt = None
    try:
      # Packets of all streams are read, because only the longest stream reaches the stated end.
      for packet in read_packets(container):
        if packet.pts is not None and packet.time_base is not None:
          end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        placed = timeline.place(packet)
        if packet.is_corrupt and stated:
          reason, corrupt = "the file ends in the middle of a packet", packet
          break
        yield from placed
    except av.error.FFmpegError as error:
      reason = f"FFmpeg says '{error.strerror}'"
    yield from (packet for packet in timeline.flush() if packet is not corrupt)
    if corrupt is not None and corrupt.stream.index == stream.index:
      missing = corrupt.pts

  try:
    for packet in packets():
      if packet.stream.index != stream.index:
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
    # Frames are stored out of order. Those that are shown after a missing frame are left out.
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


def _orientation(frame: av.VideoFrame) -> tuple[bool, int]:
  """Returns how a stored frame is shown: whether it is mirrored left to right, then turned.

  Returns:
    Whether it is mirrored, and the angle in degrees, counter-clockwise: 0, 90, 180 or 270.
  """
  side_data = cast(Any, frame.side_data)  # The type stubs know one kind of it only.
  if Type.DISPLAYMATRIX not in side_data:
    return False, 0
  # Columns and rows of the stored frame are mapped to (a x + c y, b x + d y).
  matrix = np.frombuffer(bytes(side_data[Type.DISPLAYMATRIX]), np.int32)
  a, b, _, c, d = matrix[:5].astype(float)
  mirrored = bool(a * d < b * c)
  if mirrored:
    a, b = -a, -b
  return mirrored, round(-math.degrees(math.atan2(b, a)) / 90) % 4 * 90


def _time_base(stream: av.VideoStream | av.AudioStream) -> Fraction:
  """Returns the length of a stream's ticks in seconds; FFmpeg states it for every opened stream."""
  assert stream.time_base is not None
  return stream.time_base
