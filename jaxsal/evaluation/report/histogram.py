"""Draws a metric's distribution over frames as inline SVG, in the colours of the page."""

import numpy as np
from matplotlib.ticker import MaxNLocator

_WIDTH, _HEIGHT, _AXIS, _TOP = 240, 96, 16, 8  # in the units of the view box
_BINS = 36
# The axis covers the values between these percentiles; the outermost bars count those beyond it.
_PERCENTILES = (0.5, 99.5)


def svg(values: np.ndarray, mean: float | None, title: str) -> str:
  """Draws a histogram with its score marked, or only the axis if there are no values.

  Args:
    values: values of the frames [n], NaN where a frame has none.
    mean: score to mark, which by some protocols is not the mean of `values`; None for no mark.
    title: text for screen readers, as markup.

  Returns:
    The SVG element.
  """
  values = values[np.isfinite(values)]
  low, high = np.percentile(values, _PERCENTILES) if values.size else (0.0, 1.0)
  if mean is not None:
    low, high = min(low, mean), max(high, mean)
  if high - low < 1e-6:
    low, high = low - 0.5, high + 0.5
  ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
  low, high = ticks[0], ticks[-1]
  counts, _ = np.histogram(np.clip(values, low, high), _BINS, (low, high))
  floor = _HEIGHT - _AXIS
  heights = counts / max(counts.max(), 1) * (floor - _TOP)
  bar = _WIDTH / _BINS
  # One path draws all bars, because a page has eight histograms.
  bars = "".join(
    f"M{i * bar + 0.5:.1f} {floor}v{-height:.1f}h{bar - 1:.1f}v{height:.1f}z"
    for i, height in enumerate(heights)
    if height
  )
  labels = "".join(
    f'<text x="{_x(tick, low, high):.1f}" y="{_HEIGHT - 3}" text-anchor="{anchor}">{tick:g}</text>'
    for tick, anchor in zip(ticks, ["start", *["middle"] * (len(ticks) - 2), "end"])
  )
  mark = ""
  if mean is not None:
    x = _x(mean, low, high)
    mark = f'<path class="mean" d="M{x:.1f} {floor}V0"/>'
  return (
    f'<svg class="histogram" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">'
    f'<path class="bars" d="{bars}"/><path class="axis" d="M0 {floor}H{_WIDTH}"/>{mark}{labels}'
    "</svg>"
  )


def _x(value: float, low: float, high: float) -> float:
  """Returns the horizontal position of a value on an axis from `low` to `high`."""
  return (value - low) / (high - low) * _WIDTH
