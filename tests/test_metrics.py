"""Compares metrics with the MIT benchmark's own code, and tests their values in edge cases."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsal import metrics
from jaxsal.errors import UserError
from jaxsal.train.sharding import batch_sharding, make_mesh

GOLDEN = pathlib.Path(__file__).parent / "golden" / "metrics"
CASES = {case["case"]: case for case in json.loads((GOLDEN / "expected.json").read_text())}
# Batches of cases that have the same size.
BATCHES = [["c00", "c01", "c03", "c04"], ["c02"], ["c05"]]
PARTS = ["saliency", "density", "fixations", "other", "baseline"]
# Names of metrics that differ in expected.json.
EXPECTED = {"information_gain": "info_gain"}
# Metrics that expected.json gives as means of 100 random splits, with standard deviations.
RANDOM = {"auc_shuffled": "auc_shuffled_100", "auc_borji": "auc_borji_100"}


@pytest.fixture(scope="module")
def maps():
  return dict(np.load(GOLDEN / "cases.npz"))


def batch(maps, names, parts=PARTS):
  return [np.stack([maps[f"{name}/{part}"] for name in names]) for part in parts]


def check(scores, names, tolerance):
  assert {*scores} == {*"auc_judd auc_shuffled auc_borji cc information_gain kl nss sim".split()}
  for metric, values in scores.items():
    for name, value in zip(names, np.asarray(values), strict=True):
      expected = CASES[name][RANDOM.get(metric) or EXPECTED.get(metric, metric)]
      if expected is None:
        continue  # the benchmark's code fails with a single fixation
      spread = 3 * CASES[name][f"{RANDOM[metric]}_std"] if metric in RANDOM else 0
      assert abs(value - expected) <= tolerance + spread, (name, metric, value, expected)


def on_device(arrays):
  return [jnp.asarray(x, None if x.dtype == bool else np.float32) for x in arrays]


def test_every_case_is_in_a_batch():
  assert sorted(name for names in BATCHES for name in names) == sorted(CASES)


@pytest.mark.parametrize("names", BATCHES, ids="-".join)
def test_numpy_in_float64(maps, names):
  scores = metrics.frame_scores(*batch(maps, names))
  for value in scores.values():
    assert isinstance(value, np.ndarray) and value.dtype == np.float64
  check(scores, names, 1e-6)  # the expected values are printed with ten digits


@pytest.mark.parametrize("names", BATCHES, ids="-".join)
def test_jax_in_float32_under_jit(maps, names):
  scores = jax.jit(metrics.frame_scores)(*on_device(batch(maps, names)))
  for value in scores.values():
    assert isinstance(value, jax.Array) and value.dtype == np.float32
  check(scores, names, 1e-4)


def test_numpy_in_float32(maps):
  names = BATCHES[0]
  scores = metrics.frame_scores(*(np.asarray(x) for x in on_device(batch(maps, names))))
  assert all(value.dtype == np.float32 for value in scores.values())
  check(scores, names, 1e-4)


def test_one_map_gives_one_value_and_one_baseline_serves_all(maps):
  arrays = batch(maps, ["c00", "c03"])
  baseline = arrays[-1][0]
  scores = metrics.frame_scores(*arrays[:-1], baseline)
  for row in range(2):
    single = metrics.frame_scores(*(x[row] for x in arrays[:-1]), baseline)
    for metric, value in single.items():
      assert value.shape == ()
      np.testing.assert_allclose(value, scores[metric][row], rtol=1e-12, err_msg=metric)


def test_shards_give_what_the_whole_batch_gives(maps, monkeypatch):
  monkeypatch.setattr(metrics, "_FEW", 64)
  arrays = on_device(x[..., ::6, ::6] for x in batch(maps, 2 * BATCHES[0]))
  sharding = batch_sharding(make_mesh())
  scores = jax.jit(metrics.frame_scores)(*(jax.device_put(x, sharding) for x in arrays))
  for metric, value in metrics.frame_scores(*map(np.asarray, arrays)).items():
    np.testing.assert_allclose(scores[metric], value, atol=1e-5, err_msg=metric)


# --- AUCs against their definitions, one pixel or one split at a time.


def judd_by_thresholds(prediction, fixations):
  values = np.sort(prediction[fixations])[::-1]
  n = len(values)
  hits = [0, *(np.arange(1, n + 1) / n), 1]
  alarms = [(prediction >= t).sum() - i for i, t in enumerate(values, 1)]
  return np.trapezoid(hits, [0, *(np.array(alarms) / (prediction.size - n)), 1])


def pairs_in_order(prediction, fixations, negatives):
  positive, negative = prediction[fixations][:, None], prediction[negatives]
  return (positive > negative).mean() + (positive == negative).mean() / 2


def tied_maps(fixated):
  """Makes three maps with few different values and the given shares of fixated pixels."""
  rng = np.random.default_rng(0)
  prediction = np.round(rng.random((3, 20, 30)), 1)
  fixations = rng.random((3, 20, 30)) < np.reshape(fixated, (3, 1, 1))
  return prediction, fixations, rng.random((3, 20, 30)) < 0.2


@pytest.mark.parametrize("way", ["numpy", "compared", "sorted"])
def test_ties_and_any_number_of_fixations(way, monkeypatch):
  monkeypatch.setattr(metrics, "_FEW", 64 if way == "sorted" else 600)
  arrays = tied_maps([0.01, 0.3, 0.8])

  def scores(prediction, fixations, other):
    return (
      metrics.auc_judd(prediction, fixations),
      metrics.auc_shuffled(prediction, fixations, other, exact=True),
      metrics.auc_borji(prediction, fixations, exact=True),
    )

  judd, shuffled, borji = scores(*arrays) if way == "numpy" else jax.jit(scores)(*on_device(arrays))
  for row, (p, f, o) in enumerate(zip(*arrays)):
    np.testing.assert_allclose(judd[row], judd_by_thresholds(p, f), atol=1e-6)
    np.testing.assert_allclose(shuffled[row], pairs_in_order(p, f, o), atol=1e-6)
    np.testing.assert_allclose(borji[row], pairs_in_order(p, f, np.ones_like(f)), atol=1e-6)


def test_random_splits_estimate_the_shuffled_auc(maps):
  (prediction,), (fixations,), (other,) = batch(maps, ["c03"], ["saliency", "fixations", "other"])
  scaled = prediction / prediction.max()
  positives = scaled[fixations]
  rng = np.random.default_rng(0)
  aucs = []
  for _ in range(400):
    negatives = rng.permutation(scaled[other])[: len(positives)]
    thresholds = np.arange(10, -1, -1) / 10
    hits, alarms = ((x >= thresholds[:, None]).mean(-1) for x in (positives, negatives))
    aucs.append(np.trapezoid([0, *hits, 1], [0, *alarms, 1]))
  error = np.std(aucs) / np.sqrt(len(aucs))
  auc = metrics.auc_shuffled(prediction, fixations, other)
  assert abs(np.mean(aucs) - auc) < 3 * error
  assert abs(metrics.auc_shuffled(prediction, fixations, other, exact=True) - auc) > 3 * error


# --- The edges.


def random_maps(n=1, shape=(90, 160)):
  rng = np.random.default_rng(0)
  return {
    "prediction": rng.random((n, *shape)),
    "density": rng.random((n, *shape)),
    "fixations": rng.random((n, *shape)) < 0.01,
    "other": rng.random((n, *shape)) < 0.02,
    "baseline": rng.random((n, *shape)),
  }


# Several of these constants differ from their rounded mean over a map.
@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_a_constant_prediction_says_nothing(xp):
  for shape in ((90, 160), (7, 11)):
    maps = random_maps(shape=shape)
    dtype = np.float64 if xp is np else np.float32
    truths = [xp.asarray(x, x.dtype if x.dtype == bool else dtype) for x in maps.values()][1:]
    scores = jax.jit(metrics.frame_scores) if xp is jnp else metrics.frame_scores
    for constant in (0.0, 0.1, 0.3, 0.5, 0.7, 1.0, 123.4):
      values = scores(xp.full((1, *shape), constant, dtype=dtype), *truths)
      for metric, nothing in {"nss": 0, "cc": 0}.items():
        np.testing.assert_array_equal(values[metric], nothing, err_msg=metric)
      for metric in ("auc_judd", "auc_shuffled", "auc_borji"):
        np.testing.assert_array_equal(values[metric], 0.5, err_msg=metric)
      assert np.isfinite(values["kl"]).all()
      # The overlap with the uniform density is the part of the truth below its mean.
      density = maps["density"][0] - maps["density"].min()
      shared = np.minimum(density / density.sum(), 1 / density.size).sum()
      np.testing.assert_allclose(values["sim"], shared, rtol=1e-5)
      baseline = maps["baseline"] - maps["baseline"].min()
      baseline = (baseline / baseline.sum())[maps["fixations"]]
      gain = -np.log2(density.size * baseline).mean()
      np.testing.assert_allclose(values["information_gain"], gain, rtol=1e-5)


OF_FIXATIONS = {"auc_judd", "auc_shuffled", "auc_borji", "nss", "information_gain"}


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_what_is_not_defined_is_nan_and_touches_no_other_map(xp):
  frame_scores = jax.jit(metrics.frame_scores) if xp is jnp else metrics.frame_scores

  def scores(maps):
    arrays = (x if x.dtype == bool else x.astype(np.float32) for x in maps.values())
    return frame_scores(*map(xp.asarray, arrays))

  whole = scores(random_maps(n=3, shape=(24, 32)))
  one_pixel, all_pixels = (1, 5, 5), 1
  for part, where, value, undefined in [
    ("density", all_pixels, 0, {"cc", "sim", "kl"}),
    ("fixations", all_pixels, False, OF_FIXATIONS),
    ("other", all_pixels, False, {"auc_shuffled"}),
    ("prediction", one_pixel, np.nan, set(whole)),
  ]:
    maps = random_maps(n=3, shape=(24, 32))
    maps[part][where] = value
    for metric, values in scores(maps).items():
      expected = np.array(whole[metric])
      expected[1] = np.nan if metric in undefined else values[1]
      np.testing.assert_array_equal(values, expected, err_msg=f"{metric}, {part}")
      assert np.isnan(values[1]) == (metric in undefined)


def test_auc_judd_needs_a_pixel_that_nobody_looked_at():
  prediction = random_maps(shape=(4, 6))["prediction"]
  assert np.isnan(metrics.auc_judd(prediction, np.ones((1, 4, 6), bool))).all()


def test_scores_of_the_density_itself():
  maps = random_maps(n=2)
  density = maps["density"]
  np.testing.assert_allclose(metrics.cc(density, density), 1)
  np.testing.assert_allclose(metrics.sim(density, density), 1)
  np.testing.assert_allclose(metrics.kl(density, density), 0, atol=1e-10)
  np.testing.assert_allclose(metrics.cc(-density, density), -1)
  gain = metrics.information_gain(density, maps["fixations"], density)
  np.testing.assert_array_equal(gain, 0)


def test_the_scale_of_a_prediction_does_not_matter():
  maps = random_maps(n=2)
  scores = metrics.frame_scores(**maps)
  for metric, value in metrics.frame_scores(
    **maps | {"prediction": 256 * maps["prediction"]}
  ).items():
    np.testing.assert_allclose(value, scores[metric], rtol=1e-12, err_msg=metric)


def test_a_pixel_counts_once():
  prediction = np.array([[0.0, 1.0], [2.0, 3.0]])
  # The mean is 1.5, and the sample deviation is sqrt(5 / 3).
  for fixations in (np.array([[0, 0], [0, 1]], np.uint8), np.array([[0, 0], [0, 2.0]])):
    np.testing.assert_allclose(metrics.nss(prediction, fixations), 1.5 / np.sqrt(5 / 3))


def test_images_of_bytes(maps):
  arrays = batch(maps, ["c03"])
  grey = arrays[0].astype(np.uint8)  # the values are whole numbers already
  check(metrics.frame_scores(grey, *arrays[1:]), ["c03"], 1e-4)


def test_float32_is_enough_for_a_large_map_of_little_contrast():
  maps = random_maps(shape=(360, 640))
  maps["prediction"] = 0.5 + maps["prediction"] / 64
  exact = metrics.frame_scores(**{k: x.astype(np.float64) for k, x in maps.items()})
  scores = jax.jit(metrics.frame_scores)(*on_device(maps.values()))
  for metric, value in scores.items():
    np.testing.assert_allclose(value, exact[metric], rtol=0, atol=1e-4, err_msg=metric)


def test_the_table_names_the_scores():
  maps = random_maps()
  maps["fixations"] = maps["density"] > 0.95
  scores = metrics.frame_scores(**maps)
  assert list(scores) == list(metrics.METRICS) == [m.key for m in metrics.METRICS.values()]
  without = metrics.frame_scores(**{k: x for k, x in maps.items() if k != "baseline"})
  assert [*without, "information_gain"] == list(scores)
  better = metrics.frame_scores(**maps | {"prediction": maps["density"]})
  for metric in metrics.METRICS.values():
    sign = 1 if metric.higher_is_better else -1
    assert (sign * better[metric.key] > sign * scores[metric.key]).all(), metric.key
  assert [metric.key for metric in metrics.TRAINING] == ["nss", "cc", "sim", "kl"]


def test_maps_of_different_sizes_are_an_error():
  maps = random_maps(shape=(8, 12))
  with pytest.raises(UserError, match="prediction of 6 x 12 pixels, ground truth of 8 x 12"):
    metrics.nss(maps["prediction"][:, 2:], maps["fixations"])


def test_gradients_are_finite_at_the_edges():
  maps = {k: on_device([x])[0] for k, x in random_maps(n=2, shape=(8, 12)).items()}

  @jax.jit
  def gradients(prediction):
    return {
      metric.key: jax.grad(lambda p, metric=metric: metric(p, maps).sum())(prediction)
      for metric in metrics.TRAINING
    }

  for prediction in (jnp.full((2, 8, 12), 0.1), maps["prediction"]):
    for metric, gradient in gradients(prediction).items():
      assert np.isfinite(gradient).all(), metric


# --- Resizing.


def imresize(line, size):
  """Resizes the first axis bicubically, as MATLAB documents imresize, in float64."""
  scale = size / len(line)
  width = max(1 / scale, 1)
  result = []
  for centre in (np.arange(size) + 0.5) / scale - 0.5:
    taps = np.arange(np.floor(centre - 2 * width), np.ceil(centre + 2 * width) + 1)
    x = np.abs(taps - centre) / width
    weights = np.select(
      [x <= 1, x <= 2],
      [1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2],
    )
    period = taps.astype(int) % (2 * len(line))  # mirrored, with the border pixel twice
    mirrored = np.minimum(period, 2 * len(line) - 1 - period)
    result.append(weights / weights.sum() @ line[mirrored])
  return np.array(result)


@pytest.mark.parametrize(
  "old, new", [((12, 16), (27, 40)), ((30, 8), (11, 20)), ((40, 50), (3, 4))]
)
def test_to_size_is_imresize(old, new):
  maps = np.random.default_rng(0).random((2, *old))
  resized = metrics.to_size(maps, new)
  assert isinstance(resized, np.ndarray) and resized.dtype == np.float32
  expected = [imresize(imresize(x, new[0]).T, new[1]).T for x in maps]
  np.testing.assert_allclose(resized, expected, atol=1e-5)
  on_the_device = jax.jit(metrics.to_size, static_argnums=1)(jnp.asarray(maps[0], np.float32), new)
  np.testing.assert_allclose(on_the_device, expected[0], atol=1e-5)


def test_to_size_leaves_a_map_of_that_size_alone():
  x = np.random.default_rng(0).random((3, 8, 9))
  assert metrics.to_size(x, (8, 9)) is x


# --- Another implementation.


# The import of pysaliency warns of a module of setuptools.
@pytest.mark.filterwarnings("ignore:pkg_resources is deprecated as an API:UserWarning")
def test_pysaliency_agrees_where_it_defines_the_same(maps, monkeypatch):
  pysaliency = pytest.importorskip("pysaliency", reason="pip install -e '.[parity]'")
  monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)  # NumPy 2.4 has dropped it
  for name in CASES:
    prediction, density, fixations, other, _ = (x[0] for x in batch(maps, [name]))
    prediction = prediction - prediction.min()  # pysaliency's SIM does not subtract the minimum
    scores = metrics.frame_scores(prediction, density, fixations, other)
    values = prediction[fixations]
    y, x = np.nonzero(fixations)
    with np.errstate(divide="ignore"):  # pysaliency takes the logarithm of 0
      divergence = pysaliency.metrics.MIT_KLDiv(prediction, density)
    theirs = {
      "nss": pysaliency.metrics.NSS(prediction, x, y).mean()
      * np.sqrt(1 - 1 / prediction.size),  # pysaliency divides by N
      "cc": pysaliency.metrics.CC(prediction, density),
      "sim": pysaliency.metrics.SIM(prediction, density),
      "kl": divergence,
      "exact": pysaliency.roc.general_roc(values, prediction[other])[0],
    }
    ours = scores | {"exact": metrics.auc_shuffled(prediction, fixations, other, exact=True)}
    if len(np.unique(values)) == len(values):  # pysaliency has one threshold for tied fixations
      theirs["auc_judd"] = pysaliency.roc.general_roc(values, prediction[~fixations], judd=1)[0]
    for metric, value in theirs.items():
      np.testing.assert_allclose(ours[metric], value, rtol=0, atol=1e-6, err_msg=f"{name} {metric}")
