"""Output appears only when it is complete."""

import os

import pytest

from jaxsal import files


def entries(folder):
  return sorted(path.name for path in folder.iterdir())


def fill(folder, text):
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "a").write_text(text)


def test_a_folder_appears_whole(tmp_path):
  target = tmp_path / "not" / "yet" / "there"
  with files.replacing_folder(target) as temporary:
    fill(temporary, "new")
    assert temporary.parent == target.parent  # the same file system: a rename suffices
    assert not target.exists()
  assert (target / "a").read_text() == "new"
  assert entries(target.parent) == ["there"]


def test_the_new_folder_takes_the_place_of_the_old(tmp_path):
  target = tmp_path / "model"
  fill(target, "old")
  (target / "only in the old").write_text("")
  with files.replacing_folder(target) as temporary:
    fill(temporary, "new")
    assert (target / "a").read_text() == "old"
  assert entries(target) == ["a"] and (target / "a").read_text() == "new"
  assert entries(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_folder(tmp_path, error):
  target = tmp_path / "model"
  fill(target, "old")
  with pytest.raises(error), files.replacing_folder(target) as temporary:
    fill(temporary, "half")
    raise error
  assert (target / "a").read_text() == "old"
  assert entries(tmp_path) == ["model"]


def test_an_error_leaves_no_new_folder(tmp_path):
  with pytest.raises(ValueError), files.replacing_folder(tmp_path / "model"):
    raise ValueError
  assert entries(tmp_path) == []


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_between_the_two_renames_brings_the_old_folder_back(tmp_path, error, monkeypatch):
  target = tmp_path / "model"
  fill(target, "old")
  rename = os.rename

  def second_fails(source, destination):
    if target.exists() or "half" not in (source / "a").read_text():
      return rename(source, destination)
    raise error

  monkeypatch.setattr(os, "rename", second_fails)
  with pytest.raises(error), files.replacing_folder(target) as temporary:
    fill(temporary, "half")
  assert target.exists() and (target / "a").read_text() == "old"
  assert entries(tmp_path) == ["model"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
  """Models often live on another disk."""
  fill(tmp_path / "disk" / "model", "old")
  link = tmp_path / "model"
  link.symlink_to(tmp_path / "disk" / "model")
  with files.replacing_folder(link) as temporary:
    fill(temporary, "new")
  assert link.is_symlink() and (link / "a").read_text() == "new"
  assert entries(tmp_path) == ["disk", "model"] and entries(tmp_path / "disk") == ["model"]


def test_text_is_replaced_in_one_step(tmp_path, monkeypatch):
  path = tmp_path / "report.txt"
  files.write_text(path, "old")
  assert path.read_text() == "old"
  replace = os.replace

  def check(source, destination):
    assert path.read_text() == "old"
    replace(source, destination)

  monkeypatch.setattr(os, "replace", check)
  files.write_text(path, "new")
  assert path.read_text() == "new"
  assert entries(tmp_path) == ["report.txt"]
