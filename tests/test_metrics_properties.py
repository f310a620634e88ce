"""Properties of every metric, for any shapes, scales and kinds of arrays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsal import metrics
from jaxsal.errors import UserError

FUNCTIONS = {
  **{key: (metric.function, metric.truth) for key, metric in metrics.METRICS.items()},
  "auc_shuffled_exact": (
    functools.partial(metrics.auc_shuffled, exact=True),
    ("fixations", "other"),
  ),
  "auc_borji_exact": (functools.partial(metrics.auc_borji, exact=True), ("fixations",)),
}
KINDS = {"numpy": np.asarray, "jax": jnp.asarray}
SIZE = (5, 7)


def random_map(kind, shape, seed):
  """Draws a map; no value is near a threshold of the AUCs, so that rounding changes nothing."""
  rng = np.random.default_rng(seed)
  if kind in ("fixations", "other"):
    return rng.random(shape) < 0.3
  values = rng.integers(0, 98, shape)
  values[..., 0, :2] = 0, 97
  return values.astype(np.float32)


def arguments(name, shapes, seed=0):
  kinds = ("prediction", *FUNCTIONS[name][1])
  return [random_map(*pair, [seed, i]) for i, pair in enumerate(zip(kinds, shapes))]


def compute(name, arrays):
  return FUNCTIONS[name][0](*arrays)


# The axes before h and w; some do not fit each other.
LEADS = st.tuples(*[st.sampled_from([(), (1,), (2,), (3,), (2, 1), (2, 3)])] * 3)
# JAX compiles for each shape.
FEW_LEADS = st.tuples(*[st.sampled_from([(), (2,), (3, 2)])] * 3)


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=100, deadline=None, derandomize=True)
@given(leads=LEADS)
def test_numpy_maps_broadcast_or_are_refused(name, leads):
  check_broadcasting(name, leads, np.asarray, np.ndarray | np.generic)


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(leads=FEW_LEADS)
def test_jax_maps_broadcast_or_are_refused(name, leads):
  check_broadcasting(name, leads, jnp.asarray, jax.Array)


def check_broadcasting(name, leads, convert, kind):
  shapes = [(*lead, *SIZE) for lead in leads][: 1 + len(FUNCTIONS[name][1])]
  arrays = arguments(name, shapes)
  converted = [convert(x) for x in arrays]
  try:
    whole = np.broadcast_shapes(*shapes)
  except ValueError:
    with pytest.raises(UserError, match=r"^The maps prediction .* do not fit each other: .*\.$"):
      compute(name, converted)
    return
  result = compute(name, converted)
  assert isinstance(result, kind) and result.shape == whole[:-2]
  expanded = [np.broadcast_to(x, whole).reshape(-1, *SIZE) for x in arrays]
  singles = [compute(name, list(maps)) for maps in zip(*expanded)]
  np.testing.assert_allclose(np.ravel(result), singles, rtol=1e-5, atol=1e-6)
  assert not any(value > 1 for value in singles if "auc" in name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_empty_batch_has_no_values(kind, name):
  arrays = [KINDS[kind](x) for x in arguments(name, [(0, *SIZE)] * 3)]
  assert compute(name, arrays).shape == (0,)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(exponent=st.floats(-36, 36), seed=st.integers(0, 5))
def test_the_scale_of_a_map_does_not_matter(kind, name, exponent, seed):
  arrays = arguments(name, [SIZE] * 3, seed)
  factor = np.float32(10.0**exponent)
  for scaled in range(len(arrays)):
    if arrays[scaled].dtype != bool:
      changed = [x * factor if i == scaled else x for i, x in enumerate(arrays)]
      np.testing.assert_allclose(
        compute(name, [KINDS[kind](x) for x in changed]),
        compute(name, arrays),
        rtol=2e-4,
        atol=1e-5,
      )


@pytest.mark.parametrize("factor", [1e-19, 1e19, 1e-30, 1e30])
@pytest.mark.parametrize("metric", metrics.TRAINING, ids=lambda metric: metric.key)
def test_gradients_of_maps_of_any_scale(metric, factor):
  maps = {
    "density": jnp.asarray(random_map("density", SIZE, 1)),
    "fixations": jnp.asarray(random_map("fixations", SIZE, 2)),
  }
  prediction = jnp.asarray(random_map("prediction", SIZE, 3))
  gradient = jax.grad(lambda x: metric(x, maps))
  expected = gradient(prediction)
  found = gradient(prediction * np.float32(factor)) * np.float32(factor)
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_that_are_not_finite_make_the_metric_nan(kind, name, bad):
  arrays = arguments(name, [(3, *SIZE)] * 3)
  whole = compute(name, [KINDS[kind](x) for x in arrays])
  for changed in range(len(arrays)):
    for where in ((1, 2, 3), 1):
      copies = [x.astype(np.float32) for x in arrays]
      copies[changed][where] = bad
      result = compute(name, [KINDS[kind](x) for x in copies])
      expected = np.array(whole)
      expected[1] = np.nan
      np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_lists_and_tensors_work(name):
  arrays = arguments(name, [(2, *SIZE)] * 3)
  expected = compute(name, arrays)
  for convert in (lambda x: x.tolist(), torch.from_numpy, lambda x: torch.from_numpy(x).int()):
    for changed in range(len(arrays)):
      copies = [convert(x) if i == changed else x for i, x in enumerate(arrays)]
      np.testing.assert_allclose(compute(name, copies), expected, rtol=1e-5)
  everything = compute(name, [x.tolist() for x in arrays])
  assert isinstance(everything, np.ndarray)
  np.testing.assert_allclose(everything, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truth_follows_the_kind_of_the_prediction(kind):
  other = KINDS["jax" if kind == "numpy" else "numpy"]
  for name in FUNCTIONS:
    prediction, *truths = arguments(name, [(2, *SIZE)] * 3)
    result = compute(name, [KINDS[kind](prediction), *map(other, truths)])
    assert isinstance(result, jax.Array if kind == "jax" else np.ndarray)


NO_MAPS = {
  "a generator": (
    lambda: (row for row in np.ones(SIZE)),
    "is a generator: give an array, or a list",
  ),
  "an iterator": (lambda: map(list, np.ones(SIZE)), "is a map: give an array, or a list"),
  "a ragged list": (lambda: [[1, 2], [3]], "is a list that NumPy cannot read"),
  "a tensor with a gradient": (
    lambda: torch.ones(SIZE, requires_grad=True),
    r"is a Tensor that NumPy cannot read .*x\.detach\(\)\.cpu\(\)\.numpy\(\)",
  ),
  "text": (lambda: "map.png", "holds <U7: maps must be numbers"),
  "objects": (lambda: np.full(SIZE, None), "holds object: maps must be numbers"),
  "complex numbers": (lambda: np.ones(SIZE, complex), "holds complex128: maps must be numbers"),
  "a row": (lambda: np.ones(7), r"has the shape \[7\]: maps must be \[h, w\] or \[b, h, w\]"),
  "a number": (lambda: 1.0, r"has the shape \[\]: maps must be"),
  "no pixels": (lambda: np.ones((0, 7)), r"has the shape \[0, 7\]: maps must be"),
}


@pytest.mark.parametrize("what", NO_MAPS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_no_map_gets_one_sentence(name, what):
  make, message = NO_MAPS[what]
  arrays = arguments(name, [SIZE] * 3)
  for changed, title in enumerate(("prediction", *FUNCTIONS[name][1])):
    with pytest.raises(UserError, match=rf"^{title} {message}.*\.$"):
      compute(name, [make() if i == changed else x for i, x in enumerate(arrays)])


def test_resizing_lists_and_generators():
  maps = random_map("prediction", (2, *SIZE), 0)
  np.testing.assert_array_equal(
    metrics.to_size(maps.tolist(), (4, 6)), metrics.to_size(maps, (4, 6))
  )
  with pytest.raises(UserError, match="prediction is a generator"):
    metrics.to_size((row for row in maps), (4, 6))


def test_one_fixation_map_of_a_batch():
  """The case that once gave an AUC above 1."""
  prediction, fixations = np.random.default_rng(0).random((3, 8, 9)), np.zeros((8, 9), bool)
  fixations[2:4, 3:5] = True
  values = metrics.auc_judd(prediction, fixations)
  assert values.tolist() == [metrics.auc_judd(p, fixations) for p in prediction]
