"""Metrics: how well a saliency map predicts where people looked.

The definitions are those of the MIT saliency benchmark, which Bylinskii et al. compare ("What do
different evaluation metrics tell us about saliency models?", TPAMI 2019). Every function takes maps
[h, w] or [b, h, w] of one size and returns one value per map, of shape [] or [b]. Axes before h and
w broadcast as in NumPy: one map of fixations [h, w] serves a batch of predictions [b, h, w], and
the other way round. `fixations` and `other` are true, or not 0, where somebody looked: a pixel
counts once. Predictions in float64 are computed in float64, all others in float32. NumPy arrays,
nested lists and tensors that NumPy can read give NumPy arrays. JAX arrays stay on the device, under
`jit` too, and under `grad` except for the AUCs. Maps that do not fit each other raise a UserError.

An undefined value is NaN, which a mean has to leave out and count. NSS, the AUCs and information
gain are undefined without a fixation; the shuffled AUC also without a fixation in the other map; CC
and SIM with a constant density; KL with a density of zeros; every metric if a value in one of its
maps is not finite. A constant prediction says nothing: NSS and CC are 0, the AUCs 0.5, and SIM and
information gain treat it as the uniform density. Leaving it out would flatter the model. The scale
of a prediction, a density or a baseline never matters.

`METRICS` is the table of all metrics, by key: what each is called, what it compares a prediction
with, which way is better, and what it means. Losses, training, evaluation and reports read it.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsal.arrays import as_array
from jaxsal.errors import UserError

Array = TypeVar("Array", np.ndarray, jax.Array)

# A NumPy or a JAX array in private functions, which compute with either through its namespace `xp`.
# Public functions say that the result is of the prediction's kind.
_Either = Any
_Sides = tuple[Literal["left", "right"], ...]

_EPSILON = 2.2204e-16  # MATLAB's eps
_AXES = (-2, -1)
_BINARY = ("fixations", "other")  # names of the truths that say where somebody looked
_THRESHOLDS = np.arange(1, 11) / 10  # of the shuffled AUC and of Borji's; the first, 0, is left out
# To rank fixated pixels on the device, all pixels are compared with 32 fixated values at a time.
# All pixels are sorted only if a map has more than 2048 fixated pixels, because sorting takes a CPU
# as long as thousands of comparisons. Under `vmap` both would be computed: pass batches instead.
_AT_A_TIME, _FEW = 32, 2048


def nss(prediction: Array, fixations: Array) -> Array:
  """Normalised scanpath saliency: mean of the standardised prediction over fixated pixels.

  The standard deviation is that of a sample (N - 1).
  """
  xp, prediction, fixations = _prepare(prediction, fixations=fixations)
  weight = fixations.astype(prediction.dtype)
  return _mean(_standardise(prediction, xp) * weight, weight, xp)


def cc(prediction: Array, density: Array) -> Array:
  """Pearson's correlation coefficient of the prediction and the density."""
  xp, prediction, density = _prepare(prediction, density=density)
  pixels = prediction.shape[-1] * prediction.shape[-2]
  product = _standardise(prediction, xp) * _standardise(density, xp)
  return xp.where(_constant(density), xp.nan, product.sum(_AXES) / (pixels - 1))


def sim(prediction: Array, density: Array) -> Array:
  """Similarity: the overlap of two maps, each scaled from 0 to 1 and then to a sum of 1."""
  xp, prediction, density = _prepare(prediction, density=density)
  shared = xp.minimum(_shares(prediction, xp), _shares(density, xp)).sum(_AXES)
  return xp.where(_constant(density), xp.nan, shared)


def kl(prediction: Array, density: Array) -> Array:
  """Kullback-Leibler divergence of the prediction from the density, each scaled to a sum of 1."""
  xp, prediction, density = _prepare(prediction, density=density)
  prediction, density = (_unit(x, xp) for x in (prediction, density))
  total = density.sum(_AXES)
  g = density / _positive(density.sum(_AXES, keepdims=True), xp)
  p = prediction / _positive(prediction.sum(_AXES, keepdims=True), xp)
  value = (g * xp.log(_EPSILON + g / (p + _EPSILON))).sum(_AXES)
  return xp.where(total > 0, value, xp.nan)


