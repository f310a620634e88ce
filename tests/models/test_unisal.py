"""UNISAL: the authors' outputs block by block and whole, causality, domains, and the way back."""

import functools
import json
import pathlib
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsal import convert, models, weights
from jaxsal.convert import torch_file
from jaxsal.errors import UserError
from jaxsal.models import unisal

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "unisal"
DATASETS = {name: dataset for dataset, name in unisal.DOMAINS.items()}


@functools.cache
def published():
  """The model folder of the authors' weights."""
  return weights.fetch("unisal")


def network(**fields):
  """The published network, for another domain or for images."""
  model = models.load(published())
  config = model.config
  again = models.create("unisal", **{"domain": config.domain} | fields)
  models.set_arrays(again, models.arrays(model), source="the published weights")
  again.eval()
  return again


def case(name):
  description = json.loads((GOLDEN / f"{name}.json").read_text())
  return description, np.load(GOLDEN / f"{name}.npz")


def run(model, frames, chunk):
  """Log-densities [t, h, w] of frames that are given out in chunks."""
  graph, variables = nnx.split(model)

  @jax.jit
  def densities(variables, frames, state):
    model = nnx.merge(graph, variables)
    return model.densities(model.normalise(frames), state)

  state, parts = model.initial_state(1, frames.shape[1:3]), []
  for start in range(0, len(frames), chunk):
    log_densities, state = densities(variables, frames[None, start : start + chunk], state)
    parts.append(np.asarray(log_densities[0]))
  return np.concatenate(parts)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dhf1k", "hollywood", "ucfsports", "static"])
def test_the_authors_outputs(name):
  """PyTorch's own float32 differs from its float64 by 2e-5 to 5e-5 in these cases."""
  about, arrays = case(name)
  model = network(domain=DATASETS[about["domain"]], static=about["static"])
  found = run(model, arrays["frames"], about["chunk"])
  np.testing.assert_allclose(found[about["kept"]], arrays["log_density"], atol=1e-4)


@pytest.mark.slow
def test_the_authors_blocks():
  about, arrays = case("hollywood")
  model, domain = network(domain="hollywood2"), "hollywood2"

  def stages(frames):
    features = model.encoder(model.normalise(frames))
    priors = model.priors(features.x1.shape[1:3], domain)[None]
    x = model.post_cnn(jnp.concatenate([features.x1, priors], axis=-1))
    states, _ = model.rnn(x[:, None], jnp.zeros_like(x), domain)
    y = jax.nn.relu6(model.post_rnn_bn(model.post_rnn(states[:, 0]), domain))
    return {
      "cnn_1x": features.x1,
      "post_cnn": x,
      "post_rnn": y,
      "skip_2x": model.skip2(features.x2, domain),
      "skip_4x": model.skip4(features.x4, domain),
    }

  for name, found in stages(arrays["frames"][:1]).items():
    wanted = about["stages_of_first_frame"][name]
    b, c, h, w = wanted["shape"]
    assert found.shape == (b, h, w, c), name
    # A mean over ten thousand values, of a deviation near 1: float32 keeps six digits of it.
    np.testing.assert_allclose(found.mean(), wanted["mean"], atol=1e-5, err_msg=name)
    np.testing.assert_allclose(found.std(ddof=1), wanted["std"], rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_the_way_back_gives_every_entry_of_the_file():
  model = models.load(published())
  assert len(convert.to_torch(model)) == 835
  numbers = sum(x.size for x in convert.to_torch(model).values())
  assert numbers == 3_804_714


def test_a_state_dict_of_the_whole_network(tmp_path):
  """PyTorch reads what is written, and the reader here reads what PyTorch writes."""
  torch = pytest.importorskip("torch")
  model = models.create("unisal", "tiny")
  there = convert.to_torch(model)
  for legacy in (False, True):
    path = tmp_path / "weights.pth"
    torch.save(
      {name: torch.from_numpy(np.array(value)) for name, value in there.items()},
      path,
      _use_new_zipfile_serialization=not legacy,
    )
    for name, value in torch_file.load(path).items():
      np.testing.assert_array_equal(value, there[name])
    again = models.arrays(convert.from_torch("unisal", path, variant="tiny"))
    for name, value in models.arrays(model).items():
      np.testing.assert_array_equal(again[name], value)


def frames(t, size=(32, 64), seed=0):
  return np.random.default_rng(seed).integers(0, 256, (t, *size, 3), np.uint8)


def tiny(**fields):
  model = models.create("unisal", "tiny", **fields)
  model.eval()
  return model


def test_a_density_for_every_frame():
  found = run(tiny(), frames(3), 3)
  assert found.shape == (3, 32, 64) and found.dtype == np.float32
  np.testing.assert_allclose(np.exp(found.astype(np.float64)).sum((1, 2)), 1, atol=1e-5)
  maps = tiny()(tiny().normalise(frames(3)[None]))
  assert maps.shape == (1, 32, 64)
  np.testing.assert_allclose(maps[0], np.exp(found[-1] - found[-1].max()), atol=1e-5)


def test_frames_may_come_in_any_portions():
  whole = run(tiny(), frames(6), 6)
  for chunk in (1, 2, 3):
    np.testing.assert_allclose(run(tiny(), frames(6), chunk), whole, atol=1e-5)


def test_the_future_is_not_seen():
  seen = frames(5)
  changed = np.concatenate([seen[:3], frames(2, seed=1)])
  before, after = run(tiny(), seen, 5), run(tiny(), changed, 5)
  np.testing.assert_array_equal(before[:3], after[:3])
  assert np.abs(before[3:] - after[3:]).max() > 1e-6
  assert np.abs(run(tiny(), frames(5)[1:], 4)[0] - before[1]).max() > 1e-7  # the past is


def test_images_have_no_past():
  alone = run(tiny(static=True), frames(3)[2:], 1)
  np.testing.assert_allclose(run(tiny(static=True), frames(3), 3)[2:], alone, atol=1e-5)


def test_domains_differ_in_their_own_parts_alone():
  model = tiny()
  model.train()
  before = models.arrays(model)
  model.densities(model.normalise(frames(2)[None]))
  changed = {name for name, value in models.arrays(model).items() if (value != before[name]).any()}
  assert changed and all(".dhf1k." in name for name in changed)


def test_sizes_that_cannot_be_halved():
  with pytest.raises(UserError, match=r"size is 100 x 64.*multiples of 32, such as 96 x 64\."):
    models.create("unisal", "tiny", size=(100, 64))
  with pytest.raises(UserError, match="multiples of 32"):
    tiny().densities(jnp.zeros((1, 1, 40, 64, 3)))


@pytest.mark.parametrize("content", [b"", b"<html>not here</html>", b"\x80\x02garbage"])
def test_files_that_are_no_checkpoints(tmp_path, content):
  path = tmp_path / "weights.pth"
  path.write_bytes(content)
  with pytest.raises(UserError, match=r"weights\.pth"):
    convert.from_torch("unisal", path)


class Bomb:
  def __reduce__(self):
    return (print, ("code of the file ran",))


def test_code_in_a_file_is_not_run(tmp_path, capsys):
  path = tmp_path / "weights.pth"
  with path.open("wb") as file:
    for value in (torch_file._MAGIC, torch_file._PROTOCOL, {}, Bomb(), []):
      pickle.dump(value, file, protocol=2)
  with pytest.raises(UserError, match=r"refused.*builtin.*print"):
    convert.from_torch("unisal", path)
  assert capsys.readouterr().out == ""
