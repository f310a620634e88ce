"""Scores that the five papers print, of their own networks and of those that they compare with.

The numbers, with the tables that they come from, are in `published.toml`. The papers do not always
agree about a competitor: `rows` returns every printed row, and `best` picks one for each network.

Papers (the bibliography is in the README): TASED-Net (ICCV 2019), GFSalNet (TCDS 2021), ViNet
(IROS 2021), TSFP-Net (arXiv 2105.04213, 2021) and STSANet (TMM 2021).
"""

import functools
import importlib.resources
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from jaxsal.models import MODELS

_STAVIS = {"avad", "coutrot1", "coutrot2", "diem", "etmd", "summe"}


class Row(NamedTuple):
  """One printed row.

  Attributes:
    model: title of the network; after a comma, the difference from its other rows.
    split: data set and split by their names in jaxsal, such as `dhf1k/test`.
    scores: means with the printed digits, by the keys of `jaxsal.metrics.METRICS`.
    source: title of the paper's network, and the table.
    selection: description of the scored frames or ground truth if they are not the usual ones.
    ablation: whether the row varies the paper's network instead of presenting it.
  """

  model: str
  split: str
  scores: Mapping[str, Decimal]
  source: str
  selection: str
  ablation: bool

  @property
  def own(self) -> bool:
    """Whether the source presents this network; the paper of ViNet presents AViNet too."""
    return self.source.split(",")[0] in self.model

  def is_of(self, network: str) -> bool:
    """Whether the row is one of a network of jaxsal, given by its name in the registry."""
    return self.model.split(",")[0] == title(network)


def title(network: str) -> str:
  """Returns the name of a network in print; a name that is not in the registry stays as it is."""
  return MODELS[network].title if network in MODELS else network


def rows(dataset: str) -> list[Row]:
  """Returns every printed row of a data set, of all splits."""
  return [row for row in _rows() if row.split.split("/")[0] == dataset]


def best(rows: Iterable[Row]) -> list[Row]:
  """Returns one row per model: its own paper's, else the one with most metrics; by falling NSS."""
  chosen: dict[str, Row] = {}
  for row in sorted(rows, key=lambda row: (not row.own, -len(row.scores))):
    chosen.setdefault(row.model, row)
  return sorted(chosen.values(), key=lambda row: row.scores["nss"], reverse=True)


def headline(network: str) -> Row | None:
  """Returns the row of a network's own paper for DHF1K's test set; None if it prints none."""
  candidates = [row for row in rows("dhf1k") if row.split == "dhf1k/test" and row.own]
  return next((row for row in best(candidates) if row.is_of(network)), None)


def protocol(dataset: str) -> str:
  """Returns the name of the evaluation protocol that papers follow on a data set.

  The six audio-visual sets are scored as in STAViS, whose sAUC is a different quantity.
  """
  return "stavis" if dataset in _STAVIS else "dhf1k"


@functools.cache
def _rows() -> tuple[Row, ...]:
  text = (importlib.resources.files("jaxsal.evaluation") / "published.toml").read_text("utf-8")
  result = []
  for table in tomllib.loads(text)["table"]:
    metrics = table["metrics"].split()
    for line in table["rows"].splitlines():
      model, *values = line.rsplit(maxsplit=len(metrics))
      result.append(
        Row(
          model,
          table["split"],
          dict(zip(metrics, map(Decimal, values), strict=True)),
          table["source"],
          table.get("selection", ""),
          table.get("ablation", False),
        )
      )
  return tuple(result)
