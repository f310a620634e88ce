"""One step of training and one of validation: pure functions of state and batch."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxsal import losses
from jaxsal.metrics import TRAINING
from jaxsal.train.optimizer import plateau_factor
from jaxsal.train.state import Batch, Network, TrainState, Tree

Scalars = dict[str, jax.Array]


def make_train_step(
  network: Network,
  tx: optax.GradientTransformationExtraArgs,
  schedule: optax.Schedule,
  loss_weights: Mapping[str, float],
  accumulate: int,
) -> Callable[[TrainState, Batch], tuple[TrainState, Scalars]]:
  """Makes the function of a state and a batch that returns the next state and scalars to log.

  With `accumulate` > 1 the batch is divided into this number of parts of equal size, which are
  computed one after the other, and their gradients are added: the gradient of the whole batch in
  the memory of one part. BatchNorm sees one part at a time, as in the papers' PyTorch code.

  Args:
    network: structure of the network.
    tx: optimiser, which gets the loss as `value`.
    schedule: learning rate of a step, for the log.
    loss_weights: weights of the loss's terms, from `jaxsal.losses.check_weights`.
    accumulate: number of parts.
  """

  def loss_fn(params, model_state, part, maps):
    prediction, model_state = network.apply(params, model_state, part)
    loss, terms = losses.saliency_loss(prediction, part, loss_weights)
    share = part["mask"].sum() / maps  # among all valid maps of the batch, so that parts add up
    scaled = jax.tree.map(lambda x: x * share, {"loss": loss, **terms})
    return scaled["loss"], (model_state, scaled)

  def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
    gradient_fn = jax.grad(loss_fn, has_aux=True)
    maps = jnp.maximum(batch["mask"].sum(), 1)
    if accumulate == 1:
      grads, (model_state, scalars) = gradient_fn(state.params, state.model_state, batch, maps)
    else:

      def body(carry, part):
        grads, scalars, model_state = carry
        new, (model_state, more) = gradient_fn(state.params, model_state, part, maps)
        return (*jax.tree.map(jnp.add, (grads, scalars), (new, more)), model_state), None

      parts = jax.tree.map(lambda x: _parts(x, accumulate), dict(batch))
      zeros = (
        jax.tree.map(jnp.zeros_like, state.params),
        dict.fromkeys(["loss", *loss_weights], jnp.zeros(())),
      )
      carry, _ = jax.lax.scan(body, (*zeros, state.model_state), parts)
      grads, scalars, model_state = carry
    with jax.numpy_dtype_promotion("standard"):  # optax mixes integers and floats
      updates, opt_state = tx.update(grads, state.opt_state, state.params, value=scalars["loss"])
      params: Any = optax.apply_updates(state.params, updates)
      learning_rate = jnp.asarray(schedule(state.step) * plateau_factor(state.opt_state))
    scalars |= {
      "learning_rate": learning_rate.astype(jnp.float32),
      "gradient_norm": _norm(grads),
      "parameter_norm": _norm(params),
      "update_norm": _norm(updates),
    }
    return TrainState(state.step + 1, params, model_state, opt_state), scalars

  return train_step


def make_eval_step(
  network: Network,
) -> Callable[[Tree, Tree, Batch], tuple[Scalars, jax.Array]]:
  """Makes the function of parameters, model state and batch that validates the batch.

  It returns the batch's `sums_and_counts` and the predicted maps [b, h, w].
  """

  def eval_step(params: Tree, model_state: Tree, batch: Batch) -> tuple[Scalars, jax.Array]:
    maps = network.predict(params, model_state, batch)
    return sums_and_counts(maps, batch), maps

  return eval_step


def sums_and_counts(maps: jax.Array, batch: Batch) -> Scalars:
  """Computes `KEY/sum` and `KEY/count` of each training metric over a batch.

  Only rows with mask 1 for which the metric is defined count.
  """
  result = {}
  for metric in TRAINING:
    value = metric(maps, batch)
    valid = (batch["mask"] > 0) & ~jnp.isnan(value)
    result[f"{metric.key}/sum"] = jnp.where(valid, value, 0).sum()
    result[f"{metric.key}/count"] = valid.sum().astype(jnp.float32)
  return result


def means(totals: Mapping[str, np.ndarray]) -> dict[str, float]:
  """Divides sums by counts, over all batches, to each metric's mean; NaN where nothing counts."""
  result = {}
  for key in (metric.key for metric in TRAINING):
    total, count = float(totals[f"{key}/sum"]), float(totals[f"{key}/count"])
    result[key] = total / count if count else math.nan
  return result


def _norm(tree: Any) -> jax.Array:
  """Euclidean norm of all leaves as one sum; hundreds of sums would take long to compile."""
  return jnp.linalg.norm(jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)]))


def _parts(x: jax.Array, count: int) -> jax.Array:
  """Reshapes [b, ...] to [count, b / count, ...]; each device's rows are dealt out to all parts."""
  return jnp.swapaxes(x.reshape(x.shape[0] // count, count, *x.shape[1:]), 0, 1)
