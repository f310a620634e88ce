"""Pieces that all sections of the page use: text made safe, numbers, what the metrics mean."""

import html
import math
from typing import NamedTuple

from jaxsal.evaluation import published


class Meaning(NamedTuple):
  """A metric's full name, what it says in a sentence or two, and which way is good."""

  name: str = ""
  text: str = ""
  good: str = "↑"


_MEANINGS = {
  "auc_judd": Meaning(
    "area under ROC, Judd",
    "How well the map tells fixated pixels from all others. 0.5 is chance, 1 perfect; only the "
    "order of the map's values counts.",
  ),
  "auc_shuffled": Meaning(
    "shuffled AUC",
    "As AUC-J, but against pixels that were fixated in other frames: a map that only knows that "
    "people look at the centre gets 0.5.",
  ),
  "auc_borji": Meaning(
    "area under ROC, Borji", "As AUC-J, but against pixels drawn at random. 0.5 is chance."
  ),
  "cc": Meaning(
    "correlation coefficient",
    "Pearson's correlation of map and fixation density, pixel by pixel. 0 is chance, 1 perfect.",
  ),
  "information_gain": Meaning(
    "information gain",
    "Bits per fixation by which the map predicts better than the mean eye position does. Below 0 "
    "it knows less than the centre bias.",
  ),
  "kl": Meaning(
    "Kullback-Leibler divergence",
    "What the map, read as a distribution, loses against the fixation density. 0 is perfect; "
    "missing what people looked at costs most.",
    good="↓",
  ),
  "nss": Meaning(
    "normalised scanpath saliency",
    "The map's mean under the fixations, in standard deviations above the map's own mean. 0 is "
    "chance; there is no upper end.",
  ),
  "sim": Meaning(
    "similarity",
    "What the map and the fixation density share when both are scaled to a sum of 1. 1 is "
    "identical, 0 disjoint.",
  ),
}


def meaning(metric: str) -> Meaning:
  """What a metric says; nothing for an unknown one."""
  return _MEANINGS.get(metric, Meaning())


def short_name(metric: str) -> str:
  """A metric's name in print, as markup."""
  return escaped(published.METRICS.get(metric, metric))


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
