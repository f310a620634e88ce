"""Documentation: links lead somewhere, commands and names exist, no variant is missing.

`mkdocs build --strict` checks the site and the API reference; these tests need nothing but the
checkout, and read the pages as they are in the repository.
"""

import ast
import pathlib
import re
import shlex

import pytest

import jaxsal
from jaxsal import cli, main
from jaxsal.data.catalogue import DATASETS
from jaxsal.evaluation import published
from jaxsal.metrics import METRICS
from jaxsal.models import MODELS
from jaxsal.tfds_builders import build

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted(
  [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "benchmarks").glob("*.md"),
  ]
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language):
  """Page and text of every block of code in this language."""
  for page in PAGES:
    for match in FENCE.finditer(page.read_text()):
      if match[1] == language:
        yield pytest.param(match[2], id=f"{page.relative_to(ROOT)}:{match.start()}")


def anchors(page):
  """What a link can point to after '#': headings, as a forge names them, and names of the API."""
  text = FENCE.sub("", page.read_text())
  headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
  slugs = {re.sub(r"[^\w\s-]", "", h).strip().lower().replace(" ", "-") for h in headings}
  return slugs | set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
  text = FENCE.sub("", page.read_text())
  targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
  for target in targets:
    if target.startswith("https://"):
      continue
    path, _, anchor = target.partition("#")
    other = (page.parent / path).resolve() if path else page
    assert other.exists(), target
    assert not anchor or anchor in anchors(other), target


def commands():
  """Every command of a shell block that begins with `jaxsal`, as a list of words."""
  for block in blocks("bash"):
    for line in block.values[0].replace("\\\n", " ").splitlines():
      words = shlex.split(line, comments=True)
      if words[:1] == ["jaxsal"]:
        yield pytest.param(words[1:], id=f"{block.id} {' '.join(words[1:4])}")


# ml_collections loads a recipe in a way that Python deprecates.
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize("words", list(commands()))
def test_commands_are_understood(words):
  """Options exist, and so do the recipe of a training and the fields that are set."""
  if words == ["--help"]:
    return
  parser, _ = cli._parsers()
  args, rest = parser.parse_known_args(words)
  if args.command == "train":
    main._parse(rest)
  else:
    assert not rest


@pytest.mark.parametrize("text", list(blocks("python")))
def test_names_of_the_package_exist(text):
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.Attribute):
      name = ast.unparse(node)
      if re.fullmatch(r"jaxsal(\.\w+)+", name):
        value = jaxsal
        for part in name.split(".")[1:]:
          value = getattr(value, part)


def variants():
  """Network -> rows (variant, what differs, row of a table) on the page of models."""
  text = (ROOT / "docs" / "models.md").read_text()
  sections = re.findall(r"^### [^\n]+ \(`(\w+)`\)$(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
  line = re.compile(r"^\| `([^`]+)` \|(.*)\|(.*)\|$", re.MULTILINE)
  return {name: line.findall(section) for name, section in sections}


def test_every_variant_is_on_the_page_of_models():
  page = {
    name: {variant for variant, *_ in rows if "=" not in variant}
    for name, rows in variants().items()
  }
  assert page == {name: set(MODELS[name].variants) for name in page}


def test_every_network_with_published_scores_is_on_the_page_of_models():
  printed = [row for dataset in DATASETS for row in published.rows(dataset)]
  known = {name for name in MODELS if any(row.is_of(name) for row in printed)}
  assert known and known <= variants().keys()


@pytest.mark.parametrize("name", list(variants()))
def test_rows_of_tables_are_published_rows(name):
  """`table 8: TSFP-Net, only final level` is a row that the network's paper prints."""
  splits = ("dhf1k", "hollywood2", "ucf", "diem")
  printed = {(row.source, row.model) for split in splits for row in published.rows(split)}
  for variant, _, text in variants()[name]:
    if "=" in variant:
      field, value = variant.split("=")
      jaxsal.models.configure(name, **{field: int(value)})
    if text.strip():
      table, _, row = text.strip().partition(": ")
      papers = {source.split(",")[0] for source, _ in printed}
      assert any((f"{paper}, {table}", row) in printed for paper in papers), text


def test_every_recipe_data_set_and_metric_is_in_a_table():
  for page, names in (
    ("evaluate.md", METRICS),
    ("train.md", [path.stem for path in (ROOT / "configs").glob("*.py")]),
    ("datasets.md", build.known_datasets()),
  ):
    rows = re.findall(r"^\| (.*`.+?) \|", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert set(names) <= listed


def test_own_data_of_the_example_can_be_prepared(tmp_path, monkeypatch):
  (script,) = (block.values[0] for block in blocks("python") if "gaze.csv" in block.values[0])
  monkeypatch.chdir(tmp_path)
  exec(compile(script, "docs/train.md", "exec"), {})
  jaxsal.prepare("own/192x352", "data", "mine")
  split = jaxsal.open_split("own/192x352", "train", "data")
  assert [(video.name, video.frames) for video in split.videos] == [("cat", 60), ("park", 60)]
  assert split.fixations(0).shape == (3, 2)
