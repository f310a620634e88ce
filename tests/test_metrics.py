"""Metrics against the values of the MIT benchmark's own code, and what they give at the edges."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsal import metrics

GOLDEN = pathlib.Path(__file__).parent / "golden" / "metrics"
CASES = json.loads((GOLDEN / "expected.json").read_text())
# Cases of one size make a batch.
BATCHES = [["c00", "c01", "c03", "c04"], ["c02"], ["c05"]]


@pytest.fixture(scope="module")
def maps():
  return dict(np.load(GOLDEN / "cases.npz"))


def batch(maps, names, truth):
  return tuple(np.stack([maps[f"{n}/{part}"] for n in names]) for part in ("saliency", truth))


def expected(names, metric):
  values = {case["case"]: case[metric] for case in CASES}
  return [values[name] for name in names]


def test_every_case_is_in_a_batch():
  assert sorted(name for names in BATCHES for name in names) == sorted(
    case["case"] for case in CASES
  )


@pytest.mark.parametrize("names", BATCHES, ids="-".join)
@pytest.mark.parametrize("metric", metrics.METRICS)
def test_numpy_in_float64(maps, metric, names):
  f, truth = metrics.METRICS[metric]
  value = f(*batch(maps, names, truth))
  assert isinstance(value, np.ndarray) and value.dtype == np.float64
  # The expected values are printed with ten digits.
  np.testing.assert_allclose(value, expected(names, metric), rtol=0, atol=1e-6)


@pytest.mark.parametrize("names", BATCHES, ids="-".join)
@pytest.mark.parametrize("metric", metrics.METRICS)
def test_jax_in_float32_under_jit(maps, metric, names):
  f, truth = metrics.METRICS[metric]
  prediction, truth = batch(maps, names, truth)
  value = jax.jit(f)(jnp.asarray(prediction, jnp.float32), jnp.asarray(truth))
  assert value.dtype == jnp.float32
  np.testing.assert_allclose(value, expected(names, metric), rtol=0, atol=1e-4)


@pytest.mark.parametrize("metric", metrics.METRICS)
def test_one_map_gives_one_value(maps, metric):
  f, truth = metrics.METRICS[metric]
  prediction, truth = batch(maps, ["c00"], truth)
  assert f(prediction[0], truth[0]).shape == ()
  np.testing.assert_array_equal(f(prediction[0], truth[0]), f(prediction, truth)[0])


def random_maps(n=1, shape=(90, 160)):
  rng = np.random.default_rng(0)
  return {
    "prediction": rng.random((n, *shape)),
    "density": rng.random((n, *shape)),
    "fixations": rng.random((n, *shape)) < 0.01,
  }


# Values whose mean over a map is not exactly the value itself are the point of several constants.
@pytest.mark.parametrize("constant", [0.0, 0.1, 0.3, 0.5, 0.7, 1.0, 123.4])
@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_a_constant_prediction_says_nothing(constant, xp):
  for shape in ((90, 160), (96, 128), (7, 11)):
    maps = random_maps(shape=shape)
    dtype = np.float64 if xp is np else np.float32
    prediction = xp.full((1, *shape), constant, dtype=dtype)
    np.testing.assert_array_equal(metrics.nss(prediction, xp.asarray(maps["fixations"])), 0)
    density = xp.asarray(maps["density"], dtype=dtype)
    np.testing.assert_array_equal(metrics.cc(prediction, density), 0)
    assert np.isfinite(metrics.sim(prediction, density)).all()
    assert np.isfinite(metrics.kl(prediction, density)).all()


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_what_is_not_defined_is_nan_and_touches_no_other_map(xp):
  maps = random_maps(n=3)
  whole = {k: xp.asarray(v, dtype=None if v.dtype == bool else np.float32) for k, v in maps.items()}
  maps["density"][1] = 0
  maps["fixations"][1] = False
  empty = {k: xp.asarray(v, dtype=None if v.dtype == bool else np.float32) for k, v in maps.items()}
  for metric in ("nss", "cc", "kl"):
    f, truth = metrics.METRICS[metric]
    value = np.asarray(f(empty["prediction"], empty[truth]))
    np.testing.assert_array_equal(np.isnan(value), [False, True, False], err_msg=metric)
    np.testing.assert_array_equal(value[[0, 2]], f(whole["prediction"], whole[truth])[..., [0, 2]])


def test_scores_of_the_density_itself():
  maps = random_maps(n=2)
  density = maps["density"]
  np.testing.assert_allclose(metrics.cc(density, density), 1)
  np.testing.assert_allclose(metrics.sim(density, density), 1)
  np.testing.assert_allclose(metrics.kl(density, density), 0, atol=1e-10)
  np.testing.assert_allclose(metrics.cc(-density, density), -1)


def test_the_scale_of_a_prediction_does_not_matter():
  maps = random_maps()
  for f, truth in metrics.METRICS.values():
    truth = maps[truth]
    np.testing.assert_allclose(f(maps["prediction"], truth), f(255 * maps["prediction"], truth))


def test_a_pixel_counts_once():
  prediction = np.array([[0.0, 1.0], [2.0, 3.0]])
  fixations = np.array([[0, 0], [0, 1]], np.uint8)
  # Mean 1.5, deviation of a sample sqrt(5 / 3).
  np.testing.assert_allclose(metrics.nss(prediction, fixations), 1.5 / np.sqrt(5 / 3))


@pytest.mark.parametrize("metric", metrics.METRICS)
def test_gradients_are_finite_at_the_edges(metric):
  f, truth = metrics.METRICS[metric]
  maps = random_maps(n=2, shape=(8, 12))
  truth = jnp.asarray(maps[truth], jnp.float32)
  for prediction in (jnp.full((2, 8, 12), 0.1), jnp.asarray(maps["prediction"], jnp.float32)):
    assert np.isfinite(jax.grad(lambda p: f(p, truth).sum())(prediction)).all()
