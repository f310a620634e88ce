"""The table of networks: its stored rows agree with counting, and it needs no JAX."""

import json
import subprocess
import sys

import pytest

from jaxsal import cli
from jaxsal.cli import _networks as overview
from jaxsal.models import MODELS, configure, cost

STORED = {(row["model"], row["variant"]): row for row in json.loads(overview.STORED.read_text())}
QUICK = [
  ("tsfp", "base"),
  ("s3d", "base"),
  *((name, variant) for name, variant in STORED if variant == "tiny" and name != "stsanet"),
]


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
  text = overview.headline("tsfp")
  assert text == "NSS 2.966  CC 0.517  SIM 0.392  AUC-J 0.912  sAUC 0.723"
  assert overview.headline("s3d") == ""


UPDATE = "python -m jaxsal.cli._networks writes the stored rows again"


def check_stored(name, variant):
  """Raises AssertionError unless the stored row is the one that is counted."""
  counted, stored = overview.count(name, variant)._asdict(), dict(STORED[name, variant])
  # XLA's count may change in the last digits from one version to the next.
  assert stored.pop("operations") == pytest.approx(counted.pop("operations"), rel=0.01), UPDATE
  assert json.loads(json.dumps(counted)) == stored, UPDATE


@pytest.mark.parametrize(("name", "variant"), QUICK)
def test_stored_rows(name, variant):
  check_stored(name, variant)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), [pair for pair in STORED if pair not in QUICK])
def test_all_stored_rows(name, variant):
  check_stored(name, variant)


def test_stored_networks_have_all_their_variants():
  """A network without stored rows is counted, but a missing or removed variant is not noticed."""
  names = {name for name, _ in STORED}
  variants = {(name, variant) for name in names for variant in MODELS[name].variants}
  assert variants == STORED.keys(), UPDATE
  published = {name: STORED[name, "base"]["published"] for name in names}
  assert published == {name: overview.headline(name) for name in names}, UPDATE


def test_a_network_without_stored_rows_is_counted(tmp_path, monkeypatch, capsys):
  rows = overview.rows()
  without = [row._asdict() for row in rows if row.model != "soundnet"]
  stored = tmp_path / "networks.json"
  stored.write_text(json.dumps(without))
  monkeypatch.setattr(overview, "STORED", stored)
  assert json.dumps(overview.rows()) == json.dumps(rows)
  assert "importing JAX" in capsys.readouterr().out


def test_the_command_needs_no_jax():
  code = "import sys; from jaxsal import cli; cli.main(['models']); print('jax' in sys.modules)"
  run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert "14,588,897" in run.stdout and "NSS 2.966" in run.stdout
  assert run.stdout.splitlines()[-1] == "False"


def test_the_table_fits_in_80_columns(capsys):
  assert cli.main(["models", "--variants"]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert max(map(len, lines)) <= 80 and len(lines) > len(STORED)
  assert "no_temporal_relations" in "".join(lines)