def information_gain(prediction: Array, fixations: Array, baseline: Array) -> Array:
  """Bits per fixation that a prediction gains over a baseline, such as centre bias.

  Both are scaled from 0 to 1 and then to a sum of 1.
  """
  xp, prediction, fixations, baseline = _prepare(prediction, fixations=fixations, baseline=baseline)
  weight = fixations.astype(prediction.dtype)
  ratio = (_EPSILON + _shares(prediction, xp)) / (_EPSILON + _shares(baseline, xp))
  return _mean(xp.log2(ratio) * weight, weight, xp)


def auc_judd(prediction: Array, fixations: Array) -> Array:
  """Area under the ROC curve whose thresholds are the values of the fixated pixels.

  At the i-th highest of these n values, i / n of the fixated pixels are hits, and all other pixels
  with at least that value are false alarms. Fixated pixels with equal values are taken one by one,
  so that ties count against the prediction; no jitter breaks them.
  """
  xp, prediction, fixations = _prepare(prediction, fixations=fixations)
  prediction, fixations = xp.broadcast_arrays(prediction, fixations)
  pixels = prediction.shape[-1] * prediction.shape[-2]
  count = fixations.sum(_AXES).astype(prediction.dtype)
  mean, last = _reached(prediction, fixations)
  # The area above the curve consists of n trapezoids of height 1 / n. Their sides are the false
  # alarms at two successive thresholds: the number of pixels that reach the i-th one, less i.
  above = mean - (count + 1) / 2 - (last - count) / (2 * xp.maximum(count, 1))
  value = 1 - above / xp.maximum(pixels - count, 1)
  return _defined_auc(value, prediction, (count > 0) & (count < pixels), xp)


def auc_shuffled(
  prediction: Array, fixations: Array, other: Array, *, exact: bool = False
) -> Array:
  """AUC whose negatives are fixated pixels of another map, so that centre bias alone gains nothing.

  The benchmark draws as many negatives as there are fixations, 100 times, and averages the AUCs.
  An AUC is linear in the share of each negative, so the mean over all possible draws, which the
  benchmark estimates, is the AUC with all of the other map's pixels. This function computes that
  AUC, without randomness.

  Args:
    prediction: maps [h, w] or [b, h, w].
    fixations: maps of the fixated pixels, the positives.
    other: maps of the pixels that negatives are drawn from, fixated in other frames.
    exact: whether every value of the prediction is a threshold. The default are the benchmark's
      thresholds 0, 0.1, ..., 1 on the prediction scaled from 0 to 1; they are coarse, and lower the
      result.
  """
  xp, prediction, fixations, other = _prepare(prediction, fixations=fixations, other=other)
  return _auc(prediction, fixations, other, exact, xp)


def auc_borji(prediction: Array, fixations: Array, *, exact: bool = False) -> Array:
  """AUC whose negatives are all pixels; the benchmark draws them uniformly.

  Computed like `auc_shuffled`, whose `exact` is explained there.
  """
  xp, prediction, fixations = _prepare(prediction, fixations=fixations)
  return _auc(prediction, fixations, xp.ones_like(fixations), exact, xp)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
  """A metric, and what tables and reports say about it.

  Attributes:
    key: name in Python, in `scores.json` and among the weights of a loss.
    title: abbreviation in print.
    name: full name in print.
    function: function of the prediction and of the maps that `truth` names, in that order.
    truth: names of the maps that a prediction is compared with: `density`, `fixations`, `other`
      (fixations of other frames), `baseline`.
    higher_is_better: whether better predictions have higher values.
    meaning: sentences that explain the values to the reader of a report.
  """

  key: str
  title: str
  name: str
  function: Callable[..., Any]
  truth: tuple[str, ...]
  higher_is_better: bool = True
  meaning: str

  def __call__(self, prediction: Array, maps: Mapping[str, Array]) -> Array:
    """Computes the metric of a prediction with the maps of a batch or frame that `truth` names."""
    return self.function(prediction, *(maps[name] for name in self.truth))


