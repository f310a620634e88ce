"""Batches have the right frames, one window per video and epoch, and depend on their number."""

import contextlib
import itertools
import signal
import subprocess
import sys
import threading
import time

import clip_set
import numpy as np
import pytest
from clip_set import CLIPS, SEEN_RARELY, UNSEEN, clip_fixations, clip_size

from jaxsal.data import transforms
from jaxsal.data.pipeline import TrainBatches, eval_batches, train_batches
from jaxsal.data.sources import open_split
from jaxsal.data.windows import training_targets, windows
from jaxsal.errors import UserError
from jaxsal.tfds_builders.build import prepare

LENGTH, SIZE = 8, (16, 24)
CLIP = {"length": LENGTH, "size": SIZE, "target": "last", "padding": "repeat"}


@pytest.fixture(scope="module")
def split(clips_dir):
  return open_split("clips", "train", clips_dir)


def take(batches, n):
  with contextlib.closing(batches):
    return list(itertools.islice(batches, n))


def train(split, n, **arguments):
  return take(train_batches(split, **{**CLIP, "batch_size": 3, "seed": 1, **arguments}), n)


def rows(batches):
  """Splits batches into one dictionary per row."""
  return [
    {key: value[i] for key, value in batch.items()}
    for batch in batches
    for i in range(len(batch["mask"]))
  ]


def identify(row):
  """Reads the video, the frames and whether they are mirrored from the pixels."""
  corners = row["frames"][:, 0, [0, -1]].astype(int)
  video, frames = corners[:, 0, 0] // 10, corners[:, 0, 1] // 5
  assert (video == video[0]).all()
  mirrored = corners[:, 0, 2] > corners[:, 1, 2]
  assert (mirrored == mirrored[0]).all()
  return int(video[0]), frames, bool(mirrored[0])


