"""Scores that the five papers print, of their own networks and of those they compare with.

The numbers, with the tables they come from, are in `published.toml`. The papers do not always agree
about a competitor: `rows` gives every printed row, `best` picks one per network.

Papers (the bibliography is in the README): TASED-Net (ICCV 2019), GFSalNet (TCDS 2021), ViNet
(IROS 2021), TSFP-Net (arXiv 2105.04213, 2021) and STSANet (TMM 2021).
"""

import functools
import importlib.resources
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

NETWORKS = {
  "avinet": "AViNet",
  "gfsal": "GFSalNet",
  "stsanet": "STSANet",
  "tased": "TASED-Net",
  "tsfp": "TSFP-Net",
  "tsfp_av": "TSFP-Net with audio",
  "vinet": "ViNet",
}
_STAVIS = {"avad", "coutrot1", "coutrot2", "diem", "etmd", "summe"}


class Row(NamedTuple):
  """One printed row.

  Attributes:
    model: the network; behind a comma, what sets this row apart from others of it.
    split: data set and split as jaxsal names them, `dhf1k/test`.
    scores: metric, as `jaxsal.metrics` names it -> mean, with the printed digits.
    source: paper, by the name of its network, and table.
    selection: what was scored, where it is not the whole split against the usual ground truth.
    ablation: whether the row varies the paper's network rather than presents it.
  """

  model: str
  split: str
  scores: Mapping[str, Decimal]
  source: str
  selection: str
  ablation: bool

  @property
  def own(self) -> bool:
    """Whether the paper presents this network; ViNet's presents AViNet too."""
    return self.source.split(",")[0] in self.model

  def is_of(self, network: str) -> bool:
    """Whether the row is one of the network that jaxsal calls `network`."""
    return self.model.split(",")[0] == NETWORKS.get(network)


def rows(dataset: str) -> list[Row]:
  """Every printed row of a data set, whatever the split."""
  return [row for row in _rows() if row.split.split("/")[0] == dataset]


def best(rows: Iterable[Row]) -> list[Row]:
  """One row per model: its own paper's, else the one with most metrics; by falling NSS."""
  chosen: dict[str, Row] = {}
  for row in sorted(rows, key=lambda row: (not row.own, -len(row.scores))):
    chosen.setdefault(row.model, row)
  return sorted(chosen.values(), key=lambda row: row.scores["nss"], reverse=True)


def headline(network: str) -> Row | None:
  """What a network's own paper reports on DHF1K's test set; None where it reports nothing."""
  candidates = [row for row in rows("dhf1k") if row.split == "dhf1k/test" and row.own]
  return next((row for row in best(candidates) if row.is_of(network)), None)


def protocol(dataset: str) -> str:
  """The evaluation protocol that papers follow on a data set, as `jaxsal evaluate` names it.

  The six audio-visual sets are scored as STAViS did, which makes sAUC another quantity.
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
