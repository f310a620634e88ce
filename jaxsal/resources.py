"""Where the recipes are: in configs/ of a checkout, inside the package of a wheel."""

import pathlib

from jaxsal.errors import UserError

_PACKAGE = pathlib.Path(__file__).parent


def recipes() -> pathlib.Path:
  """The folder of the recipes."""
  inside = _PACKAGE / "configs"
  return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def find_recipe(text: str) -> str:
  """The file of a recipe, as `--config` takes it.

  Args:
    text: the path of a file, or the name of one of `recipes`; either may be followed by a colon and
      the recipe's argument, as in `tsfp:dhf1k`.

  Returns:
    The path, with the argument if there is one.

  Raises:
    UserError: there is no such file and no such recipe.
  """
  name, colon, argument = text.partition(":")
  path = pathlib.Path(name)
  if not path.is_file():
    path = recipes() / f"{path.stem if path.parent.name == 'configs' else name}.py"
  if not path.is_file():
    known = ", ".join(sorted(found.stem for found in recipes().glob("*.py")))
    raise UserError(f"--config={text}: no such file, and the recipes are {known}.")
  return f"{path}{colon}{argument}"
