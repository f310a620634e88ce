"""Model folders: the round trip is exact, and errors say what is damaged and what to do."""

import json
import shutil

import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

import jaxsal
from jaxsal import models
from jaxsal.errors import UserError

CONFIG, WEIGHTS = "model.json", "model.safetensors"


@pytest.fixture(scope="module")
def model():
  model = models.create("tsfp", "tiny", length=16, size=(64, 96), mean=(0.1, 0.2, 0.3))
  for i, variable in enumerate(models.variables(model).values()):  # includes the statistics
    values = np.random.default_rng(i).standard_normal(variable.shape)
    variable.set_value(values.astype(np.float32))
  return model


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
  return models.save(model, tmp_path_factory.mktemp("models") / "a", {"run": "test"})


@pytest.fixture
def copy(saved, tmp_path):
  return shutil.copytree(saved, tmp_path / "a")


def edit(copy, **changes):
  description = json.loads((copy / CONFIG).read_text()) | changes
  (copy / CONFIG).write_text(json.dumps(description))


def assert_same(a, b):
  a, b = models.arrays(a), models.arrays(b)
  assert a.keys() == b.keys()
  for name, value in a.items():
    np.testing.assert_array_equal(value, b[name], err_msg=name)


def test_round_trip_is_exact(model, saved):
  loaded = jaxsal.load(saved)
  assert_same(loaded, model)
  assert loaded.config == model.config
  assert (loaded.length, loaded.size, loaded.mean) == (16, (64, 96), (0.1, 0.2, 0.3))
  assert sorted(path.name for path in saved.iterdir()) == [CONFIG, WEIGHTS]
  description = json.loads((saved / CONFIG).read_text())
  assert description["model"] == "tsfp" and description["origin"] == {"run": "test"}


def test_a_loaded_model_is_in_eval_mode(saved):
  loaded = models.load(saved)
  norms = [m for _, m in nnx.iter_graph(loaded) if isinstance(m, jaxsal.nn.BatchNorm)]
  assert len(norms) == 77 and all(norm.use_running_average for norm in norms)


def test_a_workdir_holds_its_model_under_model(model, saved, tmp_path):
  shutil.copytree(saved, tmp_path / "run" / "model")
  assert_same(models.load(str(tmp_path / "run")), model)


def test_weights_can_be_copied_into_a_network_of_another_mode(model, saved):
  other = models.create("tsfp", "tiny", length=16, size=(32, 32), batch_norm_momentum=0.5)
  models.copy_weights(saved, other)
  assert_same(other, model)
  assert other.config.batch_norm_momentum == 0.5


def test_weights_of_another_shape_are_refused_and_change_nothing(saved):
  other = models.create("tsfp", "tiny", length=32)
  before = models.arrays(other)
  with pytest.raises(UserError, match=r"different: output\.kernel is float32 \(2, .*\(4, "):
    models.copy_weights(saved, other)
  for name, value in models.arrays(other).items():
    np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"format": 1', "\xff\xfe"])
def test_a_damaged_description(copy, text):
  (copy / CONFIG).write_text(text, encoding="latin-1")
  with pytest.raises(UserError, match=CONFIG):
    models.load(copy)


@pytest.mark.parametrize("key", ["format", "model", "config"])
def test_an_incomplete_description(copy, key):
  description = json.loads((copy / CONFIG).read_text())
  del description[key]
  (copy / CONFIG).write_text(json.dumps(description))
  with pytest.raises(UserError, match=CONFIG):
    models.load(copy)


def test_another_format_model_or_field(copy):
  for changes, message in (
    ({"format": 2}, "has format 2, this jaxsal reads 1"),
    ({"format": 1, "model": "tsfq"}, "'tsfq' is not a model; did you mean 'tsfp'"),
    ({"model": "tsfp", "config": {"depth": 3}}, f"{CONFIG} does not fit .*tsfp.*depth"),
    ({"config": {"size": [33, 64]}}, "size is 33 x 64"),
  ):
    edit(copy, **changes)
    with pytest.raises(UserError, match=message):
      models.load(copy)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_weights(copy, share):
  content = (copy / WEIGHTS).read_bytes()
  (copy / WEIGHTS).write_bytes(content[: int(share * len(content))])
  with pytest.raises(UserError, match=f"{WEIGHTS} is missing or damaged"):
    models.load(copy)


def test_missing_weights(copy):
  (copy / WEIGHTS).unlink()
  with pytest.raises(UserError, match=f"{WEIGHTS} is missing or damaged"):
    models.load(copy)


def test_all_that_does_not_fit_is_listed(copy):
  arrays = safetensors.numpy.load_file(copy / WEIGHTS)
  arrays["extra"] = arrays.pop("output.bias")
  arrays["output.kernel"] = arrays["output.kernel"].astype(np.float16)
  arrays["decoder1.conv1.bias"] = arrays["decoder1.conv1.bias"][:-1].copy()
  safetensors.numpy.save_file(arrays, copy / WEIGHTS)
  with pytest.raises(UserError) as error:
    models.load(copy)
  first, *lines = str(error.value).splitlines()
  assert first.endswith(f"{WEIGHTS} does not fit TSFPNet:")
  assert [line.split(" is ")[0].strip() for line in lines] == [
    "different: decoder1.conv1.bias",
    "different: output.kernel",
    "missing: output.bias",
    "unknown: extra",
  ]


def test_no_model_there(tmp_path):
  with pytest.raises(UserError, match="does not exist: give a model folder or the workdir"):
    models.load(tmp_path / "none")
  with pytest.raises(UserError, match=r"holds no model: .*after its first validation"):
    models.load(tmp_path)
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="holds no model"):
    models.load(tmp_path / "file")


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_the_old_folder(copy, error, monkeypatch):
  model = models.create("s3d", "tiny")
  before = {path.name: path.read_bytes() for path in copy.iterdir()}

  def fail(arrays, path):
    path.write_bytes(b"half")
    raise error

  monkeypatch.setattr(safetensors.numpy, "save_file", fail)
  with pytest.raises(type(error)):
    models.save(model, copy, {})
  assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
  assert [path.name for path in copy.parent.iterdir()] == ["a"]


def test_an_origin_that_is_no_json_leaves_the_old_folder(copy):
  before = (copy / CONFIG).read_bytes()
  with pytest.raises(TypeError):
    models.save(models.load(copy), copy, {"when": object()})
  assert (copy / CONFIG).read_bytes() == before
  assert [path.name for path in copy.parent.iterdir()] == ["a"]
