"""Videos as people have them: streams in any order, jumping clocks, mirrors, and broken sound."""

import itertools
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import clips
import numpy as np
import pytest
from av.stream import Disposition

from jaxsal.data import timeline, video
from jaxsal.data.sound import read_sound
from jaxsal.data.timeline import Timeline
from jaxsal.data.video import (
  DamagedVideo,
  VideoWriter,
  count_frames,
  probe,
  read_frames,
  read_timed_frames,
)
from jaxsal.data.waveforms import SAMPLE_RATE
from jaxsal.errors import UserError

CASES = Path(__file__).parent.parent / "cases"
QUARTERS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}


def copy(source, path):
  with VideoWriter(path, source) as writer:
    for frame in read_timed_frames(source):
      writer.write(frame.image, frame.time)
  return path


def times_of(path):
  return [float(frame.time) for frame in read_timed_frames(path, (8, 8))]


def write(
  path,
  *,
  seconds=1,
  start=0.0,
  clicks=(),
  codec="libx264",
  sound="aac",
  rate=48000,
  channels=1,
  lead=0.0,
  gap=0.0,
  gap_at=10**9,
  sound_first=False,
  format=None,
  mux_options=None,
):
  """A video of 25 frames per second, with clicks of 20 ms at the times of some frames.

  Args:
    start: time of the first frame.
    clicks: numbers of the frames that click.
    lead: seconds by which the sound begins before the video.
    gap: seconds that are missing before the frame `gap_at`.
  """
  frames = round(seconds * 25)
  tick = Fraction(1, 25 if codec == "mpeg2video" else 1000)
  with av.open(str(path), "w", format=format, options=mux_options or {}) as output:
    track = None
    if sound and sound_first:
      track = output.add_stream(sound, rate=rate, layout="mono" if channels == 1 else "stereo")
    stream = output.add_stream(codec, rate=25)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    stream.codec_context.time_base = tick
    if sound and not sound_first:
      track = output.add_stream(sound, rate=rate, layout="mono" if channels == 1 else "stereo")
    samples = np.zeros(round((seconds + lead) * rate), np.int16)
    for number in clicks:
      samples[round((number / 25 + lead) * rate) :][: rate // 50] = 16384
    done = 0
    for number in range(frames):
      late = gap if number >= gap_at else 0
      image = np.full((48, 64, 3), number * 9 % 256, np.uint8)
      frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
      frame.pts, frame.time_base = round((start + number / 25 + late) / tick), tick
      output.mux(stream.encode(frame))
      while track and done < len(samples) and done / rate - lead < (number + 1) / 25:
        # A chunk never reaches over the gap.
        chunk = samples[done : done + 480]
        block = np.ascontiguousarray(np.repeat(chunk, channels)[None])
        layout = "mono" if channels == 1 else "stereo"
        part = av.AudioFrame.from_ndarray(block, format="s16", layout=layout)
        part.sample_rate, part.time_base = rate, Fraction(1, rate)
        after = gap if done / rate - lead >= gap_at / 25 else 0
        part.pts = round((start - lead + after) * rate) + done
        done += len(chunk)
        output.mux(track.encode(part))
    output.mux(stream.encode(None))
    if track:
      output.mux(track.encode(None))
  return path


def assemble(path, *parts):
  """Writes streams of several files into one; a part is (file, stream number, disposition)."""
  with av.open(str(path), "w") as output:
    sources = [av.open(str(source)) for source, *_ in parts]
    packets = []
    for source, (_, number, disposition) in zip(sources, parts):
      stream = output.add_stream_from_template(source.streams[number], opaque=True)
      stream.disposition = disposition
      for packet in source.demux(source.streams[number]):
        if packet.dts is not None:
          packet.stream = stream
          packets.append((packet.dts * packet.time_base, packet))
    for _, packet in sorted(packets, key=lambda pair: pair[0]):
      output.mux(packet)
    for source in sources:
      source.close()
  return path


def joined(path, *parts):
  path.write_bytes(b"".join(part.read_bytes() for part in parts))
  return path


def onsets(sound):
  """Returns the seconds at which clicks begin."""
  loud = np.abs(sound.astype(float)) > 4000
  starts = np.flatnonzero(loud & ~np.concatenate([[False], loud[:-1]]))
  return starts[np.diff(starts, prepend=-SAMPLE_RATE) > SAMPLE_RATE // 20] / SAMPLE_RATE


# Which stream.


@pytest.mark.parametrize(
  ("name", "frames"),
  [
    ("sound_first.mp4", 25),
    ("timecode.mov", 25),
    ("thumbnail_first.mkv", 25),
    ("vfr.mkv", 35),
    ("vfr_control.mkv", 25),
    ("second_piece.mkv", 50),
    ("time_jumps_back.ts", 50),
    ("mp3_8_kHz.avi", 25),
    ("one_sound_packet_lost.ts", 25),
    ("muxer_refuses.ts", 11),
    ("mirrored.mp4", 8),
    ("turned_90.mp4", 8),
  ],
)
def test_all_frames_of_a_case_are_read_and_copied(tmp_path, name, frames):
  path = CASES / name
  assert len(times_of(path)) == frames
  assert count_frames(path) >= frames
  result = copy(path, tmp_path / "copy.mp4")
  np.testing.assert_allclose(np.diff(times_of(result)), np.diff(times_of(path)), atol=2e-3)
  assert probe(result).has_audio == probe(path).has_audio


@pytest.mark.parametrize("threads", [1, 3, 16])
@pytest.mark.parametrize(
  ("extension", "codec"),
  [("mp4", "libx264"), ("mkv", "libx264"), ("mov", "mpeg4"), ("ts", "libx264"), ("webm", "libvpx")],
)
def test_the_last_frames_are_read_whatever_stream_comes_first(
  tmp_path, monkeypatch, extension, codec, threads
):
  sound = "libopus" if extension == "webm" else "aac"
  path = write(tmp_path / f"a.{extension}", sound_first=True, codec=codec, sound=sound, channels=2)
  found = video._video_stream

  def with_threads(container, path):
    stream = found(container, path)
    stream.codec_context.thread_count = threads
    return stream

  monkeypatch.setattr(video, "_video_stream", with_threads)
  with av.open(str(path)) as container:
    assert container.streams[0].type == "audio"
  assert len(list(read_frames(path))) == 25


NONE, DEFAULT = Disposition(0), Disposition.default
THUMBNAIL, COVER = Disposition.timed_thumbnails, Disposition.attached_pic


# Writers of MP4 and Matroska make some stream the default one if none is; MPEG-TS has no flags.
@pytest.mark.parametrize(
  ("extensions", "other", "disposition", "film_disposition"),
  [
    ("mkv mp4 mov", "large.mjpeg", NONE, DEFAULT),
    ("mkv mp4 mov", "large.mjpeg", DEFAULT, DEFAULT),
    ("mkv", "small.mjpeg", DEFAULT, DEFAULT),
    ("mp4 mov", "large.mjpeg", DEFAULT, NONE),
    ("mkv mp4 mov", "large.h264", NONE, DEFAULT),
    ("mkv mp4 mov", "small.h264", DEFAULT, DEFAULT),
    ("ts", "small.h264", NONE, NONE),
    ("mp4", "large.h264", THUMBNAIL, NONE),
    ("mp4", "large.mjpeg", COVER, NONE),
  ],
)
@pytest.mark.parametrize("first", [True, False])
def test_the_film_is_found_by_what_it_is(
  tmp_path, extensions, other, disposition, film_disposition, first
):
  size, codec = other.split(".")
  shape = (144, 192) if size == "large" else (16, 24)
  count = 25 if codec == "h264" and disposition != THUMBNAIL else 1
  images = np.full((count, *shape, 3), 250, np.uint8)
  encoder, pix_fmt = ("libx264", "yuv420p") if codec == "h264" else ("mjpeg", "yuvj420p")
  second = clips.write_clip(tmp_path / "b.mp4", images, codec=encoder, pix_fmt=pix_fmt)
  film = write(tmp_path / "a.mp4", sound=None)
  parts = [(second, 0, disposition), (film, 0, film_disposition)][:: 1 if first else -1]
  for extension in extensions.split():
    path = assemble(tmp_path / f"c.{extension}", *parts)
    frames = list(read_frames(path))
    assert len(frames) == 25
    assert frames[0].shape == (48, 64, 3)
    assert frames[0].mean() < 20
    assert (probe(path).height, probe(path).width) == (48, 64)


@pytest.mark.parametrize("extension", ["mkv", "mp4"])
def test_the_default_sound_track_comes_before_the_first(tmp_path, extension):
  film = write(tmp_path / "a.mp4", sound=None)
  first = write(tmp_path / "b.mkv", clicks=[5])
  second = write(tmp_path / "c.mkv", clicks=[15])
  path = tmp_path / f"d.{extension}"
  assemble(path, (film, 0, DEFAULT), (first, 1, NONE), (second, 1, DEFAULT))
  np.testing.assert_allclose(onsets(read_sound(path)), [0.6], atol=0.01)
  result = copy(path, tmp_path / "copy.mp4")
  np.testing.assert_allclose(onsets(read_sound(result)), [0.6], atol=0.01)


def with_subtitles(folder):
  path = folder / "subtitles.mkv"
  film = write(folder / "a.mp4")
  with av.open(str(film)) as source, av.open(str(path), "w") as output:
    words = output.add_mux_stream("subrip")
    copies = {
      stream.index: output.add_stream_from_template(stream, opaque=True)
      for stream in source.streams
    }
    for packet in source.demux():
      if packet.dts is not None:
        packet.stream = copies[packet.stream_index]
        output.mux(packet)
    line = av.Packet(b"A word.")
    line.stream, line.pts, line.dts, line.duration = words, 0, 0, 5000
    line.time_base = Fraction(1, 1000)
    output.mux(line)
  return path


def with_attachment(folder):
  path = folder / "font.mkv"
  with av.open(str(write(folder / "a.mp4"))) as source, av.open(str(path), "w") as output:
    output.add_attachment("font.ttf", "application/x-truetype-font", b"not a font" * 100)
    copies = {
      stream.index: output.add_stream_from_template(stream, opaque=True)
      for stream in source.streams
    }
    for packet in source.demux():
      if packet.dts is not None:
        packet.stream = copies[packet.stream_index]
        output.mux(packet)
  return path


def with_data(folder):
  path = folder / "telemetry.ts"
  with av.open(str(write(folder / "a.ts"))) as source, av.open(str(path), "w") as output:
    data = output.add_data_stream()
    copies = {
      stream.index: output.add_stream_from_template(stream, opaque=True)
      for stream in source.streams
    }
    for number, packet in enumerate(source.demux()):
      if packet.dts is not None:
        packet.stream = copies[packet.stream_index]
        output.mux(packet)
        note = av.Packet(b"position")
        note.stream, note.pts, note.dts = data, 126000 + 1800 * number, 126000 + 1800 * number
        note.time_base = Fraction(1, 90000)
        output.mux(note)
  return path


@pytest.mark.parametrize("make", [with_subtitles, with_attachment, with_data])
def test_streams_that_are_neither_picture_nor_sound_are_passed_over(tmp_path, make):
  path = make(tmp_path)
  with av.open(str(path)) as container:
    assert {"subtitle", "attachment", "data"} & {stream.type for stream in container.streams}
  assert len(list(read_frames(path))) == 25
  assert count_frames(path) == 25
  assert len(read_sound(path)) == pytest.approx(SAMPLE_RATE, rel=0.05)
  assert len(times_of(copy(path, tmp_path / "copy.mp4"))) == 25


@pytest.mark.parametrize("extension", ["mp4", "mp3", "mkv"])
def test_a_cover_is_no_film(tmp_path, extension):
  images = np.full((1, 64, 64, 3), 90, np.uint8)
  cover = clips.write_clip(tmp_path / "b.mkv", images, codec="mjpeg", pix_fmt="yuvj420p")
  path = tmp_path / f"song.{extension}"
  if extension == "mkv":
    with av.open(str(path), "w") as output:
      track = output.add_stream("aac", rate=48000, layout="stereo")
      with av.open(str(cover)) as source:
        output.add_attachment("cover.jpg", "image/jpeg", bytes(next(source.demux())))
      clips.write_tone(output, track, 0.5)
  else:
    codec = "libmp3lame" if extension == "mp3" else "aac"
    song = clips.write_sound(tmp_path / "s.mkv", codec=codec)
    assemble(path, (song, 0, DEFAULT), (cover, 0, COVER))
  for read in (probe, count_frames, lambda path: list(read_frames(path))):
    with pytest.raises(UserError, match="its only picture is a cover"):
      read(path)
  with pytest.raises(UserError, match="its only picture is a cover"):
    probe(CASES / "cover.m4a")


# Which moment.


@pytest.mark.parametrize(
  ("extension", "codec", "sound", "format"),
  [
    ("ts", "libx264", "aac", None),
    ("ts", "mpeg2video", "mp2", None),
    ("mpg", "mpeg2video", "mp2", "vob"),
  ],
)
@pytest.mark.parametrize("starts", [(0, 0), (0, 20000), (20000, 0), (0, 0.52, 0, 70000)])
def test_joined_recordings_go_on_with_the_usual_step(
  tmp_path, extension, codec, sound, format, starts
):
  parts = [
    write(
      tmp_path / f"{number}.{extension}",
      start=start,
      clicks=[3, 12],
      codec=codec,
      sound=sound,
      format=format,
    )
    for number, start in enumerate(starts)
  ]
  path = joined(tmp_path / f"joined.{extension}", *parts)
  times = times_of(path)
  assert len(times) == 25 * len(starts)
  if extension == "ts":  # In MPEG-PS FFmpeg itself leaves out a step.
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-4)
  sound = read_sound(path)
  assert len(sound) / SAMPLE_RATE == pytest.approx(len(starts), abs=0.2)
  heard = [times[25 * part + frame] for part in range(len(starts)) for frame in (3, 12)]
  np.testing.assert_allclose(onsets(sound), heard, atol=0.021)
  result = copy(path, tmp_path / "copy.mp4")
  np.testing.assert_allclose(times_of(result), times, atol=2e-3)
  np.testing.assert_allclose(onsets(read_sound(result)), heard, atol=0.05)


def test_the_case_of_a_clock_that_jumps():
  times = times_of(CASES / "time_jumps_back.ts")
  np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-4)
  assert len(read_sound(CASES / "time_jumps_back.ts")) / SAMPLE_RATE == pytest.approx(2, abs=0.03)


