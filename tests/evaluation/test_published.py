"""Tests the published scores."""

import itertools
from collections import defaultdict
from decimal import Decimal

import pytest

from jaxsal.data.catalogue import DATASETS
from jaxsal.evaluation import published
from jaxsal.metrics import METRICS
from jaxsal.models import MODELS, SaliencyConfig

# Networks, sets and metrics about which papers contradict each other.
_CONTRADICTIONS = {
  ("ViNet", "dhf1k/test", "cc"),  # .510 in its own paper, .511 elsewhere
  ("ViNet", "dhf1k/test", "auc_shuffled"),  # .728, .729
  ("HD2S", "dhf1k/test", "auc_shuffled"),  # .702, .700
  ("ACLNet", "hollywood2/test", "auc_judd"),  # .913, .886
}
_NETWORKS = {row.title for row in MODELS.values() if issubclass(row.config, SaliencyConfig)}
_ALL = [row for dataset in DATASETS for row in published.rows(dataset)]


@pytest.mark.parametrize(
  ("network", "scores"),
  [
    ("tased", {"nss": "2.667", "cc": "0.470", "sim": "0.361", "auc_judd": "0.895"}),
    ("vinet", {"nss": "2.87", "cc": "0.510", "sim": "0.381", "auc_shuffled": "0.728"}),
    ("tsfp", {"nss": "2.966", "cc": "0.517", "sim": "0.392", "auc_judd": "0.912"}),
    ("stsanet", {"nss": "3.010", "cc": "0.529", "sim": "0.383", "auc_shuffled": "0.723"}),
    ("gfsal", {"nss": "2.528", "cc": "0.457", "sim": "0.321", "auc_judd": "0.895"}),
  ],
)
def test_headlines_come_from_the_networks_own_papers(network, scores):
  row = published.headline(network)
  assert row.own and row.split == "dhf1k/test"
  assert {metric: str(row.scores[metric]) for metric in scores} == scores


def test_no_headline_where_the_paper_has_none():
  assert published.headline("avinet") is None
  assert published.headline("s3d") is None


def test_papers_agree_about_a_network_but_for_known_contradictions():
  values = defaultdict(set)
  for row in _ALL:
    for metric, value in row.scores.items():
      values[row.model, row.split, row.selection, metric].add(value)
  contradictions = set()
  for (model, split, _, metric), printed in values.items():
    for a, b in itertools.combinations(printed, 2):
      # Some tables cut off digits that others print.
      digit = max(Decimal(1).scaleb(x.as_tuple().exponent) for x in (a, b))
      if abs(a - b) >= digit:
        contradictions.add((model, split, metric))
  assert contradictions == _CONTRADICTIONS


def test_rows_are_plausible():
  assert len(_ALL) == 343
  for row in _ALL:
    assert row.scores.keys() <= METRICS.keys()
    assert all(0 < row.scores[m] < 1 for m in ("cc", "sim", "auc_judd") if m in row.scores)
    assert 0.5 < row.scores["nss"] < 6
    assert row.source.split(",")[0] in _NETWORKS
    assert row.split.split("/")[1] in ("validation", "test", "meta")


def test_every_set_but_those_of_this_project_and_salicon_has_rows():
  assert {row.split.split("/")[0] for row in _ALL} == set(DATASETS) - {
    "demo",
    "demo_sound",
    "own",
    "salicon",
  }


def test_best_takes_a_networks_own_paper_then_most_metrics():
  rows = {row.model: row for row in published.best(published.rows("hollywood2"))}
  assert rows["TASED-Net"].source == "TASED-Net, table 3"
  assert rows["ViNet"].source == "ViNet, table 3"
  assert rows["STSANet"].source == "STSANet, table VI"  # with KL
  nss = [row.scores["nss"] for row in published.best(published.rows("ucf"))]
  assert nss == sorted(nss, reverse=True)


def test_rows_are_told_apart_by_network():
  rows = published.rows("diem")

  def models(network):
    return {row.model for row in rows if row.is_of(network)}

  assert models("tsfp") == {"TSFP-Net"}
  assert models("tsfp_av") == {"TSFP-Net with audio"}
  assert models("vinet") == {"ViNet", "ViNet, not fine-tuned"}
  assert models("avinet") == {"AViNet, bilinear", "AViNet, transformer", "AViNet, concat"}
  assert models("s3d") == set()


def test_protocols():
  assert published.protocol("diem") == "stavis"
  assert published.protocol("dhf1k") == "dhf1k"
