"""Tests on a CPU of the formulations that GPUs and TPUs use, which are the platforms' defaults."""

import jax
import numpy as np
import pytest
from flax import nnx

from jaxsal import models


def outputs_and_gradients(name):
  model = models.create(name, "tiny")
  model.eval()
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  rng = np.random.default_rng(0)
  frames = rng.standard_normal((2, model.length, *model.size, 3), np.float32)
  projection = rng.standard_normal((2, *model.size), np.float32)

  def loss(params):
    y = nnx.merge(graph, params, rest)(frames)
    return (y * projection).sum(), y

  gradients, y = jax.jit(jax.grad(loss, has_aux=True))(params)
  return jax.tree.map(np.asarray, {"output": y, "gradients": nnx.to_pure_dict(gradients)})


@pytest.mark.parametrize("name", ("tsfp", "tased"))
def test_the_same_as_on_a_cpu(name, monkeypatch):
  """The networks have a stem, pooling, unpooling, and kernels over space, time and both."""
  here = outputs_and_gradients(name)
  chosen = []

  def elsewhere(*arguments, cpu, default):
    chosen.append(default)
    return default(*arguments)

  monkeypatch.setattr(jax.lax, "platform_dependent", elsewhere)
  there = outputs_and_gradients(name)
  assert len(chosen) > 50
  paths = jax.tree_util.tree_leaves_with_path(there)
  for (path, actual), expected in zip(paths, jax.tree.leaves(here), strict=True):
    # float32 is summed in other orders. Differences up to 1e-4 of the largest value were seen, in
    # small gradients.
    scale, message = np.abs(expected).max(), jax.tree_util.keystr(path)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=5e-4 * scale, err_msg=message)


@pytest.mark.parametrize("name", ("tsfp_av", "tased", "avinet", "stsanet"))
def test_a_precision_asked_for_reaches_every_product(name):
  """TPUs multiply float32 as bfloat16 unless told otherwise, in forward and backward passes."""
  model = models.create(name, "tiny")
  model.eval()
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  inputs = [np.zeros((1, model.length, *model.size, 3), np.float32)]
  if model.samples:
    inputs.append(np.zeros((1, model.samples), np.float32))

  def loss(params):
    return nnx.merge(graph, params, rest)(*inputs).sum()

  with jax.default_matmul_precision("float32"):
    lowered = jax.jit(jax.grad(loss)).trace(params).lower(lowering_platforms=("tpu",))
  lines = lowered.as_text().splitlines()
  products = [line for line in lines if "convolution(" in line or "dot_general " in line]
  assert len(products) > 20
  assert [line for line in products if "HIGHEST" not in line] == []