def test_a_clock_that_wraps(tmp_path):
  path = write(tmp_path / "a.ts", seconds=2, start=2**33 / 90000 - 1.4 - 1, clicks=[3, 17, 28, 42])
  times = times_of(path)
  np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-4)
  np.testing.assert_allclose(
    onsets(read_sound(path)), [times[i] for i in (3, 17, 28, 42)], atol=0.01
  )


@pytest.mark.parametrize(
  ("extension", "sound"), [("mkv", "flac"), ("mkv", "pcm_s16le"), ("mkv", None), ("mp4", "aac")]
)
@pytest.mark.parametrize(("gap", "kept"), [(30, True), (5 * 3600, False)])
def test_a_gap_of_hours_is_a_break_and_one_of_seconds_is_meant(
  tmp_path, extension, sound, gap, kept
):
  path = write(
    tmp_path / f"a.{extension}", seconds=2, clicks=[3, 42], sound=sound, gap=gap, gap_at=25
  )
  times = times_of(path)
  steps = np.full(49, 0.04)
  steps[24] += gap if kept else 0
  np.testing.assert_allclose(np.diff(times), steps, atol=2e-3)
  if sound:
    heard = read_sound(path)
    assert len(heard) / SAMPLE_RATE == pytest.approx(times[-1] + 0.04, abs=0.1)
    np.testing.assert_allclose(onsets(heard), [times[3], times[42]], atol=0.03)


