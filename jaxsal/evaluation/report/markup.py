"""Pieces of markup that all sections of the page share."""

import html
import math

from jaxsal.metrics import Metric


def arrow(metric: Metric) -> str:
  """An arrow that points where a metric's better values are."""
  return "↑" if metric.higher_is_better else "↓"


def escaped(value: object) -> str:
  """Text as markup, safe in attributes too."""
  return html.escape(str(value))


def rounded(value: float | None) -> str:
  """Three decimals; a dash where there is no value."""
  if value is None or math.isnan(value):
    return '<span class="missing">&ndash;</span>'
  return f"{value:.3f}".replace("-", "&minus;")


def counted(count: int, noun: str) -> str:
  """A count with its noun in singular or plural."""
  return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
