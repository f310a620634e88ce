"""Trains a network by a recipe. `jaxsal train` and `python -m jaxsal.main` are one command.

  jaxsal train --config=tsfp
  jaxsal train --config=tsfp:dhf1k --config.data.batch_size=8 --workdir=runs/dhf1k
  python -m jaxsal.main --config=configs/tsfp.py --workdir=runs/demo

  --config=RECIPE       shipped recipe, such as tsfp, or a file with a function get_config(arg);
                        a colon and the recipe's argument may follow, as in tsfp:dhf1k
  --config.FIELD=VALUE  another value for one field of the recipe, as in
                        --config.optimizer.learning_rate=3e-4 or --config.steps=1000
  --workdir=DIR         folder of this training (default: runs/RECIPE, or runs/RECIPE-ARGUMENT)
  --distributed         one of several processes of a cluster that JAX knows (SLURM, Cloud TPU, ...)

The workdir gets checkpoints, the best model so far (for `jaxsal predict --model=WORKDIR`), logs
and, at the end, curves.png, contact_sheet.png and summary.json. The same command continues a
training that was interrupted.
"""

import pathlib
import sys
from typing import NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from jaxsal import runtime
from jaxsal.console import complain, say
from jaxsal.errors import UserError
from jaxsal.resources import find_recipe


class _Options(NamedTuple):
  """The command's options.

  Attributes:
    config: configuration that the recipe and the command line make.
    workdir: folder of the training.
    distributed: whether this process is one of a cluster's.
  """

  config: ConfigDict
  workdir: str
  distributed: bool


def run(argv: list[str]) -> int:
  """Trains with these arguments, without the program's name; returns the exit code."""
  if {"-h", "--help"} & set(argv):
    say(__doc__ or "")
    return 0
  try:
    return _train(_parse(argv))
  except UserError as error:
    complain(f"error: {error}")
    return 2


def _train(options: _Options) -> int:
  say(f"training in {options.workdir}: starting JAX")
  import jax

  from jaxsal.train import loop

  if options.distributed:
    jax.distributed.initialize()
  runtime.enable_compilation_cache()
  try:
    loop.train(options.config, options.workdir)
  except loop.Interrupted as interruption:
    return 128 + interruption.signal
  return 0


def _parse(argv: list[str]) -> _Options:
  """Reads the flags; raises UserError for wrong ones and for errors in the recipe."""
  argv, recipe = _with_path(argv)
  say(f"reading {recipe}")
  values = flags.FlagValues()
  config = config_flags.DEFINE_config_file(
    "config", None, "Recipe.", lock_config=True, flag_values=values, sys_argv=argv
  )
  workdir = flags.DEFINE_string("workdir", None, "Folder.", flag_values=values)
  distributed = flags.DEFINE_bool("distributed", False, "Cluster.", flag_values=values)
  try:
    rest = values(["jaxsal train", *argv])
    config.value.to_dict()  # reports a recipe that cannot be loaded
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    raise UserError(f"{_sentence(error)} See jaxsal train --help.") from error
  if rest[1:]:
    raise UserError(f"{rest[1]!r} is not understood: flags begin with --. See jaxsal train --help.")
  return _Options(config.value, workdir.value or _default_workdir(recipe), distributed.value)


def _with_path(argv: list[str]) -> tuple[list[str], str]:
  """Returns the arguments with the path of the recipe in place of its name, and that path."""
  argv = list(argv)
  for i, text in enumerate(argv):
    flag, equals, value = text.partition("=")
    if flag.lstrip("-") == "config" and flag.startswith("-"):
      if not equals and i + 1 < len(argv):
        value = argv.pop(i + 1)
      recipe = find_recipe(value)
      argv[i] = f"--config={recipe}"
      return argv, recipe
  raise UserError("--config is needed, as in: jaxsal train --config=tsfp. See jaxsal train --help.")


def _default_workdir(recipe: str) -> str:
  """Returns runs/RECIPE, or runs/RECIPE-ARGUMENT if the recipe has an argument."""
  path, _, argument = recipe.partition(":")
  name = "-".join(filter(None, (pathlib.Path(path).stem, argument)))
  workdir = f"runs/{name}"
  say(f"workdir: {workdir} (--workdir=DIR names another)")
  return workdir


def _sentence(error: BaseException) -> str:
  """Returns what is wrong, as a sentence."""
  if "Traceback" in str(error):  # of an error in the recipe, which ml_collections has caught
    while error.__context__:
      error = error.__context__
  while error.args and isinstance(error.args[0], Exception):
    error = error.args[0]
  text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
  if text.startswith("'"):  # ml_collections names a missing field, and one that is similar
    field, _, hint = text.partition("\n")
    text = f"The recipe has no field {field}. {hint}".strip()
  return text if text.endswith((".", "?")) else f"{text}."


if __name__ == "__main__":
  runtime.use_large_pages()
  sys.exit(run(sys.argv[1:]))
