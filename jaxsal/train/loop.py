"""The trainer, from top to bottom: configuration, state, data, steps, loop, report."""

import contextlib
import dataclasses
import json
import math
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from jaxsal import convert, losses, models, runtime
from jaxsal.console import progress, say, track
from jaxsal.data import pipeline, sources
from jaxsal.data.windows import target_position
from jaxsal.errors import UserError
from jaxsal.evaluation import bounds
from jaxsal.tfds_builders import build
from jaxsal.train import report, sharding
from jaxsal.train.checkpoints import Checkpoints
from jaxsal.train.interrupt import catch_signals
from jaxsal.train.log import Log
from jaxsal.train.optimizer import make_optimizer, make_schedule
from jaxsal.train.pace import Pace
from jaxsal.train.state import TrainState, new_state, split
from jaxsal.train.step import make_eval_step, make_train_step, means
from jaxsal.train.workdir import open_workdir

# A loader is reported as too slow if the devices wait for it for more than this share of the time.
_STARVED = 0.2


class Interrupted(Exception):
  """A signal ended the training, after the state was saved.

  Attributes:
    signal: number of the signal.
  """

  def __init__(self, number: int) -> None:
    super().__init__(f"signal {number}")
    self.signal = number


def train(config: ConfigDict, workdir: str | pathlib.Path) -> dict[str, Any]:
  """Trains the network that `config` describes, or continues an interrupted training of it.

  The workdir gets `config.json`, `checkpoints/` (the latest states), `model/` (the weights with the
  best validation NSS so far, for `jaxsal.models.load`), `log.jsonl` and `tensorboard/`, and at the
  end `curves.png`, `contact_sheet.png` and `summary.json`. Call the function again with the same
  arguments to continue.

  Args:
    config: configuration as a recipe such as `configs/tsfp.py` returns it; it is not changed.
    workdir: folder that belongs to this training alone.

  Returns:
    The content of `summary.json`.

  Raises:
    UserError: the configuration cannot work, data is missing, a loss is not finite, or a step does
      not fit in the devices' memory.
    Interrupted: SIGTERM or SIGINT arrived, and the state was saved.
  """
  # --- Configuration: every field is checked here and becomes an object.
  batch_size, devices = config.data.batch_size, jax.device_count()
  for name, value, divisor, what in (
    ("data.batch_size", batch_size, config.accumulate * devices, "accumulate x devices"),
    ("eval.batch_size", config.eval.batch_size, devices, "devices"),
  ):
    if value < 1 or value % divisor:
      raise UserError(f"{name} is {value}: it must be a positive multiple of {divisor} ({what}).")
  loss_weights = losses.check_weights(config.loss)
  schedule = make_schedule(config.optimizer, config.steps)
  tx = make_optimizer(config.optimizer, schedule, flat=not config.sharding)
  workdir = pathlib.Path(workdir).expanduser().absolute()
  # A checkpoint replaces the weights to start from, so these may have been deleted since.
  model = _make_model(config, start_weights=not Checkpoints.exist(workdir / "checkpoints"))
  data = config.data
  mixture = _check_mixture(data.mixture)
  main_process = jax.process_index() == 0
  if main_process:
    for name in {data.dataset, *mixture}:
      if build.is_simulated(name):  # needs no download
        build.prepare(name, data.data_dir)
  multihost_utils.sync_global_devices("data")
  train_split, validation_split = (
    sources.open_split(data.dataset, name, data.data_dir)
    for name in (data.train_split, data.validation_split)
  )
  train_splits = [
    sources.open_split(name, data.train_split, data.data_dir) for name in mixture
  ] or [train_split]
  trained_on = " + ".join(split.dataset for split in train_splits)
  if model.needs_flow:
    method = _flow_method([*train_splits, validation_split])
    model.config = dataclasses.replace(model.config, flow=method)
  if main_process:
    open_workdir(workdir, config)
  multihost_utils.sync_global_devices("workdir")

  # --- State: shapes first, then the placement of each array, then the arrays.
  mesh = sharding.make_mesh()
  on_data, replicated = sharding.batch_sharding(mesh), NamedSharding(mesh, PartitionSpec())
  network, params, model_state = split(model)
  init = lambda p, s: new_state(p, s, tx)  # noqa: E731
  abstract = jax.eval_shape(init, params, model_state)
  shardings = sharding.state_shardings(mesh, abstract, config.sharding)
  abstract = jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), abstract, shardings
  )
  checkpoints = Checkpoints(workdir / "checkpoints", config.checkpoint.keep)
  restored = checkpoints.restore(abstract)
  if restored is None:
    state = jax.jit(init, out_shardings=shardings)(params, model_state)
    first_step, batches_drawn, best = 0, 0, None
  else:
    state, batches_drawn, best = restored.state, restored.batches, restored.metadata["best"]
    first_step = int(jax.device_get(state.step))
  megabytes = sum(x.nbytes for x in jax.tree.leaves(params)) / 1e6
  say(
    f"{config.model.name}, {megabytes:.1f} MB of parameters, on {devices} x "
    f"{jax.devices()[0].device_kind}\n"
    + "".join(
      f"{split.dataset}: {len(split.videos)} videos for training\n" for split in train_splits
    )
    + f"{validation_split.dataset}: {len(validation_split.videos)} videos for validation\n"
    + f"{workdir}"
    + (f": continuing after step {first_step}" if first_step else "")
  )

  # --- Data: the windows, and the share of them that this process loads.
  about_clips = ("length", "size", "target", "padding", "samples")
  clip = {name: getattr(model, name) for name in about_clips} | {
    "flow": model.needs_flow,
    "workers": config.data.workers,
    "process_index": jax.process_index(),
    "process_count": jax.process_count(),
  }
  train_batches = pipeline.train_batches(
    train_splits,
    weights=tuple(mixture.values()) or None,
    batch_size=batch_size // jax.process_count(),
    seed=config.seed,
    start=batches_drawn,
    flip=config.data.flip,
    **clip,
  )
  validation_batches = pipeline.eval_batches(
    validation_split,
    batch_size=config.eval.batch_size // jax.process_count(),
    first_frames=config.eval.first_frames or None,
    stride=config.eval.stride,
    **clip,
  )

  # --- Steps.
  train_step = runtime.frugal(
    jax.jit(
      make_train_step(network, tx, schedule, loss_weights, config.accumulate),
      donate_argnums=0,
      out_shardings=(shardings, replicated),
    )
  )
  eval_step = runtime.frugal(jax.jit(make_eval_step(network), out_shardings=replicated))
  add = jax.jit(lambda x, y: jax.tree.map(jnp.add, x, y))
  gather = jax.jit(lambda x: x, out_shardings=replicated)

  def validate(state: TrainState) -> dict[str, float]:
    totals = None
    batches = sharding.to_devices(validation_batches, on_data)
    for batch in track(batches, "validating", len(validation_batches), "batch"):
      sums, _ = eval_step(state.params, state.model_state, batch)
      jax.block_until_ready(totals)  # batches of a loop further ahead would fill the memory
      totals = sums if totals is None else add(totals, sums)
    return means(jax.device_get(totals))

  def save_model(state: TrainState, step: int, scores: dict[str, float]) -> None:
    arrays = jax.device_get(gather((state.params, state.model_state)))
    if main_process:
      origin = {"dataset": trained_on, "step": step, "validation": scores}
      models.save(network.restore(*arrays), workdir / "model", origin)

  # --- The loop. The guard forbids every transfer between host and devices that is not explicit.
  log = Log(workdir, resumed_at=first_step, active=main_process)
  pending: list[dict[str, jax.Array]] = []  # scalars since the last log row, still on the devices
  starved = False
  with (
    runtime.advice(_too_large(config)),
    contextlib.closing(checkpoints),
    contextlib.closing(log),
    contextlib.closing(train_batches),
    contextlib.closing(Pace()) as pace,
    catch_signals() as interruption,
    progress("training", config.steps, "step", start=first_step) as bar,
    jax.transfer_guard("disallow"),
  ):
    batches = iter(sharding.to_devices(train_batches, on_data))
    if first_step < config.steps:
      bar.print("compiling the train step: up to a few minutes the first time, then from the cache")
    for step in range(first_step + 1, config.steps + 1):
      batch = pace.draw(batches)
      state, scalars = train_step(state, batch)
      pace.started(scalars)
      pending.append(scalars)
      last, signal = step == config.steps, interruption.signal
      validation_due = last or step % config.eval.every == 0
      checkpoint_due = last or signal is not None or step % config.checkpoint.every == 0

      if step % config.log_every == 0 or validation_due or checkpoint_due:
        rows = jax.device_get(pending)
        _check_finite(rows, step, checkpoints.latest_step())
        row = _average(rows) | pace.rates(batch_size)
        row["loader_clips_per_second"] = train_batches.clips_per_second() * jax.process_count()
        log.write(step, "train", row)
        if row["data_wait"] > _STARVED and not starved and step > first_step + len(rows):
          bar.print(_starvation(row, data.workers, model.size))
          starved = True  # reported once, and not for the first row, in which the loader starts
        text = f"loss {row['loss']:.3f}  lr {row['learning_rate']:.1e}"
        bar.advance(len(rows), f"{text}  {row['clips_per_second']:.3g} clips/s")
        if validation_due:
          scores = validate(state)
          log.write(step, "validation", scores)
          is_best = best is None or _better(scores["nss"], best["scores"]["nss"])
          if is_best:
            best = {"step": step, "scores": scores}
            save_model(state, step, scores)
          text = "  ".join(f"{name.upper()} {score:.3f}" for name, score in scores.items())
          bar.print(f"step {step}: validation {text}{'  (best so far)' if is_best else ''}")
        if checkpoint_due:
          metadata = {"model": config.model.to_dict(), "best": best}
          checkpoints.save(step, state, batches_drawn + step - first_step, metadata)
        pending = []
        pace.restart()
      if signal is not None and not last:
        checkpoints.wait()
        bar.print(f"stopped and saved at step {step}: the same command continues from there")
        raise Interrupted(signal)

  # --- Report: scores of the best weights on the validation frames, with floor and ceiling.
  assert best is not None  # the last step is validated
  _, *weights = split(models.load(workdir / "model"))
  weights = jax.device_put(weights, replicated)

  def predict(batch: pipeline.Batch) -> np.ndarray:
    (on_devices,) = sharding.to_devices([batch], on_data)
    _, maps = eval_step(*weights, on_devices)
    first = jax.process_index() * len(batch["mask"])
    return np.asarray(maps)[first : first + len(batch["mask"])]

  return report.write(
    workdir,
    {
      "model": json.loads(config.model.to_json()),
      "dataset": trained_on,
      "step": best["step"],
    },
    {"model": predict} | bounds.predictors(train_split, validation_split, model.size),
    validation_batches,
    target=target_position(model.length, model.target),
  )


