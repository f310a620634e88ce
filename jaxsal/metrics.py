"""How well a map predicts where people looked.

The definitions are those of the MIT saliency benchmark, which Bylinskii et al. compare ("What do
different evaluation metrics tell us about saliency models?", TPAMI 2019). Every function takes maps
[h, w] or [b, h, w] of one size and gives one value per map, of shape [] or [b]. `fixations` and
`other` are true, or not 0, where somebody looked: a pixel counts once. float64 is computed in
float64, all else in float32. NumPy arrays give NumPy; JAX arrays stay on the device, also under
`jit` and, but for the AUCs, `grad`. Maps of different sizes raise a UserError.

A value that is not defined is NaN, to be dropped from a mean and counted: NSS, the AUCs and
information gain without a fixation; the shuffled AUC without one in the other map; CC and SIM with
a density that is the same everywhere, KL with one of zeros; everything where the prediction is not
finite. A constant prediction says nothing: NSS 0, CC 0, AUCs 0.5, and SIM and information gain take
it for the uniform density. Dropped, it would flatter the model.
"""

import functools
import math
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsal.errors import UserError

Array = TypeVar("Array", np.ndarray, jax.Array)

_EPSILON = 2.2204e-16  # MATLAB's eps
_AXES = (-2, -1)
_THRESHOLDS = np.arange(1, 11) / 10  # of the shuffled AUC and Borji's, but for the first, 0
# To rank fixated pixels on the device, all pixels are compared with so many of them at a time. Only
# where a map has more than `_FEW` all are sorted, which takes a CPU as long as thousands of
# comparisons. Under `vmap` both would be done: pass batches.
_AT_A_TIME, _FEW = 32, 2048


def nss(prediction: Array, fixations: Array) -> Array:
  """Normalised scanpath saliency: mean of the standardised prediction over fixated pixels.

  The standard deviation is that of a sample (N - 1).
  """
  xp, prediction, fixations = _prepare(prediction, fixations)
  weight = fixations.astype(prediction.dtype)
  return _mean(_standardise(prediction, xp) * weight, weight, xp)


def cc(prediction: Array, density: Array) -> Array:
  """Pearson's correlation coefficient of the prediction and the density."""
  xp, prediction, density = _prepare(prediction, density, binary=False)
  pixels = prediction.shape[-1] * prediction.shape[-2]
  product = _standardise(prediction, xp) * _standardise(density, xp)
  return xp.where(_constant(density), xp.nan, product.sum(_AXES) / (pixels - 1))


def sim(prediction: Array, density: Array) -> Array:
  """Similarity: what two histograms share, each map scaled from 0 to 1, then to a sum of 1."""
  xp, prediction, density = _prepare(prediction, density, binary=False)
  shared = xp.minimum(_shares(prediction, xp), _shares(density, xp)).sum(_AXES)
  return xp.where(_constant(density), xp.nan, shared)


def kl(prediction: Array, density: Array) -> Array:
  """Kullback-Leibler divergence of the prediction from the density, each scaled to a sum of 1."""
  xp, prediction, density = _prepare(prediction, density, binary=False)
  total = density.sum(_AXES)
  g = density / _positive(density.sum(_AXES, keepdims=True), xp)
  p = prediction / _positive(prediction.sum(_AXES, keepdims=True), xp)
  value = (g * xp.log(_EPSILON + g / (p + _EPSILON))).sum(_AXES)
  return xp.where(total > 0, value, xp.nan)


def information_gain(prediction: Array, fixations: Array, baseline: Array) -> Array:
  """Bits per fixation by which the prediction says more than a baseline, such as centre bias.

  Each is scaled from 0 to 1, then to a sum of 1. One baseline [h, w] serves a whole batch.
  """
  xp, prediction, fixations = _prepare(prediction, fixations)
  _, _, baseline = _prepare(prediction, baseline, binary=False)
  weight = fixations.astype(prediction.dtype)
  ratio = (_EPSILON + _shares(prediction, xp)) / (_EPSILON + _shares(baseline, xp))
  return _mean(xp.log2(ratio) * weight, weight, xp)