def test_a_still_picture_under_sound_is_no_break(tmp_path, monkeypatch):
  monkeypatch.setattr(timeline, "_AHEAD", 6)
  times = np.asarray([*np.arange(9) / 25, 7])
  still = clips.write_clip(tmp_path / "a.mp4", clips.moving_square(10, 48, 64), times=times)
  sound = clips.write_sound(tmp_path / "b.mkv", seconds=8)
  path = assemble(tmp_path / "c.mkv", (still, 0, DEFAULT), (sound, 0, DEFAULT))
  np.testing.assert_allclose(times_of(path), times, atol=2e-3)
  np.testing.assert_allclose(times_of(still), np.arange(10) / 25, atol=2e-3)


@pytest.mark.parametrize("lead", [0.3, 1.5])
@pytest.mark.parametrize(("extension", "sound"), [("mkv", "aac"), ("mp4", "aac"), ("ts", "mp2")])
def test_a_film_that_starts_after_its_sound(tmp_path, lead, extension, sound):
  path = write(
    tmp_path / f"a.{extension}", seconds=1, start=lead, lead=lead, clicks=[5, 20], sound=sound
  )
  times = times_of(path)
  assert times[0] == pytest.approx(lead, abs=0.03)
  np.testing.assert_allclose(onsets(read_sound(path)), [times[5], times[20]], atol=0.015)


