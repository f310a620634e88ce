"""Opens the report in headless Chromium: no errors, sorting, both colour schemes."""

import html
import json
import re
import shutil
import subprocess

import evaluation
import pytest

from jaxsal.evaluation import report

_CHROMIUM = next(
  filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(_CHROMIUM is None, reason="no Chromium on the path")

_NAMES = ["9", "10", "Übung", "a<b>&c", "b"]
# Clicks every heading twice, and leaves the results in the document.
_SCRIPT = """
<script>
const found = { background: getComputedStyle(document.body).backgroundColor, columns: {} };
for (const heading of document.querySelectorAll(".sortable thead th")) {
  const orders = [];
  for (let click = 0; click < 2; click++) {
    heading.querySelector("button").click();
    const names = [...document.querySelectorAll(".sortable tbody th")].map((x) => x.textContent);
    const marked = document.querySelectorAll(".sortable [aria-sort]").length;
    orders.push([heading.ariaSort, marked, names]);
  }
  found.columns[heading.textContent] = orders;
}
const pre = document.createElement("pre");
pre.id = "found";
pre.textContent = JSON.stringify(found);
document.body.append(pre);
</script>
"""


def _open(page, folder, *flags):
  """Opens a page with `_SCRIPT`; returns the script's results and the lines of the console."""
  command = [_CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
  command += [f"--user-data-dir={folder / 'profile'}", "--dump-dom", *flags, page.as_uri()]
  done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
  found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
  console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
  assert found, done.stderr
  return json.loads(html.unescape(found[1])), console


def test_sorting_and_colour_schemes(tmp_path):
  summary = evaluation.write(tmp_path, _NAMES)
  videos = summary["videos"]
  videos[1]["scores"]["nss"] = None
  (tmp_path / "scores.json").write_text(json.dumps(summary), "utf-8")
  page = report.write(tmp_path)
  page.write_text(page.read_text("utf-8").replace("</body>", _SCRIPT + "</body>"), "utf-8")

  light, console = _open(page, tmp_path, "--blink-settings=preferredColorScheme=1")
  assert console == []
  dark, console = _open(page, tmp_path, "--blink-settings=preferredColorScheme=0")
  assert console == []
  assert light["background"] == "rgb(246, 247, 249)"
  assert dark["background"] == "rgb(15, 18, 22)"

  titles = ["#", "Video", "Frames", "AUC-J", "SIM", "sAUC", "CC", "NSS", "KL", "IG", "Dropped"]
  assert list(light["columns"]) == titles
  for orders in light["columns"].values():
    assert [order[:2] for order in orders] == [["ascending", 1], ["descending", 1]]
  ascending, descending = (order[2] for order in light["columns"]["Video"])
  assert ascending == ["9", "10", "a<b>&c", "b", "Übung"]  # by number, then by letter
  assert descending == ascending[::-1]
  known = [video for video in videos if video["scores"]["nss"] is not None]
  known = [video["name"] for video in sorted(known, key=lambda video: video["scores"]["nss"])]
  ascending, descending = (order[2] for order in light["columns"]["NSS"])
  assert ascending == [*known, "10"]  # no value: last, either way
  assert descending == [*known[::-1], "10"]
  assert light["columns"]["#"][0][2] == _NAMES


def test_errors_would_be_seen(tmp_path):
  page = tmp_path / "page.html"
  page.write_text('<body><table class="sortable"></table><script>missing()</script>' + _SCRIPT)
  _, console = _open(page, tmp_path)
  assert len(console) == 1 and "missing is not defined" in console[0]
