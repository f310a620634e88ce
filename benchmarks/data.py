"""Clips per second of the data pipeline, on this machine's processor.

  python -m benchmarks.data [--data-dir=DIR]

Two sets: `demo` (built in DIR if need be; a temporary directory by default), and synthetic videos
of 224 x 384 JPEG frames, read at that size and at TSFP-Net's 192 x 352. The last lines say where
the time of one clip goes.
"""

import argparse
import contextlib
import os
import platform
import tempfile
import time

import cv2
import grain
import numpy as np
import tensorflow_datasets as tfds

from jaxsal.console import console
from jaxsal.data import pipeline, sources, transforms
from tfds_builders import records

LENGTH, BATCH = 32, 4
SECONDS = 2.5  # of each measurement
FRAME = (224, 384)


class Synthetic(tfds.core.GeneratorBasedBuilder):
  """Eight videos of 96 frames: a smooth texture and noise that move."""

  VERSION = tfds.core.Version("1.0.0")
  VIDEOS, FRAMES = 8, 96

  def _info(self) -> tfds.core.DatasetInfo:
    videos = [
      records.Video(name=f"v{i}", frames=self.FRAMES, height=FRAME[0], width=FRAME[1], fps=25.0)
      for i in range(self.VIDEOS)
    ]
    return tfds.core.DatasetInfo(
      builder=self,
      features=records.features(*FRAME),
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(videos={"train": records.videos_table(videos)}),
    )

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    rng = np.random.default_rng(0)
    for video in range(self.VIDEOS):
      coarse = rng.uniform(0, 255, (14, 24, 3)).astype(np.float32)
      texture = cv2.resize(coarse, FRAME[::-1], interpolation=cv2.INTER_CUBIC)
      texture += rng.normal(0, 8, texture.shape)
      texture = texture.clip(0, 255).astype(np.uint8)
      for index in range(self.FRAMES):
        fixations = rng.uniform(0, FRAME[::-1], (17, 2)).astype(np.float32)
        yield (
          video * self.FRAMES + index,
          records.record(
            video=video,
            index=index,
            image=records.encode_jpeg(np.roll(texture, 2 * index, axis=1)),
            density=records.encode_map(records.blur_fixations(fixations, FRAME, 12.0)),
            fixations=fixations,
            size=FRAME,
          ),
        )


def clips_per_second(split: sources.Split, size: tuple[int, int], workers: int) -> float:
  batches = pipeline.train_batches(
    split,
    length=LENGTH,
    size=size,
    target="last",
    padding="repeat",
    batch_size=BATCH,
    seed=0,
    workers=workers,
  )
  with contextlib.closing(batches):
    for _ in range(2 * max(workers, 4)):  # workers start, and what they loaded meanwhile is used
      next(batches)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
      next(batches)
      done += 1
    return done * BATCH / (time.perf_counter() - began)


def milliseconds(call, repeats: int = 5) -> float:
  call()
  began = time.perf_counter()
  for _ in range(repeats):
    call()
  return 1e3 * (time.perf_counter() - began) / repeats


def profile(split: sources.Split, size: tuple[int, int]) -> str:
  """Parts of one clip of LENGTH frames, in one thread."""
  images = [split[i]["image"] for i in range(LENGTH)]
  frames = [transforms.decode_frame(image, "") for image in images]
  resized = [transforms.resize(frame, size) for frame in frames]
  parts = {
    "fetch": lambda: [split[i] for i in range(LENGTH)],
    "decode": lambda: [transforms.decode_frame(image, "") for image in images],
    "resize": lambda: [transforms.resize(frame, size) for frame in frames],
    "flip": lambda: [transforms.flip(frame) for frame in resized],
    "stack": lambda: np.stack(resized),
  }
  return ", ".join(f"{name} {milliseconds(call):.1f} ms" for name, call in parts.items())


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--data-dir", help="where prepared data sets are, or will be")
  data_dir = parser.parse_args().data_dir
  console.print(
    f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()},"
    f" Grain {grain.__version__}, TFDS {tfds.__version__}, OpenCV {cv2.__version__};"
    f" T = {LENGTH}, batches of {BATCH}",
    soft_wrap=True,
  )
  with tempfile.TemporaryDirectory() as temporary:
    tfds.disable_progress_bar()
    Synthetic(data_dir=temporary, file_format=records.FILE_FORMAT).download_and_prepare()
    sources.prepare("demo", data_dir or temporary)
    demo = sources.open_split("demo", "train", data_dir or temporary)
    synthetic = sources.open_split("synthetic", "train", temporary)
    cases = [(demo, (demo.videos[0].height, demo.videos[0].width))]
    cases += [(synthetic, FRAME), (synthetic, (192, 352))]
    for split, size in cases:
      for workers in (0, 1, 2):
        rate = clips_per_second(split, size, workers)
        console.print(
          f"{split.dataset:<20} {size[0]} x {size[1]}  workers {workers}  {rate:7.1f} clips/s"
        )
      console.print(f"  one clip: {profile(split, size)}", soft_wrap=True)


if __name__ == "__main__":
  main()