def auc_judd(prediction: Array, fixations: Array) -> Array:
  """Area under the ROC curve whose thresholds are the values of the fixated pixels.

  At the i-th highest of n such values, i / n of the fixated pixels are hits, and all others of at
  least that value are false alarms. Fixated pixels of one value come one after the other, so that
  ties count against the prediction; no jitter breaks them.
  """
  xp, prediction, fixations = _prepare(prediction, fixations)
  pixels = prediction.shape[-1] * prediction.shape[-2]
  count = fixations.sum(_AXES).astype(prediction.dtype)
  mean, last = _reached(prediction, fixations)
  # Beside the curve lie n trapezoids of height 1 / n. Their sides are the false alarms at two
  # thresholds that follow each other: the pixels that reach the i-th one, less i.
  beside = mean - (count + 1) / 2 - (last - count) / (2 * xp.maximum(count, 1))
  value = 1 - beside / xp.maximum(pixels - count, 1)
  return _defined_auc(value, prediction, (count > 0) & (count < pixels), xp)


def auc_shuffled(
  prediction: Array, fixations: Array, other: Array, *, exact: bool = False
) -> Array:
  """AUC whose negatives are fixated pixels of another map, so that centre bias alone gains nothing.

  The benchmark draws as many negatives as there are fixations, 100 times, and takes the mean AUC.
  An AUC is linear in the share of each negative: the mean over all possible draws, which those 100
  estimate, is the AUC with all of the other map's pixels. That is computed; nothing is random.

  Args:
    prediction, fixations: see above.
    other: the map that negatives come from.
    exact: take every value as a threshold. By default thresholds are 0, 0.1, ..., 1, on the
      prediction scaled from 0 to 1: the benchmark's. They are coarse, and lower the value.
  """
  xp, prediction, fixations = _prepare(prediction, fixations)
  _, _, other = _prepare(prediction, other)
  return _auc(prediction, fixations, other, exact, xp)


def auc_borji(prediction: Array, fixations: Array, *, exact: bool = False) -> Array:
  """As `auc_shuffled`, with all pixels as negatives: the benchmark draws them uniformly."""
  xp, prediction, fixations = _prepare(prediction, fixations)
  return _auc(prediction, fixations, xp.ones_like(fixations), exact, xp)


# Metrics of a prediction and one truth, which losses and validation are made of: name -> function,
# and the part of a batch that it compares the prediction with.
METRICS = {
  "nss": (nss, "fixations"),
  "cc": (cc, "density"),
  "sim": (sim, "density"),
  "kl": (kl, "density"),
}


def frame_scores(
  prediction: Array,
  density: Array,
  fixations: Array,
  other: Array,
  baseline: Array | None = None,
) -> dict[str, Array]:
  """All metrics by name; under `jit` they share work.

  A CPU is quickest with batches of 2 to 4 frames, whose intermediate maps fit its caches.

  Args:
    prediction, density, fixations: maps [h, w] or [b, h, w].
    other: fixations of other frames, for the shuffled AUC.
    baseline: a density that information gain is measured from; None leaves that metric out.

  Returns:
    name -> [] or [b].

  Raises:
    UserError: the maps differ in size.
  """
  scores = {
    "auc_judd": auc_judd(prediction, fixations),
    "sim": sim(prediction, density),
    "auc_shuffled": auc_shuffled(prediction, fixations, other),
    "cc": cc(prediction, density),
    "nss": nss(prediction, fixations),
    "kl": kl(prediction, density),
    "auc_borji": auc_borji(prediction, fixations),
  }
  if baseline is not None:
    scores["information_gain"] = information_gain(prediction, fixations, baseline)
  return scores


def to_size(prediction: Array, size: tuple[int, int]) -> Array:
  """Resizes maps to (height, width), bicubic, as the benchmarks do to a map of another size.

  The rule is MATLAB's imresize: Keys' kernel (a = -1/2), widened where a side shrinks, and maps
  mirrored at their borders. A cubic overshoots: some values may leave the range of the map's.

  Args:
    prediction: [h, w] or [b, h, w].
    size: height and width of the ground truth.

  Returns:
    [*size] or [b, *size]; float32, but for a map that has that size already.
  """
  old, size = prediction.shape[-2:], tuple(size)
  if old == size:
    return prediction
  resized = _bicubic(jnp.asarray(prediction, jnp.float32), size)
  return np.asarray(resized) if isinstance(prediction, np.ndarray) else resized


