"""What GPUs and TPUs compute, tried on a CPU: the other side of every choice by platform."""

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
  """The stem, pooling and unpooling, kernels over space, over time and over both."""
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
    # Float32 summed in other orders: 1e-4 of the largest value at most, seen in small gradients.
    scale, message = np.abs(expected).max(), jax.tree_util.keystr(path)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=5e-4 * scale, err_msg=message)