@pytest.mark.parametrize("extension", ["mkv", "webm", "ts", "mp4", "fragmented.mp4"])
def test_a_piece_of_a_longer_recording_is_whole(tmp_path, extension):
  codec, sound = ("libvpx", "libopus") if extension == "webm" else ("libx264", "aac")
  options = {"movflags": "frag_keyframe+empty_moov"} if "fragmented" in extension else {}
  path = write(
    tmp_path / f"a.{extension}",
    seconds=3,
    start=7,
    clicks=[5, 60],
    codec=codec,
    sound=sound,
    mux_options=options,
  )
  times = times_of(path)
  assert len(times) == 75
  np.testing.assert_allclose(onsets(read_sound(path)), [times[5], times[60]], atol=0.015)


def test_a_piece_that_is_cut_is_damaged(tmp_path):
  images = np.random.default_rng(0).integers(0, 255, (125, 48, 64, 3), np.uint8)
  whole = clips.write_clip(tmp_path / "a.mkv", images, times=2 + np.arange(125) / 25)
  assert len(list(read_frames(whole))) == 125
  with pytest.raises(DamagedVideo, match=r"damaged after frame \d+"):
    list(read_frames(clips.cut(whole, tmp_path / "b.mkv")))


def test_a_damaged_stream_that_is_temporarily_unavailable():
  path = CASES / "temporarily_unavailable.ts"
  frames = []
  with pytest.raises(DamagedVideo) as error:
    for frame in read_timed_frames(path):
      frames.append(float(frame.time))
  assert len(frames) == error.value.frames == 4
  np.testing.assert_allclose(np.diff(frames), 0.04, atol=1e-4)
  assert count_frames(path) >= 4
  assert probe(path).frames is None
  assert len(read_sound(path)) / SAMPLE_RATE == pytest.approx(4 * 1024 / 48000, abs=0.001)