def check_row(row, target="last", padding="repeat"):
  """Checks that density and fixations belong to the target frame and are mirrored with it."""
  video, frames, mirrored = identify(row)
  frame = int(frames[-1 if target == "last" else (LENGTH - 1) // 2])
  (expected,) = windows(CLIPS[video], LENGTH, target, padding, [frame])
  assert np.array_equal(frames, expected)
  turn = transforms.flip if mirrored else lambda image: image
  fixated = transforms.fixation_map(clip_fixations(video, frame), clip_size(video), SIZE)
  assert np.array_equal(turn(row["fixations"]), fixated)
  density = turn(row["density"])
  assert density[-1, -1] == density.max() > 0 and (density[: SIZE[0] // 2] == 0).all()
  return video, frame, mirrored


def assert_same(got, expected):
  assert len(got) == len(expected)
  for a, b in zip(got, expected):
    assert a.keys() == b.keys()
    for key in a:
      np.testing.assert_array_equal(a[key], b[key])


@pytest.mark.parametrize("target", ["last", "middle"])
@pytest.mark.parametrize("padding", ["repeat", "loop"])
def test_training_rows(split, target, padding):
  seen = rows(train(split, 20, target=target, padding=padding))
  mirrored = 0
  for row in seen:
    video, frame, flipped = check_row(row, target, padding)
    assert frame in training_targets(CLIPS[video], LENGTH, target)
    mirrored += flipped
  assert 15 < mirrored < 45


def test_batches_have_their_types(split):
  (batch,) = train(split, 1)
  expected = {
    "frames": ((3, LENGTH, *SIZE, 3), np.uint8),
    "density": ((3, *SIZE), np.float32),
    "fixations": ((3, *SIZE), np.uint8),
    "mask": ((3,), np.float32),
  }
  assert {key: (value.shape, value.dtype) for key, value in batch.items()} == expected


def test_every_video_once_per_epoch(split):
  order = [identify(row)[0] for row in rows(train(split, 14))]  # 42 rows: 6 epochs
  epochs = np.reshape(order, (6, len(CLIPS)))
  assert (np.sort(epochs, axis=1) == np.arange(len(CLIPS))).all()
  assert len({tuple(epoch) for epoch in epochs}) > 3
  targets = {int(identify(row)[1][-1]) for row in rows(train(split, 14)) if identify(row)[0] == 2}
  assert len(targets) > 2  # another window of the same video


def test_pooled_splits(split, clips_dir):
  more = open_split("clips", "validation", clips_dir)
  videos = [identify(row)[0] for row in rows(train([split, more], 3))]
  assert sorted(videos) == sorted([*range(len(CLIPS)), 0, 1])


def test_mixtures(split, clips_dir):
  few = open_split("clips", "validation", clips_dir)  # its videos look like the first two

  def draw(n, **arguments):
    return train([split, few], n, weights=(1, 3), batch_size=4, **arguments)

  batches = draw(14)
  for batch in batches:  # one clip in four from the first split, however long either is
    assert sum(identify(row)[0] < 2 for row in rows([batch])) >= 3
  videos = [identify(row)[0] for row in rows(batches)]
  assert set(videos) == set(range(len(CLIPS)))
  assert videos.count(0) == videos.count(1) == 3 * 7 + 2  # two epochs of the first split
  assert_same(draw(11, start=3), batches[3:])


def test_seed_and_flip(split):
  with pytest.raises(AssertionError):
    assert_same(train(split, 2, seed=2), train(split, 2))
  assert not any(identify(row)[2] for row in rows(train(split, 10, flip=False)))


def test_frames_that_nobody_looked_at(split):
  for row in rows(train(split, 28)):
    video, frames, _ = identify(row)
    assert row["mask"] == (video != UNSEEN)
    if video == SEEN_RARELY:
      assert frames[-1] % 3 == 0  # drawn again


@pytest.mark.parametrize("workers, starts", [(0, [1, 2, 3, 7]), (2, [3])])
def test_resuming_is_exact(split, workers, starts):
  batches = train(split, 10)  # epochs end in the middle of batches 2, 4, ...
  for start in starts:
    assert_same(train(split, 10 - start, start=start, workers=workers), batches[start:])


def test_processes_share_the_global_batch(split):
  together = train(split, 7, batch_size=4)
  parts = [train(split, 7, batch_size=2, process_index=i, process_count=2) for i in range(2)]
  for batch, first, second in zip(together, *parts):
    interleaved = {key: np.stack([first[key], second[key]], axis=1) for key in batch}
    merged = {key: value.reshape(batch[key].shape) for key, value in interleaved.items()}
    assert_same([merged], [batch])  # so, with every video once, disjoint within an epoch
  assert_same(
    train(split, 4, batch_size=2, process_index=1, process_count=2, start=3), parts[1][3:]
  )


def check_order(batches, expected, batch_size):
  seen = rows(batches)
  assert all(len(batch["mask"]) == batch_size for batch in batches)
  real = [row for row in seen if row["mask"]]
  assert [(row["video"], row["frame"]) for row in real] == expected
  for row in real:
    assert check_row(row) == (row["video"], row["frame"], False)
  for row in seen:
    if not row["mask"]:
      assert row["video"] == row["frame"] == -1
      assert not any(row[key].any() for key in ("frames", "density", "fixations"))


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_in_order(split, workers):
  batches = eval_batches(split, **CLIP, batch_size=4, workers=workers)
  expected = [(video, frame) for video, frames in enumerate(CLIPS) for frame in range(frames)]
  seen = list(batches)
  assert len(seen) == len(batches) == -(-len(expected) // 4)
  check_order(seen, expected, 4)
  assert seen[0]["video"].dtype == seen[0]["frame"].dtype == np.int32
  if not workers:
    assert_same(list(batches), seen)  # and once more


def test_evaluation_of_some_frames(split):
  seen = list(eval_batches(split, **CLIP, batch_size=4, first_frames=9, stride=4))
  expected = [
    (video, frame) for video, frames in enumerate(CLIPS) for frame in range(0, min(frames, 9), 4)
  ]
  check_order(seen, expected, 4)


def test_of_listed_frames_windows_see_all(clips_dir):
  split = open_split("clips", "frames", clips_dir)
  videos, targets = [0, 1, 2, 5], [video.targets for video in split.videos]
  seen = rows(eval_batches(split, **CLIP, batch_size=4))
  assert [(row["video"], row["frame"]) for row in seen if row["mask"]] == [
    (number, frame) for number, frames in enumerate(targets) for frame in frames
  ]
  for row in filter(lambda row: row["mask"], seen):
    assert check_row(row)[:2] == (videos[row["video"]], row["frame"])
  first = rows(eval_batches(split, **CLIP, batch_size=4, first_frames=3, stride=2))
  assert [row["frame"] for row in first if row["mask"]] == [2, 4, 0, 9, 1, 21]
  drawn = {check_row(row)[:2] for row in rows(train(split, 20))}
  # Targets have whole windows if there are any; nobody looked at frame 22 of video 5.
  assert drawn == {(0, 2), (0, 5), (1, 4), (2, 9), (2, 17), (5, 21)}


def test_evaluation_by_processes(split):
  seen, lengths = [], []
  for index in range(3):
    part = eval_batches(split, **CLIP, batch_size=5, process_index=index, process_count=3)
    seen += list(part)
    lengths.append(len(part))
  assert lengths == [7, 7, 7] and len(seen) == 21
  check_order(
    seen, [(video, frame) for video, frames in enumerate(CLIPS) for frame in range(frames)], 5
  )


@pytest.mark.parametrize("target", ["last", "middle"])
def test_evaluation_decodes_each_frame_once(split, monkeypatch, target):
  decoded, decode = [], transforms.decode_frame
  others = set(threading.enumerate())  # some may still load for the tests before

  def count(data, where):
    if threading.current_thread() not in others:
      decoded.append(where)
    return decode(data, where)

  monkeypatch.setattr(transforms, "decode_frame", count)
  list(eval_batches(split, **{**CLIP, "target": target}, batch_size=4))
  assert len(decoded) == len(set(decoded)) == sum(CLIPS)


class Damaged(clip_set.Clips):
  """A data set in which frame 2 of video 1 is no image."""

  def _generate_examples(self, frames):
    for key, record in super()._generate_examples(frames):
      if (record["video"], record["index"]) == (1, 2):
        record["image"] = b"\xff\xd8 a truncated JPEG"
      yield key, record


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_image_is_named(tmp_path, workers):
  Damaged(data_dir=tmp_path, file_format="array_record").download_and_prepare()
  split = open_split("damaged", "validation", tmp_path)
  with pytest.raises(UserError, match=r"record 14 of split 'validation' of damaged/1\.0\.0"):
    list(eval_batches(split, **CLIP, batch_size=4, workers=workers))


def test_demo_set(tmp_path):
  prepare("demo/tiny", tmp_path)
  splits = {name: open_split("demo/tiny", name, tmp_path) for name in ("train", "validation")}
  clip = {**CLIP, "size": (32, 64)}
  for batch in train(splits["train"], 2, **clip):
    assert batch["frames"].shape == (3, LENGTH, 32, 64, 3) and batch["frames"].std() > 10
    assert batch["mask"].all() and batch["fixations"].any(axis=(1, 2)).all()
    assert (batch["density"].max(axis=(1, 2)) > 50).all()
  batches = eval_batches(splits["validation"], **clip, batch_size=16, first_frames=20)
  assert sum(batch["mask"].sum() for batch in batches) == 2 * 20


KILLED = """
import os, signal, sys
from jaxsal.data import pipeline, sources

if __name__ == "__main__":
  split = sources.open_split("clips", "train", sys.argv[1])
  batches = pipeline.train_batches(
    split, length=8, size=(16, 24), target="last", padding="repeat", batch_size=2, seed=0, workers=1
  )
  next(batches)
  os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_a_killed_parent(clips_dir, tmp_path):
  script = tmp_path / "killed.py"
  script.write_text(KILLED)
  # Workers hold the script's output open, so this returns when the last worker has ended.
  run = subprocess.run(
    [sys.executable, script, clips_dir], capture_output=True, timeout=60, check=False
  )
  assert run.returncode == -signal.SIGKILL


def test_the_rate_of_the_loaders():
  """Makes batches of 3 clips, in the second round two at once."""

  def made(*spans):
    return TrainBatches(iter([{"mask": i, "span": np.asarray(s)} for i, s in enumerate(spans)]), 3)

  batches = made((0.0, 1.0), (1.0, 2.5), (8.0, 8.5), (6.0, 7.0), (6.5, 7.5))
  assert [next(batches) for _ in range(3)] == [{"mask": 0}, {"mask": 1}, {"mask": 2}]
  assert batches.clips_per_second() == pytest.approx(9 / 3.0)
  assert [batch["mask"] for batch in batches] == [3, 4]
  assert batches.clips_per_second() == pytest.approx(6 / 1.5)


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_are_as_quick_as_their_consumer(split, workers):
  began = time.perf_counter()
  batches = train_batches(split, **CLIP, batch_size=3, seed=1, workers=workers)
  with contextlib.closing(batches):
    for _ in range(8):
      next(batches)
    assert batches.clips_per_second() >= 8 * 3 / (time.perf_counter() - began)
