"""The quick subset of the tests, `pytest -m quick`, covers every package."""

import importlib.util
import pathlib

import jaxsal

TESTS = pathlib.Path(__file__).parent


def test_every_package_has_quick_tests():
  spec = importlib.util.spec_from_file_location("the_conftest", TESTS / "conftest.py")
  conftest = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(conftest)
  package = pathlib.Path(jaxsal.__file__).parent
  packages = {path.parent.name for path in package.glob("*/__init__.py")}
  assert packages == set(conftest.QUICK) - {"tests"}
  for folder, files in conftest.QUICK.items():
    for file in files:
      assert (TESTS / ("" if folder == "tests" else folder) / file).is_file()
