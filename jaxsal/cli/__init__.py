"""The `jaxsal` command: one module for each of its commands.

A command's module has SUMMARY and DESCRIPTION, which are its help, `add_arguments(parser)` and
`run(args)`, which returns the exit code. `run` imports slow modules (JAX, TFDS, OpenCV) itself,
after it has printed what it is about to do.
"""

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence

from jaxsal import __version__, runtime
from jaxsal.cli import compare, convert, evaluate, models, predict, prepare, submit, train, weights
from jaxsal.console import complain
from jaxsal.errors import UserError

_COMMANDS = {
  "train": train,
  "predict": predict,
  "evaluate": evaluate,
  "compare": compare,
  "submit": submit,
  "convert": convert,
  "models": models,
  "prepare": prepare,
  "weights": weights,
}


def program() -> int:
  """Runs the console script `jaxsal`; returns the exit code."""
  if sys.argv[1:2] == ["train"]:
    runtime.use_large_pages()
  return main()


def main(argv: Sequence[str] | None = None) -> int:
  """Runs a command.

  Args:
    argv: arguments without the program's name; those of the process if None.

  Returns:
    The exit code: 0, or 2 for a mistake that the user can put right.
  """
  argv = list(sys.argv[1:] if argv is None else argv)
  parser, commands = _parsers()
  if not argv:
    parser.print_help()
    return 0
  if argv[0] not in commands and not argv[0].startswith("-"):
    parser.error(f"there is no command {argv[0]!r}.{_nearest(argv[0], commands)}")
  args, rest = parser.parse_known_args(argv)
  if args.command == "train":
    args.flags = rest
  elif rest:
    used = commands.get(args.command, parser)
    known = [option for action in used._actions for option in action.option_strings]
    near = _nearest(rest[0].partition("=")[0], known)
    used.error(f"unknown argument {rest[0]}.{near} See {used.prog} --help.")
  try:
    return _COMMANDS[args.command].run(args)
  except UserError as error:
    complain(f"error: {error}")
    return 2
  except KeyboardInterrupt:
    resumable = args.command in ("prepare", "evaluate", "submit")
    then = "; the same command continues" if resumable else ""
    complain(f"interrupted; nothing incomplete was kept{then}")
    return 130


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
  """Returns the parser of the whole command line, and that of each command by its name."""
  parser = argparse.ArgumentParser(
    prog="jaxsal",
    description="Video saliency prediction in JAX.",
    epilog="jaxsal COMMAND --help shows examples.",
    allow_abbrev=False,
  )
  parser.add_argument("--version", action="version", version=f"jaxsal {__version__}")
  subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
  commands = {}
  for name, module in _COMMANDS.items():
    commands[name] = subparsers.add_parser(
      name,
      help=module.SUMMARY,
      description=module.DESCRIPTION,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      add_help=module is not train,  # which prints its help itself
      allow_abbrev=False,
    )
    module.add_arguments(commands[name])
  return parser, commands


def _nearest(word: str, known: Iterable[str]) -> str:
  """Asks whether the most similar of the known words was meant, if there is a similar one."""
  close = difflib.get_close_matches(word, list(known), 1)
  return f" Did you mean {close[0]}?" if close else ""
