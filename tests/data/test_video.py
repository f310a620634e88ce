"""Reading and writing videos: real clips, oddities of cameras, and broken downloads."""

from fractions import Fraction

import av
import clips
import numpy as np
import pytest
from av.stream import Disposition

from jaxsal.data.video import (
  DamagedVideo,
  VideoWriter,
  count_frames,
  probe,
  read_frames,
  read_timed_frames,
)
from jaxsal.errors import UserError


def copy(source, path):
  with VideoWriter(path, source) as writer:
    for frame in read_timed_frames(source):
      writer.write(frame.image, frame.time)
  return path


def difference(a, b):
  """Returns the mean absolute difference in grey levels."""
  return np.abs(np.asarray(a, int) - np.asarray(b, int)).mean()


@pytest.fixture
def square(tmp_path):
  """Makes frames [20, 34, 50, 3] and their nearly lossless clip."""
  images = clips.moving_square(20, 34, 50)
  return images, clips.write_clip(tmp_path / "square.mp4", images, options={"qp": "1"})


@pytest.mark.parametrize(
  ("name", "frames", "fps", "size", "audio"),
  [
    ("bikes.mp4", 250, Fraction(25), (272, 640), False),
    ("bigbuckbunny.mp4", 132, Fraction(25), (720, 1280), True),
    ("carphone_pristine.mp4", 120, Fraction(30000, 1001), (144, 176), False),
  ],
)
def test_probe_of_real_clips(name, frames, fps, size, audio):
  info = probe(clips.real_clip(name))
  assert (info.frames, info.fps, info.has_audio, info.rotation) == (frames, fps, audio, 0)
  assert (info.height, info.width) == size
  assert info.duration == pytest.approx(float(frames / fps))


def test_every_frame_of_a_real_clip_is_read_at_the_size_asked_for():
  frames = list(read_frames(clips.real_clip("carphone_pristine.mp4"), size=(32, 64)))
  assert len(frames) == 120
  assert all(frame.shape == (32, 64, 3) and frame.dtype == np.uint8 for frame in frames)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le", "yuvj420p"])
def test_colours(tmp_path, pix_fmt):
  colours = np.array([[200, 30, 40], [20, 180, 60], [50, 60, 220], [128, 128, 128]], np.uint8)
  images = np.broadcast_to(colours[:, None, None], (4, 32, 48, 3))
  clip = clips.write_clip(tmp_path / "colours.mp4", images, pix_fmt=pix_fmt, options={"qp": "1"})
  for colour, frame in zip(colours, read_frames(clip), strict=True):
    assert np.abs(frame.mean((0, 1)) - colour).max() < 3


def test_conversion_to_rgb_does_not_darken():
  clip = clips.real_clip("carphone_pristine.mp4")
  with av.open(str(clip)) as container:
    stored = next(container.decode(video=0)).to_ndarray()[:144]  # In 4:2:0 luma comes first.
  luma = (stored - 16.0) * 255 / 219
  shown = next(read_frames(clip)) @ [0.299, 0.587, 0.114]
  inside = (luma > 20) & (luma < 235)  # elsewhere colours are clipped
  assert abs((shown - luma)[inside].mean()) < 0.4


def test_grey_video_gives_equal_channels(tmp_path, square):
  images, _ = square
  clip = clips.write_clip(tmp_path / "grey.mkv", images, codec="ffv1", pix_fmt="gray")
  frames = np.stack(list(read_frames(clip)))
  assert (frames == frames[..., :1]).all()
  assert difference(frames[..., 0], images @ [0.299, 0.587, 0.114]) < 2


def test_frames_come_in_the_order_shown_with_b_frames(tmp_path, square):
  images, _ = square
  options = {"bf": "3", "b-adapt": "0", "qp": "1"}
  clip = clips.write_clip(tmp_path / "b.mp4", images, options=options)
  with av.open(str(clip)) as container:  # the clip is what the test is about
    stamps = [packet.pts for packet in container.demux() if packet.dts is not None]
  assert stamps != sorted(stamps)
  assert difference(list(read_frames(clip)), images) < 2


