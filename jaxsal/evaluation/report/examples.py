"""The section with pictures of the videos that are predicted worst and best."""

import base64
from collections.abc import Iterable

import cv2
import numpy as np

from jaxsal.evaluation.report import results
from jaxsal.evaluation.report.markup import counted, escaped, rounded
from jaxsal.metrics import METRICS, Metric

# Number of the worst videos, and of the best.
_EXAMPLES = 4


def section(found: results.Results) -> str:
  """Shows frame, ground truth and prediction of the videos with the lowest and highest scores.

  The score is NSS, or the first metric if NSS was not computed.
  """
  metrics, videos = found.summary["metrics"], found.summary["videos"]
  metric = METRICS["nss" if "nss" in metrics else metrics[0]]
  ranked = sorted(
    (i for i, video in enumerate(videos) if video["scores"][metric.key] is not None),
    key=lambda i: videos[i]["scores"][metric.key],
  )
  if not ranked:
    return f"<p>No video has a value of {metric.title}.</p>"
  worst = ranked[: min(_EXAMPLES, len(ranked) // 2)]
  best = ranked[len(worst) :][-_EXAMPLES:][::-1]
  parts = [
    f"<p>Videos are ranked by their mean {metric.title}. Rings mark fixations, the ground truth is "
    "the density of the fixations, and each map is scaled to its own maximum. If the density is "
    "widely spread, no map scores well: look at the ground truth before blaming the prediction.</p>"
    '<p class="legend">lowest <i></i> highest</p>'
  ]
  for title, numbers in (("Worst", worst), ("Best", best)):
    if numbers:
      parts.append(f"<h3>{title}</h3>")
    parts += [_card(found, number, metric) for number in numbers]
  return "".join(parts)


def _card(found: results.Results, number: int, metric: Metric) -> str:
  """Makes the card of the video at position `number`: its score and pictures of one frame."""
  video = found.summary["videos"][number]
  header = (
    f'<h4><a href="#video-{number}">{escaped(video["name"])}</a></h4><span class="numbers">mean '
    f"{metric.title} <b>{rounded(video['scores'][metric.key])}</b>, "
    f"{counted(video['frames'], 'frame')}</span>"
  )
  example = found.example(number)
  if example is None:
    return f'<article class="example">{header}<p>No frame of this video was stored.</p></article>'
  fixations, score = example.fixations, rounded(example.scores[metric.key])
  figures = "".join(
    f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"
    for picture, caption in (
      (_picture(example.frame, "frame"), f"Frame {example.number:,}"),
      (
        _picture(example.density, "ground truth", fixations),
        f"Ground truth, {counted(len(fixations), 'fixation')}",
      ),
      (
        _picture(example.prediction, "prediction"),
        f"Prediction, {metric.title} of this frame {score}",
      ),
    )
  )
  return f'<article class="example">{header}<div class="pictures">{figures}</div></article>'


def _picture(image: np.ndarray, label: str, fixations: Iterable[np.ndarray] = ()) -> str:
  """Makes an SVG element that contains an image [h, w, 3] in B, G, R, with rings as fixations."""
  height, width = image.shape[:2]
  _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])
  data = base64.b64encode(encoded.tobytes()).decode()
  rings = "".join(
    f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{width / 90:.1f}" '
    f'stroke-width="{width / share:.2f}"/>'
    for x, y in fixations
    for kind, share in (("halo", 110), ("fixation", 260))
  )
  return (
    f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
    f'<image width="{width}" height="{height}" href="data:image/jpeg;base64,{data}"/>{rings}</svg>'
  )