@functools.partial(jax.jit, static_argnums=1)
def _bicubic(x: jax.Array, size: tuple[int, int]) -> jax.Array:
  # JAX leaves out what lies beyond the border: a mirrored margin, wider than the kernel, is put
  # there. A pixel is `scale` pixels wide in the result.
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


def _prepare(prediction: Array, truth: Array, *, binary: bool = True) -> tuple:
  """The array namespace, the prediction, and the truth as booleans or in the prediction's type."""
  if prediction.shape[-2:] != truth.shape[-2:]:
    raise UserError(
      "prediction of {} x {} pixels, ground truth of {} x {}: resize the prediction first, with "
      "jaxsal.metrics.to_size.".format(*prediction.shape[-2:], *truth.shape[-2:])
    )
  xp = prediction.__array_namespace__()
  dtype = xp.float64 if prediction.dtype == np.float64 else xp.float32
  return xp, prediction.astype(dtype), truth.astype(bool) if binary else truth.astype(dtype)


def _mean(values: Array, weight: Array, xp) -> Array:
  """Mean of values [..., h, w] that are 0 where the weight is 0, and 1 elsewhere; NaN of none."""
  count = weight.sum(_AXES)
  return xp.where(count > 0, values.sum(_AXES) / xp.maximum(count, 1), xp.nan)


def _standardise(x: Array, xp) -> Array:
  """Zero mean and unit sample deviation over a map; zeros if it is constant."""
  pixels = x.shape[-1] * x.shape[-2]
  # The rounded mean of a constant map differs from it, by what the deviation would blow up to 1.
  x = xp.where(_constant(x)[..., None, None], 0, x - x.mean(_AXES, keepdims=True))
  variance = (x * x).sum(_AXES, keepdims=True) / (pixels - 1)
  return x / xp.sqrt(_positive(variance, xp))


def _scaled(x: Array, xp) -> Array:
  """From 0 to 1; zeros if the map is constant."""
  x = x - x.min(_AXES, keepdims=True)
  return x / _positive(x.max(_AXES, keepdims=True), xp)


def _shares(x: Array, xp) -> Array:
  """Scaled from 0 to 1, then to a sum of 1; the uniform density if the map is constant."""
  pixels = x.shape[-1] * x.shape[-2]
  scaled = _scaled(x, xp)
  shares = scaled / _positive(scaled.sum(_AXES, keepdims=True), xp)
  return xp.where(_constant(x)[..., None, None], 1 / pixels, shares)


def _auc(prediction: Array, fixations: Array, negatives: Array, exact: bool, xp) -> Array:
  """AUC of fixated pixels against negatives; see `auc_shuffled`."""
  dtype = prediction.dtype
  if exact:
    positives, others = (x.sum(_AXES) for x in (fixations, negatives))
    above, _ = _reached(prediction, fixations, negatives)
    value = 1 - above / xp.maximum(others, 1).astype(dtype)
  else:
    scaled = _scaled(prediction, xp)
    levels = sum((scaled >= t).astype(np.int32) for t in _THRESHOLDS.astype(dtype))
    hits, alarms = (_histogram(levels, x, xp) for x in (fixations, negatives))
    positives, others = (x.sum(-1) for x in (hits, alarms))
    hits, alarms = (
      x.astype(dtype) / xp.maximum(x.sum(-1, keepdims=True), 1).astype(dtype)
      for x in (hits, alarms)
    )
    # The trapezoids' area: how often a fixated pixel is a level above a negative, ties half.
    value = (hits * (alarms.cumsum(-1) - alarms / 2)).sum(-1)
  return _defined_auc(value, prediction, (positives > 0) & (others > 0), xp)


def _histogram(levels: Array, mask: Array, xp) -> Array:
  """How many of a map's pixels [..., h, w] in the mask are at each level: [..., levels]."""
  *lead, _, _ = levels.shape
  maps, bins = math.prod(lead), len(_THRESHOLDS) + 1
  first_bins = bins * xp.arange(maps, dtype=np.int32).reshape(*lead, 1, 1)
  flat = xp.where(mask, levels + first_bins, maps * bins).ravel()  # that bin is left out
  if xp is np:
    counts = np.bincount(flat, minlength=maps * bins + 1)[:-1]
  else:
    counts = jnp.bincount(flat, length=maps * bins)
  return counts.reshape(*lead, bins)