def test_variable_frame_rate_keeps_every_frame_at_its_own_time(tmp_path, square):
  images, _ = square
  times = np.cumsum([0, 0.02, 0.1, 0.05, 0.3, 0.02] + [0.04] * 14)
  clip = clips.write_clip(tmp_path / "vfr.mp4", images, times=times)
  read = [float(frame.time) for frame in read_timed_frames(clip)]
  np.testing.assert_allclose(read, times, atol=1e-6)
  written = [float(frame.time) for frame in read_timed_frames(copy(clip, tmp_path / "copy.mp4"))]
  np.testing.assert_allclose(written, times, atol=1e-4)


def test_time_starts_with_the_file(tmp_path, square):
  images, _ = square
  times = 3600 + np.arange(20) / 25
  clip = clips.write_clip(tmp_path / "broadcast.ts", images, times=times)
  with av.open(str(clip)) as container:
    assert container.start_time > 3000e6
  read = [float(frame.time) for frame in read_timed_frames(clip)]
  np.testing.assert_allclose(read, times - 3600, atol=1e-3)
  assert probe(copy(clip, tmp_path / "copy.mp4")).duration == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(tmp_path, square, degrees):
  images, _ = square
  clip = clips.write_clip(tmp_path / "phone.mp4", images, rotation=degrees)
  info = probe(clip)
  assert info.rotation == degrees
  turned = np.rot90(images, degrees // 90, axes=(1, 2))
  assert (info.height, info.width) == turned.shape[1:3]
  assert difference(list(read_frames(clip)), turned) < 3
  assert difference(list(read_frames(copy(clip, tmp_path / "copy.mp4"))), turned) < 6


def test_container_without_a_frame_count(tmp_path, square):
  _, clip = square
  clip = clips.remux(clip, tmp_path / "square.mkv")
  assert probe(clip).frames is None
  assert count_frames(clip) == len(list(read_frames(clip))) == 20


def test_one_frame(tmp_path):
  clip = clips.write_clip(tmp_path / "one.mp4", clips.moving_square(1, 34, 50))
  assert len(list(read_frames(clip))) == 1
  assert probe(copy(clip, tmp_path / "copy.mp4")).frames == 1


def test_odd_sizes_are_padded_by_their_last_row_and_column(tmp_path):
  images = clips.moving_square(5, 35, 51)
  clip = clips.write_clip(tmp_path / "odd.mp4", images, options={"qp": "1"})
  assert next(read_frames(clip)).shape == (35, 51, 3)
  frames = np.stack(list(read_frames(copy(clip, tmp_path / "copy.mp4"))))
  assert frames.shape == (5, 36, 52, 3)
  assert difference(frames[:, :35, :51], images) < 6
  assert difference(frames[:, 35, :51], images[:, 34]) < 8


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_a_cut_file_gives_the_frames_before_the_damage(tmp_path, extension):
  source = clips.real_clip("bigbuckbunny.mp4")
  whole = clips.remux(
    source, tmp_path / f"whole.{extension}", seconds=3, options={"movflags": "faststart"}
  )
  part = clips.cut(whole, tmp_path / f"part.{extension}")
  frames = []
  with pytest.raises(DamagedVideo, match=r"part.*damaged after frame \d+") as error:
    for frame in read_frames(part, size=(36, 64)):
      frames.append(frame)
  with av.open(str(part)) as container:
    intact = [p for p in container.demux(container.streams.video[0]) if p.size and not p.is_corrupt]
  assert 10 < error.value.frames == len(frames) == len(intact) < 60
  for frame, original in zip(frames, read_frames(whole, size=(36, 64))):
    np.testing.assert_array_equal(frame, original)


def missing(folder):
  return folder / "nothing.mp4"


def a_folder(folder):
  return folder


def empty(folder):
  (folder / "empty.mp4").touch()
  return folder / "empty.mp4"


def noise(folder):
  (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
  return folder / "noise.mp4"


def text(folder):
  (folder / "notes.txt").write_text("These are notes, not a film.\n" * 50)
  return folder / "notes.txt"


def sound_only(folder):
  return clips.write_sound(folder / "sound.mp4")


def sound_with_cover(folder):
  path = folder / "song.mp4"
  with av.open(str(path), "w") as output:
    track = output.add_stream("aac", rate=48000, layout="stereo")
    cover = output.add_stream("mjpeg", rate=1)
    cover.height, cover.width, cover.pix_fmt = 32, 32, "yuvj420p"
    cover.disposition = Disposition.attached_pic
    output.mux(cover.encode(av.VideoFrame(32, 32, "yuvj420p")))
    clips.write_tone(output, track, 0.5)
  return path


def without_index(folder):
  clip = clips.write_clip(folder / "whole.mp4", clips.moving_square(20, 34, 50))
  return clips.cut(clip, folder / "part.mp4")


def without_frames(folder):
  clip = clips.write_clip(folder / "whole.mkv", clips.moving_square(1, 34, 50))
  data = bytearray(clip.read_bytes())
  with av.open(str(clip)) as container:
    frame = next(bytes(packet) for packet in container.demux())
  start = data.index(frame)
  data[start : start + len(frame)] = bytes(len(frame))
  (folder / "zeros.mkv").write_bytes(data)
  return folder / "zeros.mkv"


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (missing, "no such file"),
    (a_folder, "a folder, not a video file"),
    (empty, r"empty \(0 bytes\)"),
    (noise, "not a video"),
    (text, "a text file"),
    (sound_only, "no video stream, it holds audio only"),
    (sound_with_cover, "no video stream"),
    (without_index, "no readable index"),
    (without_frames, "not one frame"),
  ],
)
def test_bad_files_are_named_with_the_way_out(tmp_path, make, message):
  path = make(tmp_path)
  with pytest.raises(UserError, match=message) as error:
    probe(path)
  assert str(path) in str(error.value)
  with pytest.raises(UserError, match=message):
    list(read_frames(path))