METRICS: dict[str, Metric] = {
  metric.key: metric
  for metric in (
    Metric(
      key="auc_judd",
      title="AUC-J",
      name="area under ROC, Judd",
      function=auc_judd,
      truth=("fixations",),
      meaning="How well the map separates fixated pixels from all others. 0.5 is chance, 1 is "
      "perfect. Only the order of the map's values counts.",
    ),
    Metric(
      key="sim",
      title="SIM",
      name="similarity",
      function=sim,
      truth=("density",),
      meaning="The overlap of the map and the fixation density when both are scaled to a sum of 1. "
      "Identical maps get 1, disjoint maps 0.",
    ),
    Metric(
      key="auc_shuffled",
      title="sAUC",
      name="shuffled AUC",
      function=auc_shuffled,
      truth=("fixations", "other"),
      meaning="Like AUC-J, but against pixels that were fixated in other frames: a map that only "
      "knows that people look at the centre gets 0.5.",
    ),
    Metric(
      key="cc",
      title="CC",
      name="correlation coefficient",
      function=cc,
      truth=("density",),
      meaning="Pearson's correlation of the map and the fixation density, pixel by pixel. 0 is "
      "chance, 1 is perfect.",
    ),
    Metric(
      key="nss",
      title="NSS",
      name="normalised scanpath saliency",
      function=nss,
      truth=("fixations",),
      meaning="The map's mean at the fixations, in standard deviations above the map's own mean. 0 "
      "is chance; there is no upper limit.",
    ),
    Metric(
      key="kl",
      title="KL",
      name="Kullback-Leibler divergence",
      function=kl,
      truth=("density",),
      higher_is_better=False,
      meaning="The information lost when the map, read as a distribution, replaces the fixation "
      "density. 0 is perfect; missing a place where people looked costs most.",
    ),
    Metric(
      key="auc_borji",
      title="AUC-B",
      name="area under ROC, Borji",
      function=auc_borji,
      truth=("fixations",),
      meaning="Like AUC-J, but against pixels drawn at random. 0.5 is chance.",
    ),
    Metric(
      key="information_gain",
      title="IG",
      name="information gain",
      function=information_gain,
      truth=("fixations", "baseline"),
      meaning="Bits per fixation by which the map predicts better than the mean eye position does. "
      "A map below 0 knows less than the centre bias.",
    ),
  )
}
"""All metrics by key, in the order of the evaluation's tables."""

TRAINING = tuple(METRICS[key] for key in ("nss", "cc", "sim", "kl"))
"""The metrics that losses and validation are made of, in the order of the trainer's tables.

Each of them has a gradient and needs a single map of a batch.
"""


def frame_scores(
  prediction: Array,
  density: Array,
  fixations: Array,
  other: Array,
  baseline: Array | None = None,
) -> dict[str, Array]:
  """Computes all metrics; under `jit` they share work.

  A CPU is quickest with batches of 2 to 4 frames, whose intermediate maps fit its caches.

  Args:
    prediction: maps [h, w] or [b, h, w].
    density: densities of fixations, [h, w] or [b, h, w].
    fixations: maps of the fixated pixels, [h, w] or [b, h, w].
    other: fixations of other frames, for the shuffled AUC.
    baseline: density that information gain is measured from; None leaves that metric out.

  Returns:
    Values of shape [] or [b] by key, in the order of `METRICS`.

  Raises:
    UserError: the maps differ in size, or are no arrays of numbers.
  """
  maps = {"density": density, "fixations": fixations, "other": other}
  if baseline is not None:
    maps["baseline"] = baseline
  return {
    key: metric(prediction, maps)
    for key, metric in METRICS.items()
    if maps.keys() >= set(metric.truth)
  }


def to_size(prediction: Array, size: tuple[int, int]) -> Array:
  """Resizes maps bicubically, as the benchmarks do to maps of another size than the ground truth.

  The rule is that of MATLAB's imresize: Keys' kernel (a = -1/2), widened along a side that shrinks,
  and maps mirrored at their borders. A cubic overshoots: values can leave the map's range.

  Args:
    prediction: [h, w] or [b, h, w].
    size: height and width of the ground truth.

  Returns:
    float32 [*size] or [b, *size]. Maps that have this size already are returned as they are.
  """
  prediction = _array(prediction, "prediction")
  height, width = size
  if prediction.shape[-2:] == (height, width):
    return prediction
  xp: Any = prediction.__array_namespace__()
  return xp.asarray(_bicubic(jnp.asarray(prediction, jnp.float32), (height, width)))


@functools.partial(jax.jit, static_argnums=1)
def _bicubic(x: jax.Array, size: tuple[int, int]) -> jax.Array:
  # JAX ignores what is beyond the border, so a mirrored margin, wider than the kernel, is added. A
  # pixel becomes `scale` pixels wide.
  scale = np.divide(size, x.shape[-2:])
  margin = np.ceil(2 / np.minimum(scale, 1)).astype(int) + 1
  padding = [(0, 0)] * (x.ndim - 2) + [(m, m) for m in margin.tolist()]
  return jax.image.scale_and_translate(
    jnp.pad(x, padding, mode="symmetric"),
    (*x.shape[:-2], *size),
    (x.ndim - 2, x.ndim - 1),
    scale.astype(np.float32),
    (-scale * margin).astype(np.float32),
    "cubic",
  )


