"""Measures the data pipeline in clips per second, on this machine's processor.

  python -m benchmarks.data [--video=FILE] [--data-dir=DIR]

There are two data sets: `demo` (built in DIR if needed; a temporary directory by default), and
videos of 224 x 384 JPEG frames as the builders store them, read at that size and at TSFP-Net's
192 x 352. The videos show the frames of FILE, or by default a texture with much noise, which takes
longer to decode. The lines below a set give the size of its frames, the parts of the time that one
clip takes, and the clips per second of each core with one process per core, as when several
processes train together. Within one process, threads wait for Python's lock, and workers send
their clips through shared memory.
"""

import argparse
import contextlib
import itertools
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any

import cv2
import grain
import numpy as np
import tensorflow_datasets as tfds

from jaxsal.console import say
from jaxsal.data import pipeline, sources, transforms, video
from jaxsal.tfds_builders import records
from jaxsal.tfds_builders.build import prepare
from jaxsal.tfds_builders.video_builder import JPEG_QUALITY

LENGTH, BATCH = 32, 4
SECONDS = 2.5  # length of each measurement
FRAME = (224, 384)


class Clips(tfds.core.GeneratorBasedBuilder):
  """Builds as many videos as DHF1K has for training, stored as those of downloaded sets.

  There must not be fewer: to shuffle n videos, Grain takes 2^16 / n steps for each, which is 5 ms
  for eight videos.
  """

  VERSION = tfds.core.Version("1.0.0")
  VIDEOS, FRAMES, DIFFERENT = 600, 40, 96

  def __init__(self, images: Iterable[np.ndarray], **kwargs: Any) -> None:
    self._images = images
    super().__init__(**kwargs)

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
    frames = []
    for image in itertools.islice(self._images, self.DIFFERENT):
      fixations = rng.uniform(0, FRAME[::-1], (17, 2)).astype(np.float32)
      frames.append(
        {
          "image": records.encode_jpeg(image, JPEG_QUALITY),
          "density": records.encode_map(records.blur_fixations(fixations, FRAME, 12.0)),
          "fixations": fixations,
        }
      )
    for number in range(self.VIDEOS * self.FRAMES):
      video, index = divmod(number, self.FRAMES)
      frame = frames[number % self.DIFFERENT]
      yield number, records.record(video=video, index=index, size=FRAME, **frame)


def noisy_texture() -> Iterator[np.ndarray]:
  """Yields frames of a smooth texture with noise, which moves."""
  rng = np.random.default_rng(0)
  coarse = rng.uniform(0, 255, (14, 24, 3)).astype(np.float32)
  texture = cv2.resize(coarse, FRAME[::-1], interpolation=cv2.INTER_CUBIC)
  texture += rng.normal(0, 8, texture.shape)
  texture = texture.clip(0, 255).astype(np.uint8)
  for shift in itertools.count(0, 2):
    yield np.roll(texture, shift, axis=1)


def images_of(path: str) -> Iterator[np.ndarray]:
  """Yields the frames of a video, again and again."""
  while True:
    for image in video.read_frames(path):
      yield transforms.resize(image, FRAME)


def clips_per_second(
  split: sources.Split,
  size: tuple[int, int],
  workers: int,
  wait: Callable[[], Any] = lambda: None,
) -> float:
  """Measures how many clips the pipeline loads in a second.

  Args:
    split: the split to load clips of.
    size: height and width of the loaded frames.
    workers: number of processes that load clips; 0 for threads.
    wait: function that is called just before the measurement.
  """
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
    for _ in range(2 * max(workers, 4)):  # until workers have started and their buffers are used
      next(batches)
    wait()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
      next(batches)
      done += 1
    return done * BATCH / (time.perf_counter() - began)


def clips_per_core(split: sources.Split, size: tuple[int, int]) -> list[float]:
  """Measures the clips per second of one process for each core, all at once."""
  cores, spawn = os.cpu_count() or 1, multiprocessing.get_context("spawn")
  with spawn.Manager() as manager, futures.ProcessPoolExecutor(cores, spawn) as pool:
    together = manager.Barrier(cores, timeout=60).wait
    rates = [pool.submit(clips_per_second, split, size, 0, together) for _ in range(cores)]
    return [rate.result() for rate in rates]


def milliseconds(call: Callable[[], Any], repeats: int = 5) -> float:
  """Returns the mean time of a call, after one call that does not count."""
  call()
  began = time.perf_counter()
  for _ in range(repeats):
    call()
  return 1e3 * (time.perf_counter() - began) / repeats


def profile(split: sources.Split, size: tuple[int, int]) -> str:
  """Measures the parts of loading one clip of LENGTH frames in one thread; returns a line."""
  images = [split.image(i) for i in range(LENGTH)]
  clip = np.empty((LENGTH, *size, 3), np.uint8)
  parts = {
    "fetch": lambda: [split.image(i) for i in range(LENGTH)],
    "decode": lambda: [transforms.write_frame(image, "", out) for image, out in zip(images, clip)],
    "flip": lambda: [cv2.flip(out, 1, dst=out) for out in clip],
  }
  times = ", ".join(f"{name} {milliseconds(call):.1f} ms" for name, call in parts.items())
  return f"{np.mean([len(image) for image in images]) / 1e3:.1f} kB a frame; one clip: {times}"


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--data-dir", help="directory of prepared data sets")
  parser.add_argument("--video", help="a video whose frames are used instead of a noisy texture")
  arguments = parser.parse_args()
  data_dir = arguments.data_dir
  say(
    f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()},"
    f" Grain {grain.__version__}, TFDS {tfds.__version__}, OpenCV {cv2.__version__};"
    f" T = {LENGTH}, batches of {BATCH}"
  )
  with tempfile.TemporaryDirectory() as temporary:
    tfds.disable_progress_bar()
    images = images_of(arguments.video) if arguments.video else noisy_texture()
    Clips(images, data_dir=temporary, file_format=records.FILE_FORMAT).download_and_prepare()
    prepare("demo", data_dir or temporary)
    demo = sources.open_split("demo", "train", data_dir or temporary)
    clips = sources.open_split("clips", "train", temporary)
    cases = [(demo, (demo.videos[0].height, demo.videos[0].width))]
    cases += [(clips, FRAME), (clips, (192, 352))]
    for split, size in cases:
      for workers in (0, 1, 2):
        rate = clips_per_second(split, size, workers)
        say(f"{split.dataset:<20} {size[0]} x {size[1]}  workers {workers}  {rate:7.1f} clips/s")
      alone = ", ".join(f"{rate:.1f}" for rate in clips_per_core(split, size))
      say(f"  {profile(split, size)}")
      say(f"  a process for each core: {alone} clips/s")


if __name__ == "__main__":
  main()
