"""Pieces of markup that all sections of the page share."""

import html
import math

from jaxsal.metrics import Metric


def arrow(metric: Metric) -> str:
  """Returns an arrow in the direction of a metric's better values."""
  return "↑" if metric.higher_is_better else "↓"


def escaped(value: object) -> str:
  """Returns a text as markup, safe in attributes too."""
  return html.escape(str(value))


def rounded(value: float | None) -> str:
  """Returns a value with three decimals, or a dash if there is no value, as markup."""
  if value is None or math.isnan(value):
    return '<span class="missing">&ndash;</span>'
  return f"{value:.3f}".replace("-", "&minus;")


def counted(count: int, noun: str) -> str:
  """Returns a count with its noun in singular or plural."""
  return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