def _defined_auc(value: Array, prediction: Array, defined: Array, xp) -> Array:
  """0.5 for a constant prediction, NaN for one that is not finite or where nothing is defined."""
  spread = prediction.max(_AXES) - prediction.min(_AXES)
  return xp.where(defined & xp.isfinite(spread), xp.where(spread == 0, 0.5, value), xp.nan)


def _reached(
  prediction: Array, fixations: Array, negatives: Array | None = None
) -> tuple[Array, Array]:
  """How many pixels have at least the value of a fixated one: mean and maximum over these.

  Only `negatives` are counted, where there are some: half of those with the very same value.
  """
  shape = -1, prediction.shape[-2] * prediction.shape[-1]
  flat = [x if x is None else x.reshape(shape) for x in (prediction, fixations, negatives)]
  of_maps = _reached_numpy if isinstance(prediction, np.ndarray) else _reached_jax
  mean, maximum = of_maps(*flat, sides=("left",) if negatives is None else ("left", "right"))
  return mean.reshape(prediction.shape[:-2]), maximum.reshape(prediction.shape[:-2])


def _reached_numpy(
  prediction: np.ndarray,
  fixations: np.ndarray,
  negatives: np.ndarray | None,
  sides: tuple[str, ...],
) -> tuple[np.ndarray, np.ndarray]:
  means, maxima = np.zeros((2, len(prediction)), prediction.dtype)
  for row in np.flatnonzero(fixations.any(-1)):
    values, fixated = prediction[row], prediction[row, fixations[row]]
    ordered = np.sort(values if negatives is None else values[negatives[row]])
    below = np.mean([np.searchsorted(ordered, fixated, side) for side in sides], axis=0)
    means[row], maxima[row] = len(ordered) - below.mean(), len(ordered) - below.min()
  return means, maxima


def _reached_jax(
  prediction: jax.Array, fixations: jax.Array, negatives: jax.Array | None, sides: tuple[str, ...]
) -> tuple[jax.Array, jax.Array]:
  pixels, dtype = prediction.shape[-1], prediction.dtype
  count = fixations.sum(-1)
  few = min(_FEW, pixels)

  def compare() -> tuple[jax.Array, jax.Array]:
    values, _ = lax.top_k(jnp.where(fixations, prediction, -jnp.inf), few)
    values = jnp.where(jnp.arange(few) < count[:, None], values, jnp.nan)  # nothing reaches NaN
    lowest = jnp.nanmin(values, -1, keepdims=True)
    values = jnp.pad(values, ((0, 0), (0, -few % _AT_A_TIME)), constant_values=jnp.nan)
    reach = [{"left": jnp.greater_equal, "right": jnp.greater}[side] for side in sides]

    def reached(values: jax.Array) -> jax.Array:
      columns = jnp.split(values, values.shape[-1], axis=-1)
      total = sum(f(prediction, x).astype(jnp.int32) for x in columns for f in reach)
      if negatives is not None:
        total = jnp.where(negatives, total, 0)
      return total.sum(-1).astype(dtype) / len(sides)

    def add(i: jax.Array, total: jax.Array) -> jax.Array:
      return total + reached(lax.dynamic_slice_in_dim(values, i * _AT_A_TIME, _AT_A_TIME, axis=1))

    steps = -(-count.max() // _AT_A_TIME)
    total = lax.fori_loop(0, steps, add, jnp.zeros(len(prediction), dtype))
    return total / count.clip(1).astype(dtype), reached(lowest)

  def sort() -> tuple[jax.Array, jax.Array]:
    counted = prediction if negatives is None else jnp.where(negatives, prediction, -jnp.inf)
    ordered = jnp.sort(counted)
    below = [
      jax.vmap(functools.partial(jnp.searchsorted, side=side))(ordered, prediction)
      for side in sides
    ]
    reached = jnp.where(fixations, pixels - sum(below).astype(dtype) / len(sides), 0)
    return reached.sum(-1) / count.clip(1).astype(dtype), reached.max(-1)

  return compare() if few == pixels else lax.cond(count.max() <= few, compare, sort)


def _constant(x: Array) -> Array:
  return x.max(_AXES) == x.min(_AXES)


def _positive(x: Array, xp) -> Array:
  """`x`, or 1 where it is 0: a denominator that leaves neither NaN nor an infinite gradient."""
  return xp.where(x > 0, x, xp.ones_like(x))