def _prepare(prediction: _Either, **truths: _Either) -> tuple[Any, ...]:
  """Returns the array namespace, the prediction, and the truths in their order.

  Fixations become booleans, all false if a value is not finite. The prediction and other truths
  become float64 if the prediction is, else float32.

  Args:
    prediction: the prediction.
    **truths: maps by their names in the signature of a metric.

  Raises:
    UserError: a map is no array of numbers, or the maps do not fit each other.
  """
  prediction = _array(prediction, "prediction")
  xp = prediction.__array_namespace__()
  dtype = xp.float64 if prediction.dtype == np.float64 else xp.float32
  # A truth of the other kind of arrays follows the prediction.
  arrays = {name: xp.asarray(_array(truth, name)) for name, truth in truths.items()}
  for truth in arrays.values():
    if prediction.shape[-2:] != truth.shape[-2:]:
      raise UserError(
        "A prediction of {} x {} pixels, ground truth of {} x {}: resize the prediction first, "
        "with jaxsal.metrics.to_size.".format(*prediction.shape[-2:], *truth.shape[-2:])
      )
  try:
    np.broadcast_shapes(prediction.shape, *(truth.shape for truth in arrays.values()))
  except ValueError as error:
    shapes = {"prediction": prediction.shape} | {name: x.shape for name, x in arrays.items()}
    raise UserError(
      f"The maps {', '.join(f'{name} {list(shape)}' for name, shape in shapes.items())} do not fit "
      "each other: give as many of each, or one for all."
    ) from error
  return (
    xp,
    _finite(prediction.astype(dtype), xp),
    *(
      _binary(truth, xp) if name in _BINARY else _finite(truth.astype(dtype), xp)
      for name, truth in arrays.items()
    ),
  )


