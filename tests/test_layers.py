"""The order of the packages: a module imports from its own layer or from those below it."""

import ast
import graphlib
import importlib.util
import pathlib

import pytest

import jaxsal

ROOT = pathlib.Path(jaxsal.__file__).parent
# From the bottom to the top. The modules of the root that a layer has by name are named here; the
# two members of a layer that is a tuple of packages do not import each other.
LAYERS = [
  ("errors", "arrays", "console", "files", "runtime", "resources", "pictures", "metrics", "losses"),
  ("nn", "data"),
  ("models",),
  ("convert", "tfds_builders"),
  ("weights",),
  ("prediction",),
  ("evaluation",),
  ("train",),
  ("main", "cli", "__main__"),
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
INDEPENDENT = ({"nn", "data"}, {"convert", "prediction", "tfds_builders"})


def module_name(path: pathlib.Path) -> str:
  parts = path.relative_to(ROOT.parent).with_suffix("").parts
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports(module: str) -> set[str]:
  """The modules of the package that a module imports, also within functions."""
  found = set()
  for node in ast.walk(ast.parse(MODULES[module].read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module:
      assert node.level == 0, f"{module} imports relatively"
      for alias in node.names:
        name = f"{node.module}.{alias.name}"
        found.add(name if name in MODULES else node.module)
  return {name for name in found if name in MODULES} - {module}


def room(module: str) -> str:
  return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", [module for module in MODULES if module != "jaxsal"])
def test_imports_come_from_below(module):
  here = room(module)
  for other in imports(module) - {"jaxsal"}:
    there = room(other)
    assert LAYER[there] <= LAYER[here], f"{module} imports {other}, which is above it"
    together = next((group for group in INDEPENDENT if {here, there} <= group), None)
    assert here == there or together is None, f"{module} imports {other}, which is next to it"


def test_no_cycle_of_files():
  graph = {module: imports(module) - {"jaxsal"} for module in MODULES if module != "jaxsal"}
  # A package's __init__ offers what its modules define; they may still import one another.
  packages = {module for module, path in MODULES.items() if path.name == "__init__.py"}
  graphlib.TopologicalSorter(
    {module: others - packages for module, others in graph.items() if module not in packages}
  ).prepare()


def test_data_is_a_leaf():
  for module in MODULES:
    if room(module) == "data":
      assert {room(other) for other in imports(module)} <= {"", "data", "errors", "console"}


def test_every_module_has_a_docstring():
  for module, path in MODULES.items():
    assert ast.get_docstring(ast.parse(path.read_text())), f"{module} has no docstring"


def test_the_package_is_typed():
  assert (ROOT / "py.typed").exists()
  assert importlib.util.find_spec("jaxsal") is not None