FILM, SOUND = 0, 1


def placed(packets, *, jumps=True, start=0.0, streams=(FILM, SOUND)):
  """Returns (stream, time) of packets (stream, time or (pts, dts)) that a timeline has placed."""
  tick = Fraction(1, 1000)
  made = {number: SimpleNamespace(index=number, time_base=tick) for number in streams}
  container = SimpleNamespace(
    format=SimpleNamespace(flags=0x0200 if jumps else 0), start_time=round(start * av.time_base)
  )
  axis = Timeline(container, made.get(FILM), made.get(SOUND))
  ready = []
  for number, time in packets:
    pts, dts = time if isinstance(time, tuple) else (time, time)
    packet = SimpleNamespace(
      stream=SimpleNamespace(index=number),
      pts=None if pts is None else round(pts * 1000),
      dts=None if dts is None else round(dts * 1000),
    )
    ready += axis.place(packet)
  return [
    (packet.stream.index, None if packet.pts is None else packet.pts / 1000)
    for packet in [*ready, *axis.flush()]
  ]


def ramp(stream, start, count, step=0.04):
  return [(stream, round(start + number * step, 3)) for number in range(count)]


def of(stream, result):
  return [time for number, time in result if number == stream]


def both(start, count):
  return list(itertools.chain(*zip(ramp(FILM, start, count), ramp(SOUND, start, count))))


def test_timeline_begins_with_the_file():
  result = placed(both(3600, 5), start=3599.5)
  assert of(FILM, result) == of(SOUND, result) == pytest.approx([0.5, 0.54, 0.58, 0.62, 0.66])


@pytest.mark.parametrize("jump", [-1000, -0.5, 11, 1e5])
def test_sound_waits_for_the_film_at_a_break(jump):
  first, second = both(0, 25), both(1 + jump, 25)
  # The sound of the second recording comes into the file before the last frames of the first.
  mixed = first[:40] + [packet for packet in first[40:] if packet[0] == SOUND]
  mixed += [packet for packet in second[:20] if packet[0] == SOUND]
  mixed += [packet for packet in first[40:] if packet[0] == FILM]
  mixed += [packet for packet in second[:20] if packet[0] == FILM] + second[20:]
  result = placed(mixed)
  assert len(result) == len(mixed)
  assert of(FILM, result) == pytest.approx(np.arange(50) * 0.04)
  assert of(SOUND, result) == pytest.approx(np.arange(50) * 0.04)


def test_sound_that_follows_the_film_over_a_break():
  first, second = both(0, 25), both(500, 25)
  result = placed(
    [p for p in first if p[0] == FILM]
    + [p for p in second if p[0] == FILM]
    + [p for p in first if p[0] == SOUND]
    + [p for p in second if p[0] == SOUND]
  )
  assert of(SOUND, result) == of(FILM, result) == pytest.approx(np.arange(50) * 0.04)


def test_sound_that_is_earlier_than_the_film_keeps_its_distance_over_a_break():
  sound = ramp(SOUND, 0, 25) + ramp(SOUND, 700, 25)
  film = ramp(FILM, 0.3, 25) + ramp(FILM, 700.3, 25)
  result = placed(itertools.chain(*zip(sound, film)))
  assert of(FILM, result) == pytest.approx(0.3 + np.arange(50) * 0.04)
  assert of(SOUND, result) == pytest.approx(np.arange(50) * 0.04)


