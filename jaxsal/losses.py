"""Training losses: weighted sums of KL, -CC, -NSS and -SIM, per map, masked, in float32.

TSFP-Net trains with KL + 0.5 (-CC) + 0.1 (-NSS) (section 3.2), which is `{"kl": 1, "cc": 0.5,
"nss": 0.1}` here: a weight says how much a term matters, its sign follows from the term.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxsal import metrics
from jaxsal.errors import UserError

# Terms are metrics: +1 where a low value is good, -1 where a high one is.
SIGNS = {"kl": 1.0, "cc": -1.0, "nss": -1.0, "sim": -1.0}


def check_weights(weights: Mapping[str, float]) -> dict[str, float]:
  """The weights as a plain dict; raises UserError for unknown terms or none at all."""
  unknown = sorted(set(weights) - set(SIGNS))
  if unknown or not weights:
    raise UserError(
      f"loss terms {unknown or '{}'}: give weights for some of {', '.join(SIGNS)}, such as "
      "{'kl': 1.0, 'cc': 0.5, 'nss': 0.1}"
    )
  return {term: float(weight) for term, weight in weights.items()}


def saliency_loss(
  prediction: jax.Array, batch: Mapping[str, jax.Array], weights: Mapping[str, float]
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Mean over the maps of the weighted sum of terms.

  Args:
    prediction: maps [b, h, w], float32.
    batch: `density` [b, h, w], `fixations` [b, h, w] binary, `mask` [b], 0 for rows to leave out.
    weights: of the terms, from `check_weights`.

  Returns:
    The loss, and each term's unweighted mean metric (CC itself, not -CC). A term not defined
    for a map, such as NSS without fixations, counts as 0 there.
  """
  maps = jnp.maximum(batch["mask"].sum(), 1)
  means = {}
  for term in weights:
    metric, truth = metrics.METRICS[term]
    # Rows without a value may hold anything; the metrics keep their gradients finite.
    value = metric(prediction.astype(jnp.float32), batch[truth])
    value = jnp.where((batch["mask"] > 0) & ~jnp.isnan(value), value, 0)
    means[term] = value.sum() / maps
  loss = sum(SIGNS[term] * weight * means[term] for term, weight in weights.items())
  return loss, means
