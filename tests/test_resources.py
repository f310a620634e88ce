"""Recipes are found by name, anywhere, and by path."""

import pathlib

import pytest

from jaxsal import resources
from jaxsal.errors import UserError

SHIPPED = str(resources.recipes() / "tsfp.py")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
  ("text", "found"),
  [
    ("tsfp", SHIPPED),
    ("tsfp.py", SHIPPED),
    ("tsfp:dhf1k", f"{SHIPPED}:dhf1k"),
    ("configs/tsfp.py:a:b", f"{SHIPPED}:a:b"),
    (f"{SHIPPED}:ucf", f"{SHIPPED}:ucf"),
  ],
)
def test_shipped_recipes(text, found):
  assert resources.find_recipe(text) == found


def test_a_file_comes_before_a_shipped_recipe():
  pathlib.Path("configs").mkdir()
  pathlib.Path("configs/tsfp.py").touch()
  assert resources.find_recipe("configs/tsfp.py:x") == "configs/tsfp.py:x"
  assert resources.find_recipe("tsfp") == SHIPPED


@pytest.mark.parametrize("text", ["tsfq", "mine/configs/tsfp.py", "/configs/tsfp.py", ""])
def test_unknown_recipes(text):
  message = "there is no such file. Name a recipe's file, or one of the shipped recipes: avinet, "
  with pytest.raises(UserError, match=message):
    resources.find_recipe(text)


def test_an_installed_package_holds_its_recipes(tmp_path, monkeypatch):
  monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "jaxsal")
  assert resources.recipes() == tmp_path / "configs"
  (tmp_path / "jaxsal" / "configs").mkdir(parents=True)
  assert resources.recipes() == tmp_path / "jaxsal" / "configs"