def test_a_packet_of_sound_with_a_wrong_time_does_not_move_the_others():
  packets = both(0, 50)
  packets[41] = (SOUND, 90000)
  assert of(SOUND, placed(packets)) == pytest.approx(np.arange(50) * 0.04)
  assert of(FILM, placed(packets)) == pytest.approx(np.arange(50) * 0.04)


def test_a_frame_with_a_wrong_time_does_not_move_the_others():
  packets = both(0, 50)
  packets[40] = (FILM, 90000)
  assert of(FILM, placed(packets)) == pytest.approx(np.arange(50) * 0.04)
  assert of(SOUND, placed(packets)) == pytest.approx(np.arange(50) * 0.04)
  packets[40] = (FILM, (0.8, -90000))
  assert of(FILM, placed(packets)) == pytest.approx(np.arange(50) * 0.04)


def test_sound_whose_clock_alone_jumps_goes_on_at_once_or_after_a_while():
  film = ramp(FILM, 0, 2000)
  sound = ramp(SOUND, 0, 25) + ramp(SOUND, 5000, 1975)
  result = placed(itertools.chain(*zip(film, sound)))
  assert of(SOUND, result) == pytest.approx(np.arange(2000) * 0.04)
  short = placed(itertools.chain(*zip(film[:50], sound[:50])))
  assert of(SOUND, short) == pytest.approx(np.arange(50) * 0.04)


def test_sound_alone():
  result = placed(ramp(SOUND, 5, 25) + ramp(SOUND, 0, 25), start=5, streams=(SOUND,))
  assert of(SOUND, result) == pytest.approx(np.arange(50) * 0.04)


def test_small_steps_back_and_gaps_are_no_breaks():
  times = [0, 0.04, 0.08, 0.0, 0.12, 9.0, 9.04]
  assert of(FILM, placed([(FILM, time) for time in times])) == pytest.approx(times)
  assert of(FILM, placed([(FILM, 0), (FILM, 500)], jumps=False)) == [0, 500]
  assert of(FILM, placed([(FILM, 0), (FILM, 0.04), (FILM, 700)], jumps=False)) == [0, 0.04, 0.08]
  # Sound may come into the file long after its film.
  late = placed(ramp(FILM, 0, 5000) + ramp(SOUND, 0, 10))
  assert of(SOUND, late) == pytest.approx(np.arange(10) * 0.04)


def test_frames_out_of_order_at_a_gap():
  # Frames 0 to 3 and 4 to 7, with hours in between, and B-frames across the gap.
  shown = [0, 0.04, 0.08, 0.12, 7200.16, 7200.2, 7200.24, 7200.28]
  for order, delays in (((0, 2, 1, 5, 3, 4, 7, 6), 1), ((0, 3, 1, 2, 6, 4, 5, 7), 2)):
    decoded = [None] * delays + shown[: 8 - delays]
    packets = [(FILM, (shown[number], dts)) for number, dts in zip(order, decoded)]
    result = placed(packets, jumps=False)
    assert [of(FILM, result)[order.index(i)] for i in range(8)] == pytest.approx(
      np.arange(8) * 0.04
    )


def test_other_streams_are_dropped_and_packets_without_times_pass():
  assert placed([(FILM, 0), (7, 0), (FILM, (None, None))]) == [(FILM, 0), (FILM, None)]


# Which way up.


def quarters():
  image = np.zeros((48, 64, 3), np.uint8)
  image[:24, :32], image[:24, 32:] = QUARTERS["red"], QUARTERS["green"]
  image[24:, :32], image[24:, 32:] = QUARTERS["blue"], QUARTERS["yellow"]
  return image