def _check_mixture(mixture: Iterable[tuple[str, float]]) -> dict[str, float]:
  """Returns data set -> weight; raises UserError unless every weight is a positive number."""
  for row in mixture:
    if len(row) != 2 or not isinstance(row[0], str) or not 0 < row[1] < math.inf:
      raise UserError(
        f"data.mixture has {row!r}: it must be pairs of a data set and a weight above 0, as in "
        "(('dhf1k/192x352', 2.0), ('ucf/192x352', 1.0))."
      )
  return dict(mixture)


def _make_model(config: ConfigDict, *, start_weights: bool = True) -> models.SaliencyModel[Any]:
  """Creates the network and fills it with the weights to start from.

  Args:
    config: configuration of the training.
    start_weights: whether weights are loaded where `config` names them; otherwise all are random.
  """
  if config.init_from and config.encoder_weights:
    raise UserError(
      "init_from and encoder_weights are both set: leave out encoder_weights, because init_from"
      " has an encoder already."
    )
  rngs = nnx.Rngs(jax.random.key(config.seed))
  model = models.create(**config.model.to_dict(), rngs=rngs)
  if not isinstance(model, models.SaliencyModel):
    raise UserError(f"{config.model.name} predicts no saliency maps: it cannot be trained here.")
  if not start_weights:
    return model
  if config.encoder_weights:
    if not model.encoders:
      raise UserError(f"encoder_weights is set, but {config.model.name} has no encoder.")
    for encoder in model.encoders:
      convert.encoder_from_torch(encoder, config.encoder_weights)
  for folder in filter(None, (config.init_from, config.sound_from)):
    models.copy_weights(folder, model)
  if config.temporal_from:
    temporal = getattr(model, "temporal", None)
    if temporal is None:
      raise UserError(f"temporal_from is set, but {config.model.name} has no temporal stream.")
    models.copy_weights(config.temporal_from, temporal)
  return model