def test_copy_of_a_real_clip_keeps_time_stamps_and_sound(tmp_path):
  source = clips.remux(clips.real_clip("bigbuckbunny.mp4"), tmp_path / "short.mp4", seconds=1)
  result = copy(source, tmp_path / "copy.mp4")
  before, after = probe(source), probe(result)
  assert (after.frames, after.fps, after.has_audio) == (before.frames, before.fps, True)
  assert after.duration == pytest.approx(before.duration, abs=0.01)
  assert clips.packets(result, "audio") == clips.packets(source, "audio")
  pairs = zip(read_timed_frames(source), read_timed_frames(result), strict=True)
  for original, written in pairs:
    assert written.time == original.time
    assert difference(written.image, original.image) < 5
  assert [path.name for path in tmp_path.glob(".*")] == []


def test_copy_keeps_the_shape_of_pixels(tmp_path):
  source = clips.real_clip("carphone_pristine.mp4")
  assert probe(source).pixel_aspect == Fraction(128, 117)
  assert probe(copy(source, tmp_path / "copy.mp4")).pixel_aspect == Fraction(128, 117)


@pytest.mark.parametrize(
  ("extension", "sound", "kept"),
  [("mov", "pcm_s16le", False), ("mp4", "libmp3lame", True), ("ts", "aac", True)],
)
def test_sound_is_copied_or_becomes_aac(tmp_path, square, extension, sound, kept):
  images, _ = square
  source = clips.write_clip(tmp_path / f"tone.{extension}", images, sound=sound)
  result = copy(source, tmp_path / "copy.mp4")
  with av.open(str(result)) as container:
    (track,) = container.streams.audio
    codec = track.codec_context.codec.canonical_name
    assert codec == ("mp3" if sound == "libmp3lame" else "aac")
    samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(track)])
  assert len(samples) / 48000 == pytest.approx(0.8, abs=0.06)
  assert np.sqrt(np.mean(samples[5000:30000] ** 2)) == pytest.approx(0.3 / 2**0.5, rel=0.1)
  with av.open(str(source)) as container:
    count = sum(packet.dts is not None for packet in container.demux(container.streams.audio[0]))
  assert (len(clips.packets(result, "audio")) == count) == kept


def test_a_copy_that_fails_leaves_nothing(tmp_path, square):
  images, source = square
  before = set(tmp_path.iterdir())
  with pytest.raises(RuntimeError, match="stop"), VideoWriter(tmp_path / "o.mp4", source) as writer:
    writer.write(images[0], Fraction(0))
    raise RuntimeError("stop")
  assert set(tmp_path.iterdir()) == before