def _array(x: _Either, name: str) -> _Either:
  """Returns a NumPy or JAX array as it is, and other maps as a NumPy array.

  Raises:
    UserError: `x` is no array of maps.
  """
  if not isinstance(x, np.ndarray | jax.Array):
    x = as_array(x, name)
  if not any(jnp.issubdtype(x.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
    raise UserError(f"{name} holds {x.dtype}: maps must be numbers.")
  if x.ndim < 2 or 0 in x.shape[-2:]:
    raise UserError(f"{name} has the shape {list(x.shape)}: maps must be [h, w] or [b, h, w].")
  return x


def _binary(x: _Either, xp: Any) -> _Either:
  """Turns maps into booleans, true where they are not 0; all false where one is not finite."""
  if jnp.issubdtype(x.dtype, jnp.floating):
    return (x != 0) & xp.isfinite(x).all(_AXES, keepdims=True)
  return x.astype(bool)


def _finite(x: _Either, xp: Any) -> _Either:
  """Turns maps with an infinite value into NaN, with which NumPy computes without a warning.

  JAX never warns, and every metric makes NaN of infinity by itself.
  """
  if xp is jnp or np.isfinite(x).all():
    return x
  return np.where(np.isfinite(x).all(_AXES, keepdims=True), x, np.nan)


def _unit(x: _Either, xp: Any) -> _Either:
  """Scales maps by a power of two, so that their largest magnitude is from 1/2 to 1."""
  highest, lowest = (abs(extreme(_AXES, keepdims=True)) for extreme in (x.max, x.min))
  return x * _scale_of(xp.maximum(highest, lowest), xp)


def _scale_of(peak: _Either, xp: Any) -> _Either:
  """Returns the power of two that brings a magnitude to 1/2 or more and below 1.

  The squares of float32 values below 1e-19 are 0, and those of values above 1e19 infinite. A power
  of two rounds nothing. A magnitude that is not finite gives NaN.
  """
  if xp is jnp:
    peak = lax.stop_gradient(peak)  # no metric depends on the scale
  finite = xp.isfinite(peak)
  _, exponent = xp.frexp(xp.where(finite, peak, 1))
  # The powers beyond these are subnormal or infinite in float32.
  scale = xp.ldexp(xp.ones_like(peak), -exponent.clip(-126, 126))
  return xp.where(finite, scale, xp.nan)


def _mean(values: _Either, weight: _Either, xp: Any) -> _Either:
  """Mean of values [..., h, w] over the pixels of weight 1; NaN if there are none.

  Values must be 0 wherever the weight is 0.
  """
  count = weight.sum(_AXES)
  return xp.where(count > 0, values.sum(_AXES) / xp.maximum(count, 1), xp.nan)


def _standardise(x: _Either, xp: Any) -> _Either:
  """Shifts and scales maps to zero mean and unit sample deviation; constant maps to zeros."""
  pixels = x.shape[-1] * x.shape[-2]
  x = _unit(x, xp)
  # A constant map can differ from its rounded mean, and dividing by the deviation would blow that
  # difference up to 1.
  x = xp.where(_constant(x)[..., None, None], 0, x - x.mean(_AXES, keepdims=True))
  variance = (x * x).sum(_AXES, keepdims=True) / (pixels - 1)
  return x / xp.sqrt(_positive(variance, xp))


def _scaled(x: _Either, xp: Any) -> _Either:
  """Scales maps from 0 to 1; constant maps to zeros."""
  highest, lowest = (extreme(_AXES, keepdims=True) for extreme in (x.max, x.min))
  spread = highest - lowest
  scale = _scale_of(spread, xp)
  return (x - lowest) * scale / _positive(spread * scale, xp)


def _shares(x: _Either, xp: Any) -> _Either:
  """Scales maps from 0 to 1, then to a sum of 1; constant maps become the uniform density."""
  pixels = x.shape[-1] * x.shape[-2]
  scaled = _scaled(x, xp)
  shares = scaled / _positive(scaled.sum(_AXES, keepdims=True), xp)
  return xp.where(_constant(x)[..., None, None], 1 / pixels, shares)


def _auc(
  prediction: _Either, fixations: _Either, negatives: _Either, exact: bool, xp: Any
) -> _Either:
  """Computes the AUC of fixated pixels against negatives, as `auc_shuffled` explains."""
  prediction, fixations, negatives = xp.broadcast_arrays(prediction, fixations, negatives)
  dtype = prediction.dtype
  if exact:
    positives, others = (x.sum(_AXES) for x in (fixations, negatives))
    above, _ = _reached(prediction, fixations, negatives)
    value = 1 - above / xp.maximum(others, 1).astype(dtype)
  else:
    # XLA multiplies by reciprocals, so that a map's maximum may become a little less than 1.
    highest = prediction == prediction.max(_AXES, keepdims=True)
    scaled = xp.where(highest & ~_constant(prediction)[..., None, None], 1, _scaled(prediction, xp))
    levels = sum((scaled >= t).astype(np.int32) for t in _THRESHOLDS.astype(dtype))
    hits, alarms = (_histogram(levels, x, xp) for x in (fixations, negatives))
    positives, others = (x.sum(-1) for x in (hits, alarms))
    hits, alarms = (
      x.astype(dtype) / xp.maximum(x.sum(-1, keepdims=True), 1).astype(dtype)
      for x in (hits, alarms)
    )
    # The area of the trapezoids is the share of pairs, a fixated pixel and a negative, in which the
    # fixated pixel is at the higher level; a tie counts half.
    value = (hits * (alarms.cumsum(-1) - alarms / 2)).sum(-1)
  return _defined_auc(value, prediction, (positives > 0) & (others > 0), xp)


def _histogram(levels: _Either, mask: _Either, xp: Any) -> _Either:
  """Counts the pixels [..., h, w] of a mask at each level: [..., levels]."""
  *lead, _, _ = levels.shape
  maps, bins = math.prod(lead), len(_THRESHOLDS) + 1
  first_bins = bins * xp.arange(maps, dtype=np.int32).reshape(*lead, 1, 1)
  flat = xp.where(mask, levels + first_bins, maps * bins).ravel()  # that bin is dropped
  if xp is np:
    counts = np.bincount(flat, minlength=maps * bins + 1)[:-1]
  else:
    counts = jnp.bincount(flat, length=maps * bins)
  return counts.reshape(*lead, bins)


def _defined_auc(value: _Either, prediction: _Either, defined: _Either, xp: Any) -> _Either:
  """Returns 0.5 for constant predictions, NaN where undefined or not finite, else the value."""
  spread = prediction.max(_AXES) - prediction.min(_AXES)
  return xp.where(defined & xp.isfinite(spread), xp.where(spread == 0, 0.5, value), xp.nan)


def _reached(
  prediction: _Either, fixations: _Either, negatives: _Either | None = None
) -> tuple[_Either, _Either]:
  """Counts the pixels with at least the value of a fixated one: mean and maximum over fixated ones.

  With `negatives`, only those pixels are counted, and half of those with exactly the same value.
  """
  shape = -1, prediction.shape[-2] * prediction.shape[-1]
  maps = prediction, fixations, negatives
  flat: list[_Either] = [x if x is None else x.reshape(shape) for x in maps]
  sides: _Sides = ("left",) if negatives is None else ("left", "right")
  count = _reached_numpy if isinstance(prediction, np.ndarray) else _reached_jax
  mean, maximum = count(*flat, sides=sides)
  return mean.reshape(prediction.shape[:-2]), maximum.reshape(prediction.shape[:-2])


def _reached_numpy(
  prediction: np.ndarray,
  fixations: np.ndarray,
  negatives: np.ndarray | None,
  sides: _Sides,
) -> tuple[np.ndarray, np.ndarray]:
  means, maxima = np.zeros((2, len(prediction)), prediction.dtype)
  for row in np.flatnonzero(fixations.any(-1)):
    values, fixated = prediction[row], prediction[row, fixations[row]]
    ordered = np.sort(values if negatives is None else values[negatives[row]])
    below = np.mean([np.searchsorted(ordered, fixated, side) for side in sides], axis=0)
    means[row], maxima[row] = len(ordered) - below.mean(), len(ordered) - below.min()
  return means, maxima


def _reached_jax(
  prediction: jax.Array, fixations: jax.Array, negatives: jax.Array | None, sides: _Sides
) -> tuple[jax.Array, jax.Array]:
  pixels, dtype = prediction.shape[-1], prediction.dtype
  count = fixations.sum(-1)
  most = count.max(initial=0)
  few = min(_FEW, pixels)

  def compare() -> tuple[jax.Array, jax.Array]:
    values, _ = lax.top_k(jnp.where(fixations, prediction, -jnp.inf), few)
    values = jnp.where(jnp.arange(few) < count[:, None], values, jnp.nan)  # no pixel reaches NaN
    lowest = jnp.nanmin(values, -1, keepdims=True)
    values = jnp.pad(values, ((0, 0), (0, -few % _AT_A_TIME)), constant_values=jnp.nan)
    reach = [{"left": jnp.greater_equal, "right": jnp.greater}[side] for side in sides]

    def reached(values: jax.Array) -> jax.Array:
      columns = jnp.split(values, values.shape[-1], axis=-1)
      counts = (f(prediction, x).astype(jnp.int32) for x in columns for f in reach)
      total = functools.reduce(jnp.add, counts)
      if negatives is not None:
        total = jnp.where(negatives, total, 0)
      return total.sum(-1).astype(dtype) / len(sides)

    def add(i: jax.Array, total: jax.Array) -> jax.Array:
      return total + reached(lax.dynamic_slice_in_dim(values, i * _AT_A_TIME, _AT_A_TIME, axis=1))

    steps = -(-most // _AT_A_TIME)
    total = lax.fori_loop(0, steps, add, jnp.zeros(len(prediction), dtype))
    return total / count.clip(1).astype(dtype), reached(lowest)

  def sort() -> tuple[jax.Array, jax.Array]:
    counted = prediction if negatives is None else jnp.where(negatives, prediction, -jnp.inf)
    ordered = jnp.sort(counted)
    below = [
      jax.vmap(functools.partial(jnp.searchsorted, side=side))(ordered, prediction)
      for side in sides
    ]
    total = functools.reduce(jnp.add, below).astype(dtype)
    reached = jnp.where(fixations, pixels - total / len(sides), 0)
    return reached.sum(-1) / count.clip(1).astype(dtype), reached.max(-1)

  return compare() if few == pixels else lax.cond(most <= few, compare, sort)


def _constant(x: _Either) -> _Either:
  """Whether each map has one finite value everywhere."""
  highest = x.max(_AXES)
  return (highest == x.min(_AXES)) & (abs(highest) < math.inf)


def _positive(x: _Either, xp: Any) -> _Either:
  """Replaces zeros by 1, for denominators that cause neither NaN nor infinite gradients."""
  return xp.where(x > 0, x, xp.ones_like(x))
