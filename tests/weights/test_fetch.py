"""Weights by name: fetched once, checked, converted, and told plainly where they cannot be had."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy

import jaxsal
from jaxsal import convert, models, weights
from jaxsal.errors import UserError
from jaxsal.weights import _download, _fetch, _table


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  monkeypatch.delenv("JAXSAL_OFFLINE", raising=False)
  return tmp_path / "cache"


@pytest.fixture
def file(tmp_path):
  """A checkpoint as authors would publish it."""
  path = tmp_path / "published.safetensors"
  safetensors.numpy.save_file(convert.to_torch(models.create("soundnet", "tiny")), path)
  return path


@pytest.fixture
def row(file, monkeypatch):
  """Puts weights called `small` into the table, which a URL gives; changes some of its fields."""

  def put(**changes):
    made = _table.Weights(
      name="small",
      title="Small",
      network="soundnet",
      fields={"width": 0.0625, "features": 64},
      trained_on="noise",
      file="published.safetensors",
      licence="MIT",
      page="https://example.org/small",
      sources=(_table.Source(url="https://example.org/small.safetensors"),),
    )
    made = dataclasses.replace(made, **changes)
    rows = _table.table() | {"small": made}
    for module in (_fetch, _table):
      monkeypatch.setattr(module, "table", lambda: rows)

    def from_url(url, path, name):
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(file.read_bytes())

    monkeypatch.setattr(_download, "from_url", from_url)
    return made

  return put


def test_the_table():
  for name, row in weights.table().items():
    models.configure(row.network, **row.fields)
    assert row.sources or row.by_hand, name
    assert row.page.startswith("https://")
    if row.sha256:
      assert len(row.sha256) == 64 and row.bytes
  assert weights.DEFAULT in weights.table()
  known = {row.network for row in weights.table().values()}
  assert known >= {"unisal", "tased", "s3d", "vinet", "avinet", "stsanet", "soundnet", "pwcnet"}


def test_fetched_once(row, file, capsys):
  row(sha256=_download.sha256(file))
  folder = weights.fetch("small")
  said = capsys.readouterr().out
  for part in ("Small", "published.safetensors", "MIT", "example.org", "as published"):
    assert part in said
  description = json.loads((folder / "model.json").read_text())
  assert description["origin"]["licence"] == "MIT"
  assert weights.fetch("small") == folder and capsys.readouterr().out == ""
  assert not any((folder.parent / "downloads").iterdir())
  loaded = jaxsal.load("small")
  stored = convert.to_torch(loaded)
  for name, value in safetensors.numpy.load_file(file).items():
    np.testing.assert_array_equal(stored[name], value)


def test_a_wrong_digest_keeps_nothing(row, cache):
  row(sha256="0" * 64)
  with pytest.raises(UserError, match=r"another file, or a damaged one\. It is not used"):
    weights.fetch("small")
  assert not [path for path in cache.rglob("*") if path.is_file()]


def test_an_unknown_digest_is_shown_and_accepted(row, file, monkeypatch):
  row()
  with pytest.raises(UserError, match=f"its SHA-256 is {_download.sha256(file)}.*--accept"):
    weights.fetch("small")
  monkeypatch.setattr(_download, "from_url", lambda *_: pytest.fail("it was downloaded already"))
  assert (weights.fetch("small", accept=True) / "model.json").exists()


def test_a_beginning_of_a_digest_is_checked(row, file):
  row(sha256_prefix=_download.sha256(file)[:8])
  assert weights.fetch("small").is_dir()
  row(sha256_prefix="00000000")
  with pytest.raises(UserError, match=r"has 00000000\.\.\."):
    weights.fetch("small", file)


def test_a_licence_against_commerce_is_accepted_first(row, file):
  row(sha256=_download.sha256(file), non_commercial=True, licence="CC BY-NC 4.0")
  with pytest.raises(UserError, match=r"CC BY-NC 4\.0.*forbids commercial use.*--accept-licence"):
    weights.fetch("small")
  assert weights.fetch("small", accept_licence=True).is_dir()


def test_sources_are_tried_in_order(row, file, monkeypatch):
  second = _table.Source(package="small==1.0", member="small/published.safetensors")
  made = row(sha256=_download.sha256(file))
  row(sha256=made.sha256, sources=(*made.sources, second))
  tried = []

  def unreachable(url, path, name):
    tried.append(url)
    raise _download.Unreachable("there is no network")

  def from_package(package, member, path):
    tried.append(package)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.read_bytes())

  monkeypatch.setattr(_download, "from_url", unreachable)
  monkeypatch.setattr(_download, "from_package", from_package)
  assert weights.fetch("small").is_dir()
  assert tried == ["https://example.org/small.safetensors", "small==1.0"]


def test_without_a_network_the_way_by_hand_is_told(row, monkeypatch):
  row()
  monkeypatch.setattr(
    _download,
    "from_url",
    lambda *_: (_ for _ in ()).throw(_download.Unreachable("the address cannot be resolved")),
  )
  with pytest.raises(UserError) as error:
    weights.fetch("small")
  for part in ("cannot be resolved", "published.safetensors", "example.org", "--from=FILE"):
    assert part in str(error.value)


def test_offline_nothing_is_tried(row, monkeypatch):
  row()
  monkeypatch.setenv("JAXSAL_OFFLINE", "1")
  monkeypatch.setattr(_download, "from_url", lambda *_: pytest.fail("a server was asked"))
  with pytest.raises(UserError, match=r"JAXSAL_OFFLINE.*--from=FILE"):
    weights.fetch("small")


def test_a_file_by_hand(row, file, tmp_path):
  row(sha256=_download.sha256(file), sources=(), by_hand="Ask the authors.")
  with pytest.raises(UserError, match=r"Ask the authors\. Then: jaxsal weights fetch small --from"):
    weights.fetch("small")
  with pytest.raises(UserError, match="no such file"):
    weights.fetch("small", tmp_path / "absent.pt")
  assert weights.fetch("small", file).is_dir()
  assert file.exists()


def test_names_and_paths(tmp_path, monkeypatch):
  with pytest.raises(UserError, match=r"'nosuch'.*unisal"):
    weights.fetch("nosuch")
  folder = models.save(models.create("soundnet", "tiny"), tmp_path / "unisal", {})
  monkeypatch.chdir(tmp_path)
  assert weights.resolve("unisal") == folder.relative_to(tmp_path)  # a path comes first
  (tmp_path / "TASED_updated.pt").write_bytes(b"1")
  with pytest.raises(UserError, match=r"jaxsal convert --model=NAME --from=TASED_updated\.pt"):
    weights.load("TASED_updated.pt")


def test_unisal_arrives_through_the_package_index():
  """The published file itself, by pip, from whatever index pip is configured for."""
  folder = weights.fetch("unisal")
  assert json.loads((folder / "model.json").read_text())["model"] == "unisal"
