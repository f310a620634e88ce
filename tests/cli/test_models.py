"""The table of models."""

import pytest

from jaxsal.cli import models as overview
from jaxsal.models import configure, cost


@pytest.mark.parametrize(
  ("name", "parameters", "gflop"),
  [("tsfp", 14.6e6, 138), ("tased", 21.26e6, 151), ("vinet", 31.1e6, 220)],
)
def test_cost_of_the_published_networks(name, parameters, gflop):
  """PyTorch counts 150, 157 and 229, with the products that meet the zeros of padding."""
  counted, flops = cost(name, configure(name))
  assert counted == pytest.approx(parameters, rel=0.002)
  assert flops / 1e9 == pytest.approx(gflop, rel=0.02)


def test_the_papers_own_scores_stand_in_the_table():
  text = overview._published("tsfp")
  assert text == "NSS 2.966  CC 0.517  SIM 0.392  AUC-J 0.912  sAUC 0.723"
  assert overview._published("s3d") == ""
