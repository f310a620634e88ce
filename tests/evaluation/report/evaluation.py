"""Makes the folder of an evaluation with invented values."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

METRICS = ("auc_judd", "sim", "auc_shuffled", "cc", "nss", "kl", "information_gain")
_CENTRES = {
  "auc_judd": (0.9, 0.05),
  "sim": (0.38, 0.1),
  "auc_shuffled": (0.7, 0.08),
  "cc": (0.5, 0.15),
  "nss": (2.7, 0.9),
  "kl": (1.4, 0.4),
  "information_gain": (1.1, 0.5),
}
_PROTOCOL = {
  "name": "dhf1k",
  "frames": "every frame",
  "mean": "over frames",
  "nan_policy": "frames without a value are dropped and counted",
  "other_map": "10 random frames of the list",
  "resize": "bicubic, to the ground truth's size",
  "post_processing": "none",
}


def write(
  out: pathlib.Path,
  names: Sequence[str],
  *,
  frames: int = 12,
  size: tuple[int, int] = (24, 40),
  dropped: int = 1,
  seed: int = 0,
  **changes: Any,
) -> dict[str, Any]:
  """Writes `scores.json` and `videos/*.npz`.

  Args:
    out: folder of the evaluation.
    names: names of the videos.
    frames: number of frames of each video.
    size: height and width of the example pictures.
    dropped: number of frames of each video that have no value in any metric.
    seed: seed of the random values.
    **changes: entries of `scores.json` that differ, such as `bounds={}`.

  Returns:
    The content of `scores.json`.
  """
  rng = np.random.default_rng(seed)
  folder = out / "videos"
  folder.mkdir(parents=True)
  videos = []
  for number, name in enumerate(names):
    ease = rng.normal()
    values = {}
    for metric, (centre, spread) in _CENTRES.items():
      sign = -1 if metric == "kl" else 1
      noise = 0.7 * sign * ease + 0.7 * rng.normal(size=frames)
      values[metric] = np.float32(centre + spread * noise)
      values[metric][:dropped] = np.nan
    np.savez(
      folder / f"{number:05}.npz",
      frame=np.arange(frames, dtype=np.int32),
      example=frames - 1,
      **_example(rng, size, ease),
      **values,
    )
    means = {
      metric: float(np.nanmean(column)) if dropped < frames else None
      for metric, column in values.items()
    }
    videos.append(
      {
        "name": name,
        "frames": frames,
        "scores": means,
        "dropped": dict.fromkeys(METRICS, dropped),
      }
    )
  summary = {
    "format": 1,
    "jaxsal": "0.1.0",
    "source": {
      "kind": "model",
      "name": "tased",
      "path": "models/tased",
      "weights_sha256": "5e" * 32,
    },
    "dataset": "dhf1k/native/1.0.0",
    "split": "validation",
    "protocol": _PROTOCOL,
    "frames": frames * len(names),
    "scored_frames": (frames - dropped) * len(names),
    "metrics": list(METRICS),
    "scores": {
      metric: {
        "mean": _mean([video["scores"][metric] for video in videos]),
        "count": (frames - dropped) * len(names),
        "dropped": dropped * len(names),
      }
      for metric in METRICS
    },
    "bounds": {
      "human infinite": {metric: centre * 1.3 for metric, (centre, _) in _CENTRES.items()},
      "mean eye position": {metric: centre * 0.6 for metric, (centre, _) in _CENTRES.items()},
    },
    "videos": videos,
  } | changes
  (out / "scores.json").write_text(json.dumps(summary), "utf-8")
  return summary


def _mean(values: list[float | None]) -> float | None:
  known = [value for value in values if value is not None]
  return float(np.mean(known)) if known else None


def _example(rng: np.random.Generator, size: tuple[int, int], ease: float) -> dict[str, np.ndarray]:
  """Makes a frame with a bright disc, where most observers look.

  The easier the video, the closer the prediction is to the disc.
  """
  (h, w), (x, y) = size, rng.uniform(0.25, 0.75, 2)
  centre = np.array([x * w, y * h])
  yy, xx = np.mgrid[:h, :w]

  def blob(x: float, y: float, sigma: float) -> np.ndarray:
    return np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * sigma**2))

  ground = np.stack([70 + 60 * yy / h, 110 + 30 * xx / w, 120 + 0 * xx], -1)
  disc = (np.hypot(xx - centre[0], yy - centre[1]) < h / 9)[..., None]
  frame = np.where(disc, [60, 150, 240], ground) + rng.normal(0, 3, (h, w, 1))
  fixations = centre + rng.normal(0, h / 12, (14, 2))
  density = sum(blob(px, py, h / 14) for px, py in fixations)
  guess = centre + rng.normal(0, h / 5, 2) * (1.2 - np.clip(ease, -1, 1))
  prediction = blob(*guess, h / 8) + 0.3 * blob(w / 2, h / 2, h / 4)
  pictures = {"frame": frame, "density": density / density.max() * 255}
  pictures["prediction"] = prediction / prediction.max() * 255
  jpegs = {
    f"example_{name}": cv2.imencode(".jpg", np.clip(image, 0, 255).astype(np.uint8))[1]
    for name, image in pictures.items()
  }
  return {**jpegs, "example_fixations": fixations.astype(np.float32)}
