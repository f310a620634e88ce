"""Training losses: weighted sums of KL, -CC, -NSS and -SIM, per map, masked, in float32.

TSFP-Net trains with KL + 0.5 (-CC) + 0.1 (-NSS) (section 3.2), which is `{"kl": 1, "cc": 0.5,
"nss": 0.1}` here: a weight says how much a term matters, and the metric decides its sign.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxsal import metrics
from jaxsal.errors import UserError

_TERMS = [metric.key for metric in metrics.TRAINING]


def check_weights(weights: Mapping[str, float]) -> dict[str, float]:
  """Returns the weights of a loss's terms as a plain dict.

  Raises:
    UserError: a term is unknown, or there are none.
  """
  unknown = sorted(set(weights) - set(_TERMS))
  if unknown or not weights:
    raise UserError(
      f"Loss terms {unknown or '{}'}: give weights for some of {', '.join(_TERMS)}, such as "
      "{'kl': 1.0, 'cc': 0.5, 'nss': 0.1}."
    )
  return {term: float(weight) for term, weight in weights.items()}


def saliency_loss(
  prediction: jax.Array, batch: Mapping[str, jax.Array], weights: Mapping[str, float]
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Computes the loss of a batch: the mean over its maps of the weighted sum of terms.

  Args:
    prediction: maps [b, h, w], float32.
    batch: `density` [b, h, w], `fixations` [b, h, w], binary, and `mask` [b], which is 0 for rows
      that do not count.
    weights: weights of the terms, from `check_weights`.

  Returns:
    The loss, and the unweighted mean metric of each term (CC itself, not -CC). A term that is
    undefined for a map, such as NSS without fixations, counts as 0 there.
  """
  maps = jnp.maximum(batch["mask"].sum(), 1)
  loss, means = jnp.zeros((), jnp.float32), {}
  for term, weight in weights.items():
    metric = metrics.METRICS[term]
    # Rows that do not count may hold anything; the metrics keep their gradients finite.
    value = metric(prediction.astype(jnp.float32), batch)
    value = jnp.where((batch["mask"] > 0) & ~jnp.isnan(value), value, 0)
    means[term] = value.sum() / maps
    loss += (-weight if metric.higher_is_better else weight) * means[term]
  return loss, means
