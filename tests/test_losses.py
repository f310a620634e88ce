"""Compares losses and their gradients with the reference implementation (float64)."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsal import losses
from jaxsal.errors import UserError

GOLDEN = pathlib.Path(__file__).parent / "golden" / "losses"


@pytest.fixture(scope="module")
def case():
  return dict(np.load(GOLDEN / "case.npz")), json.loads((GOLDEN / "expected.json").read_text())


@pytest.mark.parametrize("term", ["kl", "cc", "nss", "sim"])
def test_value_and_gradient(case, term):
  arrays, expected = case
  batch = {
    "density": jnp.asarray(arrays["density"]),
    "fixations": jnp.asarray(arrays["fixations"]),
    "mask": jnp.ones(3, jnp.float32),
  }

  def f(p):
    return losses.saliency_loss(p, batch, {term: 1.0})[1][term]

  value, gradient = jax.value_and_grad(f)(jnp.asarray(arrays["prediction"]))
  # Sums in float32 over 5376 pixels differ by 1e-5 of the value and of the largest gradient.
  np.testing.assert_allclose(value, expected[term], rtol=1e-5, atol=1e-6)
  scale = np.abs(arrays[f"grad/{term}"]).max()
  np.testing.assert_allclose(gradient, arrays[f"grad/{term}"], rtol=0, atol=1e-5 * scale)


def _batch(mask):
  rng = np.random.default_rng(0)
  n = len(mask)
  return {
    "density": jnp.asarray(rng.random((n, 8, 12)), jnp.float32),
    "fixations": jnp.asarray(rng.random((n, 8, 12)) < 0.1),
    "mask": jnp.asarray(mask, jnp.float32),
  }, jnp.asarray(rng.random((n, 8, 12)), jnp.float32)


WEIGHTS = {"kl": 1.0, "cc": 0.5, "nss": 0.1}


def test_weighted_sum_has_the_papers_signs():
  batch, p = _batch([1, 1])
  loss, means = losses.saliency_loss(p, batch, WEIGHTS)
  np.testing.assert_allclose(loss, means["kl"] - 0.5 * means["cc"] - 0.1 * means["nss"], rtol=1e-6)


def test_masked_rows_do_not_count():
  batch, p = _batch([1, 1, 0])
  whole, _ = losses.saliency_loss(p, batch, WEIGHTS)
  batch["density"] = batch["density"].at[2].set(jnp.nan)

  def f(p):
    return losses.saliency_loss(p, batch, WEIGHTS)[0]

  np.testing.assert_array_equal(f(p), whole)
  two = {k: v[:2] for k, v in batch.items()}
  np.testing.assert_allclose(whole, losses.saliency_loss(p[:2], two, WEIGHTS)[0], rtol=1e-6)


def test_rows_without_truth_give_finite_gradients():
  batch, p = _batch([1, 1])
  batch["density"] = batch["density"].at[1].set(0)
  batch["fixations"] = batch["fixations"].at[1].set(False)
  loss, gradient = jax.value_and_grad(lambda p: losses.saliency_loss(p, batch, WEIGHTS)[0])(p)
  assert np.isfinite(loss) and np.isfinite(gradient).all()
  assert not np.asarray(gradient[1]).any() and np.asarray(gradient[0]).any()


def test_constant_prediction_gives_finite_gradients():
  batch, p = _batch([1])
  gradient = jax.grad(lambda p: losses.saliency_loss(p, batch, WEIGHTS)[0])(jnp.full_like(p, 0.5))
  assert np.isfinite(gradient).all()


def test_unknown_terms_are_named():
  with pytest.raises(UserError, match=r"\['auc'\].*nss, cc, sim, kl"):
    losses.check_weights({"auc": 1.0})
