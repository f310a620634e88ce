"""The command `jaxsal convert`."""

import argparse
import ast
from pathlib import Path

from jaxsal.console import say
from jaxsal.errors import UserError

SUMMARY = "convert weights from PyTorch, and back"
DESCRIPTION = """\
Turns a PyTorch checkpoint into a model folder (safetensors and JSON, nothing executable), or a
model folder into a state dict that the PyTorch implementation loads.

  jaxsal convert --model=tased --from=TASED_updated.pt --out=models/tased
  jaxsal convert --model=vinet --set length=16 --from=vinet_t16.pt --out=models/vinet_t16
  jaxsal convert --to-torch models/tased --out=tased.pt

Reading or writing .pt files needs PyTorch (pip install 'jaxsal[torch]'); .safetensors files do not
need it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  way = parser.add_mutually_exclusive_group(required=True)
  way.add_argument("--from", dest="source", metavar="FILE", type=Path, help="PyTorch checkpoint")
  way.add_argument("--to-torch", metavar="DIR", type=Path, help="model folder, or a workdir")
  parser.add_argument("--model", metavar="NAME", help="network of the checkpoint")
  parser.add_argument(
    "--variant",
    default="base",
    metavar="NAME",
    help="variant of the network, from jaxsal models --variants (default: base)",
  )
  parser.add_argument(
    "--set",
    dest="fields",
    action="append",
    default=[],
    metavar="FIELD=VALUE",
    help="field of the configuration that differs from the variant's, such as length=16; may be "
    "repeated",
  )
  parser.add_argument(
    "--out", required=True, metavar="PATH", type=Path, help="folder or file to write"
  )


def run(args: argparse.Namespace) -> int:
  """Converts a checkpoint or a model folder."""
  if args.source and not args.model:
    raise UserError("--from needs --model=NAME; jaxsal models lists the networks.")
  fields = dict(_field(text) for text in args.fields)
  say(f"reading {args.source or args.to_torch}")
  from jaxsal.convert import command

  if args.to_torch:
    command.write_checkpoint(args.to_torch, args.out)
  else:
    command.read_checkpoint(args.model, args.source, args.out, variant=args.variant, **fields)
  return 0


def _field(text: str) -> tuple[str, object]:
  """Reads `length=16` as ("length", 16); a value that is no Python literal is a string."""
  name, equals, value = text.partition("=")
  if not equals:
    raise UserError(f"--set {text}: it must be FIELD=VALUE, such as length=16.")
  try:
    return name, ast.literal_eval(value)
  except (ValueError, SyntaxError):
    return name, value
