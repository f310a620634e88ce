"""Makes an optax optimizer from a recipe's numbers."""

import re
from collections.abc import Callable
from typing import Any

import jax
import optax
import optax.contrib
from jax.typing import ArrayLike
from ml_collections import ConfigDict

from jaxsal.errors import UserError


def make_schedule(config: ConfigDict, steps: int) -> optax.Schedule:
  """Returns the learning rate as a function of the step.

  Args:
    config: the recipe's fields for the optimizer. `learning_rate` is the rate after the warm-up,
      and `warmup` the number of steps in which it rises from zero. `schedule` is `constant`,
      `drops` (multiplied by `drop_factor` at each of the steps `drops`), `cosine` (falling to zero
      at the last step) or `plateau` (constant here; see `make_optimizer`).
    steps: number of steps in the whole training.

  Raises:
    UserError: the schedule does not exist.
  """
  peak, warmup = config.learning_rate, config.warmup
  if config.schedule in ("constant", "plateau"):
    schedule = optax.constant_schedule(peak)
  elif config.schedule == "drops":
    drops = {int(step) - warmup: config.drop_factor for step in config.drops}
    schedule = optax.piecewise_constant_schedule(peak, drops)
  elif config.schedule == "cosine":
    schedule = optax.cosine_decay_schedule(peak, max(steps - warmup, 1))
  else:
    raise UserError(
      f"optimizer.schedule is {config.schedule!r}: it must be constant, drops, cosine or plateau."
    )
  if not warmup:
    return schedule
  return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), schedule], [warmup])


def make_optimizer(
  config: ConfigDict, schedule: optax.Schedule, *, flat: bool = True
) -> optax.GradientTransformationExtraArgs:
  """Returns the optimizer, whose update takes the loss as the keyword argument `value`.

  With the schedule `plateau`, every update is scaled by a factor that starts at 1. The training
  loss is averaged over each `plateau_steps` steps; after `patience` averages without a new minimum
  the factor is multiplied by `drop_factor`.

  Args:
    config: the recipe's fields for the optimizer. `name` is `adam` or `sgd`; `momentum` is for sgd;
      `weight_decay` is added to the gradient as PyTorch does. `multipliers` is a sequence of
      (regular expression, factor) pairs: the first whose expression is found in a parameter's path,
      such as `encoder/conv_1a/conv_s/kernel`, scales that parameter's rate.
    schedule: learning rate, as returned by `make_schedule`.
    flat: whether all parameters with one rate are updated as one vector. A step then has some
      thousand operations fewer, which take longer to trace, compile and load than to run. False
      keeps an array for each parameter, which can be divided among devices.

  Raises:
    UserError: the optimizer does not exist.
  """

  def group(factor: float) -> optax.GradientTransformation:
    def rate(step: ArrayLike) -> ArrayLike:
      return factor * schedule(step)

    if config.name == "adam":
      rule = optax.adam(rate)
    elif config.name == "sgd":
      rule = optax.sgd(rate, momentum=config.momentum or None)
    else:
      raise UserError(f"optimizer.name is {config.name!r}: it must be adam or sgd.")
    decay = [optax.add_decayed_weights(config.weight_decay)] if config.weight_decay else []
    rule = optax.chain(*decay, rule)
    return _flat(rule) if flat else rule

  plateau = []
  if config.schedule == "plateau":
    plateau = [
      optax.contrib.reduce_on_plateau(
        factor=config.drop_factor,
        patience=config.patience,
        accumulation_size=config.plateau_steps,
      )
    ]
  return optax.with_extra_args_support(optax.chain(_grouped(config, group), *plateau))


def plateau_factor(opt_state: optax.OptState) -> jax.Array | float:
  """Returns the current factor of the schedule `plateau`; 1 with other schedules."""
  is_plateau = lambda x: isinstance(x, optax.contrib.ReduceLROnPlateauState)  # noqa: E731
  states = filter(is_plateau, jax.tree.leaves(opt_state, is_leaf=is_plateau))
  return next((state.scale for state in states), 1.0)


def _grouped(
  config: ConfigDict, group: Callable[[float], optax.GradientTransformation]
) -> optax.GradientTransformation:
  """Returns an optimizer that applies `group(factor)` to the parameters with that factor."""
  multipliers = [(pattern, float(factor)) for pattern, factor in config.multipliers]
  if not multipliers:
    return group(1.0)

  def labels(params: Any) -> Any:
    def label(path: tuple[Any, ...], _: Any) -> str:
      name = "/".join(str(k.key) for k in path)
      factor = next((f for pattern, f in multipliers if re.search(pattern, name)), 1.0)
      return f"x{factor}"

    return jax.tree_util.tree_map_with_path(label, params)

  factors = {1.0, *(factor for _, factor in multipliers)}
  return optax.partition({f"x{factor}": group(factor) for factor in factors}, labels)


def _flat(rule: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
  """Applies `optax.flatten`, which fails on a group without parameters, to any group."""
  flat = optax.flatten(rule)

  def init(params: Any) -> optax.OptState:
    return flat.init(params) if jax.tree.leaves(params) else optax.EmptyState()

  def update(updates: Any, state: optax.OptState, params: Any = None, **extra: Any) -> Any:
    if not jax.tree.leaves(updates):
      return updates, state
    return flat.update(updates, state, params, **extra)

  return optax.GradientTransformationExtraArgs(init, update)
