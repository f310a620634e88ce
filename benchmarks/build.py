"""Measures the frames per second of `jaxsal prepare` on this machine's processor.

  python -m benchmarks.build

The input is an invented folder in DHF1K's layout: 10 videos of 100 frames of 360 x 640 in MPEG-4,
with densities and fixations. It is built at its own size and at 224 x 384, three times each, in
turns, in one process. The output is the medians, and the time that all of DHF1K would take.
"""

import contextlib
import os
import pathlib
import platform
import statistics
import sys
import tempfile
import time

import av
import cv2
import tensorflow_datasets as tfds

from jaxsal.console import say, track
from jaxsal.tfds_builders.build import count_frames, prepare

sys.path.append(str(pathlib.Path(__file__).parents[1] / "tests"))
from trees import dhf1k

VIDEOS, FRAMES, SIZE = 10, 100, (360, 640)
CONFIGS = ("native", "224x384")
REPEATS = 3


def write_folder(folder: pathlib.Path) -> None:
  for number in track(range(1, VIDEOS + 1), "a folder like DHF1K's", VIDEOS, "video"):
    dhf1k.write(folder, {number: FRAMES}, SIZE)


def build(config: str, folder: pathlib.Path) -> tuple[float, float]:
  """Builds a configuration; returns the seconds it took and its size in megabytes."""
  with tempfile.TemporaryDirectory() as data_dir:
    began = time.perf_counter()
    # The output would say that the set is not complete.
    with contextlib.redirect_stdout(None):
      directory = prepare(f"dhf1k/{config}", data_dir, folder, skip_bad=True)
    seconds = time.perf_counter() - began
    return seconds, 1e-6 * sum(path.stat().st_size for path in directory.iterdir())


def main() -> None:
  say(
    f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()},"
    f" TFDS {tfds.__version__}, OpenCV {cv2.__version__}, PyAV {av.__version__}"
  )
  total = sum(count_frames("dhf1k", split) for split in ("train", "validation", "test"))
  seconds, megabytes = {config: [] for config in CONFIGS}, {}
  with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary) / "dhf1k"
    write_folder(folder)
    runs = [config for _ in range(REPEATS) for config in CONFIGS]
    for config in track(runs, "building", len(runs), "build"):
      taken, megabytes[config] = build(config, folder)
      seconds[config].append(taken)
  for config in CONFIGS:
    rate = VIDEOS * FRAMES / statistics.median(seconds[config])
    spread = ", ".join(f"{taken:.1f}" for taken in sorted(seconds[config]))
    say(
      f"dhf1k/{config:<8} {rate:6.1f} frames/s ({spread} s), {megabytes[config]:.0f} MB;"
      f" {total} frames: {total / rate / 3600:.1f} h"
    )


if __name__ == "__main__":
  main()
