"""How well a map predicts where people looked.

The definitions are those of the MIT saliency benchmark. Every function takes maps [h, w] or
[b, h, w] of one size and gives one value per map, of shape [] or [b]. NumPy arrays are computed in
their own precision and give NumPy; JAX arrays stay on the device, also under `jit` and `grad`.

A value that is not defined is NaN, to be dropped from a mean and counted: NSS without a fixation;
CC and SIM with a density that is the same everywhere, KL with one of zeros. A constant prediction,
which says nothing, scores NSS 0 and CC 0; dropped, it would flatter the model.
"""

from typing import TypeVar

import jax
import numpy as np

Array = TypeVar("Array", np.ndarray, jax.Array)

_EPSILON = 2.2204e-16  # MATLAB's eps
_AXES = (-2, -1)


def nss(prediction: Array, fixations: Array) -> Array:
  """Normalised scanpath saliency: mean of the standardised prediction over fixated pixels.

  `fixations` is binary: a pixel counts once. The standard deviation is that of a sample (N - 1).
  """
  xp = prediction.__array_namespace__()
  fixations = fixations.astype(prediction.dtype)
  count = fixations.sum(_AXES)
  total = (_standardise(prediction, xp) * fixations).sum(_AXES)
  return xp.where(count > 0, total / xp.maximum(count, 1), xp.nan)


def cc(prediction: Array, density: Array) -> Array:
  """Pearson's correlation coefficient of the prediction and the density."""
  xp = prediction.__array_namespace__()
  density = density.astype(prediction.dtype)
  pixels = prediction.shape[-1] * prediction.shape[-2]
  product = _standardise(prediction, xp) * _standardise(density, xp)
  return xp.where(_constant(density), xp.nan, product.sum(_AXES) / (pixels - 1))


def sim(prediction: Array, density: Array) -> Array:
  """Similarity: what two histograms share, each map scaled from 0 to 1, then to a sum of 1."""
  xp = prediction.__array_namespace__()
  shares = []
  for x in (prediction, density.astype(prediction.dtype)):
    x = x - x.min(_AXES, keepdims=True)
    x = x / _positive(x.max(_AXES, keepdims=True), xp)
    shares.append(x / _positive(x.sum(_AXES, keepdims=True), xp))
  return xp.where(_constant(density), xp.nan, xp.minimum(*shares).sum(_AXES))


def kl(prediction: Array, density: Array) -> Array:
  """Kullback-Leibler divergence of the prediction from the density, each scaled to a sum of 1."""
  xp = prediction.__array_namespace__()
  density = density.astype(prediction.dtype)
  total = density.sum(_AXES)
  g = density / _positive(density.sum(_AXES, keepdims=True), xp)
  p = prediction / _positive(prediction.sum(_AXES, keepdims=True), xp)
  value = (g * xp.log(_EPSILON + g / (p + _EPSILON))).sum(_AXES)
  return xp.where(total > 0, value, xp.nan)


# Name -> function, and the part of a batch that it compares the prediction with.
METRICS = {
  "nss": (nss, "fixations"),
  "cc": (cc, "density"),
  "sim": (sim, "density"),
  "kl": (kl, "density"),
}


def _standardise(x: Array, xp) -> Array:
  """Zero mean and unit sample deviation over a map; zeros if it is constant."""
  pixels = x.shape[-1] * x.shape[-2]
  # The rounded mean of a constant map differs from it, by what the deviation would blow up to 1.
  x = xp.where(_constant(x)[..., None, None], 0, x - x.mean(_AXES, keepdims=True))
  variance = (x * x).sum(_AXES, keepdims=True) / (pixels - 1)
  return x / xp.sqrt(_positive(variance, xp))


def _constant(x: Array) -> Array:
  return x.max(_AXES) == x.min(_AXES)


def _positive(x: Array, xp) -> Array:
  """`x`, or 1 where it is 0: a denominator that leaves neither NaN nor an infinite gradient."""
  return xp.where(x > 0, x, xp.ones_like(x))