def names(image):
  """Returns the colours of the quarters, row by row."""
  height, width = image.shape[:2]
  points = itertools.product((height // 4, height * 3 // 4), (width // 4, width * 3 // 4))
  colours = [image[point].astype(int) for point in points]
  return [min(QUARTERS, key=lambda name: np.abs(c - QUARTERS[name]).sum()) for c in colours]


@pytest.mark.parametrize(
  ("extension", "codec"),
  [("mp4", "libx264"), ("mov", "mjpeg"), ("mkv", "ffv1"), ("webm", "libvpx"), ("3gp", "mpeg4")],
)
@pytest.mark.parametrize("mirror", [None, "hflip", "vflip"])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_all_orientations(tmp_path, extension, codec, mirror, degrees):
  path = tmp_path / f"a.{extension}"
  with av.open(str(path), "w") as output:
    stream = output.add_stream(codec, rate=25)
    stream.height, stream.width = 48, 64
    stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    stream.set_display_rotation(degrees, **({mirror: True} if mirror else {}))
    for number in range(3):
      frame = av.VideoFrame.from_ndarray(quarters(), format="rgb24")
      frame.pts, frame.time_base = number, Fraction(1, 25)
      output.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
    output.mux(stream.encode(None))
  expected = np.rot90(quarters(), degrees // 90)
  if mirror:
    expected = expected[:, ::-1] if mirror == "hflip" else expected[::-1]
  frames = list(read_frames(path))
  assert all(names(frame) == names(expected) for frame in frames)
  assert all(frame.shape == expected.shape for frame in frames)
  info = probe(path)
  assert (info.height, info.width) == expected.shape[:2]
  turned = quarters()[:, :: -1 if info.mirrored else 1]
  assert names(np.rot90(turned, info.rotation // 90)) == names(expected)
  assert names(next(read_frames(copy(path, tmp_path / "copy.mp4")))) == names(expected)


def test_the_cases_of_orientation():
  mirrored = next(read_frames(CASES / "mirrored.mp4"))
  assert names(mirrored) == ["green", "red", "yellow", "blue"]
  turned = next(read_frames(CASES / "turned_90.mp4"))
  assert turned.shape == (64, 48, 3)
  assert names(turned) == ["blue", "red", "yellow", "green"]


# Broken sound.


def test_sound_that_mp4_refuses_is_encoded_again(tmp_path, capsys):
  result = copy(CASES / "mp3_8_kHz.avi", tmp_path / "copy.mp4")
  assert "does not fit in an MP4 file and is encoded as AAC" in capsys.readouterr().out
  assert len(times_of(result)) == 25
  assert len(read_sound(result)) / SAMPLE_RATE == pytest.approx(1.15, abs=0.06)


@pytest.mark.parametrize(
  ("extension", "sound", "rate"),
  [
    ("mkv", "libmp3lame", 8000),
    ("mkv", "libmp3lame", 11025),
    ("mkv", "mp2", 16000),
    ("mkv", "libopus", 8000),
    ("mov", "pcm_s16be", 8000),
    ("avi", "adpcm_ima_wav", 22050),
    ("mkv", "wavpack", 48000),
    ("mkv", "aac", 7350),
  ],
)
def test_any_sound_is_copied_or_encoded(tmp_path, extension, sound, rate):
  channels = 2 if sound == "libopus" else 1
  path = write(tmp_path / f"a.{extension}", clicks=[12], sound=sound, rate=rate, channels=channels)
  result = copy(path, tmp_path / "copy.mp4")
  assert len(times_of(result)) == 25
  np.testing.assert_allclose(onsets(read_sound(result)), onsets(read_sound(path)), atol=0.03)


def spoil(path, numbers, keep=0):
  """Overwrites packets of the sound, apart from their first bytes, with noise."""
  with av.open(str(path)) as container:
    packets = [p for p in container.demux(container.streams.audio[0]) if p.dts is not None]
    wanted = [bytes(packets[number]) for number in numbers]
  data = bytearray(path.read_bytes())
  for packet in wanted:
    place = data.index(packet)
    data[place + keep : place + len(packet)] = b"\xff" * (len(packet) - keep)
  path.write_bytes(data)


@pytest.mark.parametrize(
  ("extension", "sound", "lost"),
  [("mkv", "aac", 3), ("mp4", "aac", 1), ("mkv", "flac", 2), ("mkv", "eac3", 1), ("mkv", "ac3", 2)],
)
def test_lost_packets_of_sound_are_gaps(tmp_path, capsys, extension, sound, lost):
  path = write(
    tmp_path / f"a.{extension}", seconds=2, clicks=range(2, 50, 4), sound=sound, channels=2
  )
  whole = read_sound(path)
  count = len(clips.packets(path, "audio"))
  spoil(path, range(count // 2, count // 2 + lost))
  capsys.readouterr()
  sound = read_sound(path)
  assert f"of {count} packets of its sound track" in capsys.readouterr().out
  assert len(sound) == pytest.approx(len(whole), abs=SAMPLE_RATE // 20)
  heard = onsets(sound)
  for onset in heard:  # The rest is where it was.
    assert min(abs(onsets(whole) - onset)) < 0.021
  assert len(heard) >= len(onsets(whole)) - lost - 2
  result = copy(path, tmp_path / "copy.mp4")
  assert "packets of the sound" in capsys.readouterr().out
  assert len(times_of(result)) == 50
  for onset in onsets(read_sound(result)):
    assert min(abs(onsets(whole) - onset)) < 0.05


@pytest.mark.parametrize("name", ["one_sound_packet_lost.ts", "muxer_refuses.ts"])
def test_the_cases_of_lost_sound(tmp_path, capsys, name):
  assert read_sound(CASES / name) is not None
  assert "cannot be decoded: silence in their place" in capsys.readouterr().out
  result = copy(CASES / name, tmp_path / "copy.mp4")
  assert "packets of the sound (aac" in capsys.readouterr().out
  assert len(times_of(result)) == len(times_of(CASES / name))
  assert probe(result).has_audio


@pytest.mark.parametrize(
  "formats",
  [
    (("aac", 48000, 1), ("aac", 44100, 1)),
    (("aac", 48000, 2), ("aac", 48000, 1)),
    (("mp2", 48000, 2), ("mp2", 32000, 1), ("mp2", 48000, 2)),
  ],
)
def test_sound_that_changes_its_format(tmp_path, capsys, formats):
  parts = [
    write(tmp_path / f"{number}.ts", clicks=[3, 12], sound=sound, rate=rate, channels=channels)
    for number, (sound, rate, channels) in enumerate(formats)
  ]
  path = joined(tmp_path / "joined.ts", *parts)
  times = times_of(path)
  heard = [times[25 * part + frame] for part in range(len(formats)) for frame in (3, 12)]
  np.testing.assert_allclose(onsets(read_sound(path)), heard, atol=0.03)
  capsys.readouterr()
  result = copy(path, tmp_path / "copy.mp4")
  assert len(times_of(result)) == 25 * len(formats)
  copied = onsets(read_sound(result))
  if formats[0][0] == "aac":  # which is copied: the other format is left out
    assert "packets of the sound" in capsys.readouterr().out
    np.testing.assert_allclose(copied, heard[:2], atol=0.05)
  else:
    np.testing.assert_allclose(copied, heard, atol=0.05)


def test_sound_that_cannot_be_decoded_at_all(tmp_path, capsys):
  path = write(tmp_path / "a.mkv", sound="flac")
  spoil(path, range(len(clips.packets(path, "audio"))))
  with pytest.raises(UserError, match=r"a\.mkv: its sound track .* cannot be decoded"):
    read_sound(path)
  result = copy(path, tmp_path / "copy.mp4")
  assert "packets of the sound (flac" in capsys.readouterr().out
  assert len(times_of(result)) == 25


def test_a_sound_track_in_an_unknown_format(tmp_path, capsys):
  path = write(tmp_path / "a.mkv", sound="pcm_s16le")
  data = path.read_bytes()
  assert data.count(b"A_PCM/INT/LIT") == 1
  path.write_bytes(data.replace(b"A_PCM/INT/LIT", b"A_XYZ/INT/LIT"))
  assert len(list(read_frames(path))) == 25
  with pytest.raises(UserError, match=r"a\.mkv: its sound track"):
    read_sound(path)
  result = copy(path, tmp_path / "copy.mp4")
  assert "without the sound" in capsys.readouterr().out
  assert not probe(result).has_audio
  assert len(times_of(result)) == 25


@pytest.mark.parametrize("wrong", [{"dts": 0, "pts": 0}, {"pts": -(10**6)}])
def test_packets_of_sound_that_the_muxer_refuses(tmp_path, capsys, monkeypatch, wrong):
  packets_of = video._Sound._copied

  def copied(self, track):
    for number, packet in enumerate(packets_of(self, track)):
      if number in (20, 30):
        packet.dts, packet.pts = wrong.get("dts", packet.dts), wrong["pts"]
      yield packet

  monkeypatch.setattr(video._Sound, "_copied", copied)
  path = write(tmp_path / "a.mp4", clicks=[3, 22])
  result = copy(path, tmp_path / "copy.mp4")
  assert "2 of 48 packets of the sound (aac" in capsys.readouterr().out
  assert len(times_of(result)) == 25
  np.testing.assert_allclose(onsets(read_sound(result)), onsets(read_sound(path)), atol=0.01)


def test_errors_of_the_film_are_not_taken_for_the_sounds(tmp_path):
  path = write(tmp_path / "a.mp4", sound=None)
  with pytest.raises(av.error.FFmpegError), VideoWriter(tmp_path / "copy.mp4", path) as writer:
    broken = av.Packet(b"none")
    broken.stream, broken.pts, broken.dts = writer._stream, -5, 5
    writer._mux([broken])
  assert not (tmp_path / "copy.mp4").exists()
