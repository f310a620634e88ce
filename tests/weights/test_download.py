"""Downloads from a server on this machine: redirects, ranges, broken connections, confirmations."""

import contextlib
import hashlib
import http.server
import threading

import numpy as np
import pytest

from jaxsal.errors import UserError
from jaxsal.weights import _download

CONTENT = np.random.default_rng(0).integers(0, 256, 1_000_000, np.uint8).tobytes()
# Where connections break: after whole blocks.
BROKEN = 18 * _download._BLOCK
CONFIRMATION = b"""<html><body><form id="download-form" action="/confirmed" method="get">
<input type="hidden" name="id" value="abc"><input type="hidden" name="confirm" value="t">
<input type="submit" value="Download anyway"></form></body></html>"""


class Handler(http.server.BaseHTTPRequestHandler):
  """Serves CONTENT under several addresses; remembers what it was asked."""

  protocol_version = "HTTP/1.1"

  def log_message(self, *_):
    pass

  def do_GET(self):
    path, _, query = self.path.partition("?")
    self.server.asked.append((path, query, self.headers.get("Range")))
    if path == "/moved":
      self.send_response(302)
      self.send_header("Location", "/file")
      self.send_header("Content-Length", "0")
      self.end_headers()
    elif path == "/drive":
      self.reply(CONFIRMATION, kind="text/html; charset=utf-8")
    elif path == "/page":
      self.reply(b"<html>Not found, sorry.</html>", kind="text/html")
    elif path in ("/file", "/confirmed", "/breaks", "/untagged", "/stalls"):
      self.serve(path)
    else:
      self.send_error(404)

  def serve(self, path):
    start, status = 0, 200
    wanted, tag = self.headers.get("Range"), f'"{self.server.version}"'
    tagged = path != "/untagged"
    if wanted and tagged and self.headers.get("If-Range") == tag:
      start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
    if start >= len(CONTENT):
      self.send_response(416)
      self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
      self.send_header("Content-Length", "0")
      self.end_headers()
      return
    body = CONTENT[start:]
    self.send_response(status)
    self.send_header("Content-Length", str(len(body)))
    if tagged:
      self.send_header("ETag", tag)
    self.end_headers()
    if path == "/breaks" and self.server.breaks > 0:
      self.server.breaks -= 1
      body = body[:BROKEN]
      self.close_connection = True
    if path == "/stalls" and start > 0:
      body = b""
      self.close_connection = True
    elif path == "/stalls":
      body = body[:BROKEN]
      self.close_connection = True
    self.wfile.write(body)

  def reply(self, body, kind):
    self.send_response(200)
    self.send_header("Content-Type", kind)
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    self.wfile.write(body)


@pytest.fixture
def server(monkeypatch):
  for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
    monkeypatch.delenv(name, raising=False)
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    server.asked, server.version, server.breaks = [], 1, 0
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    thread.join()


@pytest.mark.parametrize("address", ["/file", "/moved", "/untagged", "/drive"])
def test_a_file_arrives_whole_and_alone(server, tmp_path, address):
  path = tmp_path / "weights.pth"
  _download.from_url(server.url + address, path, "weights.pth")
  assert path.read_bytes() == CONTENT
  assert list(tmp_path.iterdir()) == [path]


def test_a_page_of_confirmation_is_answered(server, tmp_path):
  _download.from_url(server.url + "/drive", tmp_path / "f", "f")
  assert server.asked[-1][:2] == ("/confirmed", "id=abc&confirm=t")


def test_a_broken_connection_goes_on_where_it_broke(server, tmp_path):
  server.breaks = 2
  _download.from_url(server.url + "/breaks", tmp_path / "f", "f")
  assert (tmp_path / "f").read_bytes() == CONTENT
  ranges = [wanted for _, _, wanted in server.asked]
  assert ranges == [None, "bytes=294912-", "bytes=589824-"]


def test_an_interrupted_download_continues(server, tmp_path):
  with pytest.raises(UserError, match=r"broke after 0\.3 MB.*it continues from there"):
    _download.from_url(server.url + "/stalls", tmp_path / "f", "f")
  assert not (tmp_path / "f").exists() and (tmp_path / "f.part").stat().st_size == BROKEN
  server.asked.clear()
  _download.from_url(server.url + "/file", tmp_path / "f", "f")
  assert server.asked == [("/file", "", "bytes=294912-")]
  assert (tmp_path / "f").read_bytes() == CONTENT
  assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_file_that_changed_is_fetched_from_the_beginning(server, tmp_path):
  with pytest.raises(UserError):
    _download.from_url(server.url + "/stalls", tmp_path / "f", "f")
  (tmp_path / "f.part").write_bytes(bytes(BROKEN))  # of the version before
  server.version = 2
  _download.from_url(server.url + "/file", tmp_path / "f", "f")
  assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_part_that_is_whole_needs_nothing_more(server, tmp_path):
  (tmp_path / "f.part").write_bytes(CONTENT)
  (tmp_path / "f.part.etag").write_text('"1"')
  _download.from_url(server.url + "/file", tmp_path / "f", "f")
  assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize(
  "address, reason", [("/nothing", "404"), ("/page", "a web page, not the file")]
)
def test_what_is_not_the_file_leaves_nothing(server, tmp_path, address, reason):
  with pytest.raises(_download.Unreachable, match=reason):
    _download.from_url(server.url + address, tmp_path / "f", "f")
  assert list(tmp_path.iterdir()) == []


def test_no_server(tmp_path):
  with pytest.raises(_download.Unreachable):
    _download.from_url("http://127.0.0.1:9/file", tmp_path / "f", "f")


def test_proxies_of_the_environment_are_used(server, tmp_path, monkeypatch):
  monkeypatch.setenv("HTTP_PROXY", server.url)
  monkeypatch.setenv("http_proxy", server.url)
  monkeypatch.delenv("NO_PROXY", raising=False)
  monkeypatch.delenv("no_proxy", raising=False)
  with contextlib.suppress(_download.Unreachable):
    _download.from_url("http://weights.invalid/file", tmp_path / "f", "f")
  assert server.asked[0][0] == "http://weights.invalid/file"


def test_digest(tmp_path):
  (tmp_path / "f").write_bytes(CONTENT)
  assert _download.sha256(tmp_path / "f") == hashlib.sha256(CONTENT).hexdigest()
