"""Finds the shipped recipes: in configs/ of a checkout, or within the installed package."""

import pathlib

from jaxsal.errors import UserError

_PACKAGE = pathlib.Path(__file__).parent


def recipes() -> pathlib.Path:
  """Returns the folder of the shipped recipes."""
  inside = _PACKAGE / "configs"
  return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def find_recipe(text: str) -> str:
  """Returns the path of a recipe, with the recipe's argument if one is given.

  Args:
    text: value of `--config`: the path of a file, or the name of a shipped recipe; a colon and an
      argument may follow, as in `tsfp:dhf1k`. `configs/tsfp.py` names the shipped recipe wherever
      there is no such file.

  Raises:
    UserError: there is neither a file nor a shipped recipe of that name.
  """
  name, colon, argument = text.partition(":")
  path = pathlib.Path(name)
  if not path.is_file() and path.parent in (pathlib.Path(), pathlib.Path("configs")):
    path = recipes() / f"{path.name.removesuffix('.py')}.py"
  if not path.is_file():
    known = ", ".join(sorted(recipe.stem for recipe in recipes().glob("*.py")))
    raise UserError(
      f"--config={text}: there is no such file. Name a recipe's file, or one of the shipped "
      f"recipes: {known}."
    )
  return f"{path}{colon}{argument}"