def _flow_method(splits: Iterable[sources.Split]) -> str:
  """Returns the method of the splits' optical flow; raises UserError if they differ in it."""
  methods = {split.dataset: split.flow_method for split in splits}
  if len(set(methods.values())) > 1:
    raise UserError(
      "The optical flow of the data sets was computed by different methods; prepare all sets with"
      " one --flow-from:\n  "
      + "\n  ".join(f"{dataset}: {method}" for dataset, method in methods.items())
    )
  return next(iter(methods.values()))


def _starvation(row: Mapping[str, float], workers: int, size: tuple[int, int]) -> str:
  """Returns the advice for a training whose devices wait for the loader.

  Args:
    row: row of the log with the rates of loader and devices.
    workers: number of processes that load clips.
    size: height and width of the network's frames.
  """
  return (
    f"the devices wait {row['data_wait']:.0%} of the time: the loader gives "
    f"{row['clips_per_second']:.3g} clips/s, the step could take "
    f"{row['step_clips_per_second']:.3g}. Raise config.data.workers, now {workers}, or train "
    f"on a set prepared at {size[0]}x{size[1]}."
  )


def _too_large(config: ConfigDict) -> str:
  """Returns the advice for a training whose step does not fit in the devices' memory."""
  return (
    f"The memory of {jax.device_count()} x {jax.devices()[0].device_kind} is not enough. Train in "
    f"a new --workdir with a larger accumulate (it was {config.accumulate}), which computes a "
    f"batch in more parts, a smaller data.batch_size ({config.data.batch_size}) or eval.batch_size "
    f"({config.eval.batch_size}), or --config.model.dtype=bfloat16."
  )


def _average(rows: list[dict[str, np.ndarray]]) -> dict[str, float]:
  """Returns the mean of each scalar over several steps."""
  return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _better(score: float, best: float) -> bool:
  """Returns whether a score is above the best one so far; any score is above NaN."""
  return score > best or (math.isnan(best) and not math.isnan(score))


def _check_finite(rows: list[dict[str, np.ndarray]], step: int, good: int | None) -> None:
  """Raises UserError if a loss or gradient of the latest steps is not finite.

  The trainer calls this before it saves anything, so that all checkpoints are from good steps.

  Args:
    rows: scalars of the latest steps, in their order.
    step: number of the last of these steps.
    good: step of the latest checkpoint, if any.
  """
  for number, row in enumerate(rows, start=step - len(rows) + 1):
    for name in ("loss", "gradient_norm"):
      if not np.isfinite(row[name]):
        kept = f"the checkpoint of step {good} is kept" if good else "no checkpoint was written yet"
        raise UserError(
          f"The {name.replace('_', ' ')} is {row[name]} at step {number}; {kept}. Train with a "
          f"lower optimizer.learning_rate (it was {float(row['learning_rate']):.3g} there) in a "
          "new --workdir, or look for damaged frames in the data."
        )
