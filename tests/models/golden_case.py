"""Comparisons with the golden cases: outputs of the reference implementations in float64.

`tests/golden/NAME` holds the manifest of a PyTorch state dict, which `weights.py` fills with
values, and the outputs of the reference with these values.
"""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, traverse_util
from golden import weights

from jaxsal import convert, losses, models, nn
from jaxsal.train.state import split

FOLDER = pathlib.Path(__file__).parents[1] / "golden"

# The compiler's options for users, whose results these tests check to the last bit. The other tests
# compile more quickly (tests/conftest.py).
AS_USERS = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}


class Recorder(nnx.Module):
  """Replaces a part of a network, and keeps the part's output."""

  def __init__(self, part):
    self.part = part

  def __call__(self, *args):
    self.output = self.part(*args)
    return self.output


class Case:
  """The files of one case."""

  def __init__(self, name, case="a"):
    self.expected = json.loads((FOLDER / name / f"{case}.json").read_text())
    self.arrays = np.load(FOLDER / name / f"{case}.npz")
    self.seed = self.expected["seed"]
    self.manifest = FOLDER / name / "manifest.json"

  @functools.cached_property
  def state_dict(self):
    return weights.state_dict(self.manifest, self.seed)

  @property
  def frames(self):
    """The frames of the case [b, t, h, w, 3]."""
    return self.clip(self.expected["inputs"][0], self.seed, "input0")

  def waveform(self, i):
    """Returns the i-th input [b, s], which is [b, 1, s, 1] in PyTorch."""
    shape = tuple(self.expected["inputs"][i])
    return jnp.asarray(weights.clip(shape, self.seed, f"input{i}")[:, 0, :, 0])

  def clip(self, shape, seed, name):
    return jnp.asarray(weights.clip(tuple(shape), seed, name).transpose(0, 2, 3, 4, 1))


def forward(model, frames, parts=(), waveform=None, compiler_options=None):
  """Returns the maps, and the outputs of the parts at these attribute paths, of one jitted call."""
  inputs = (frames,) if waveform is None else (frames, waveform)
  for path in parts:
    *parents, name = path.split(".")
    parent = model
    for attribute in parents:
      parent = getattr(parent, attribute)
    setattr(parent, name, Recorder(getattr(parent, name)))
  graph, state = nnx.split(model)

  @functools.partial(jax.jit, compiler_options=compiler_options)
  def run(state, *inputs):
    model = nnx.merge(graph, state)
    maps = model(*inputs)
    outputs = {}
    for path in parts:
      part = model
      for attribute in path.split("."):
        part = getattr(part.part if isinstance(part, Recorder) else part, attribute)
      outputs[path] = part.output
    return maps, outputs

  return jax.device_get(run(state, *inputs))


def check_stage(case, name, x):
  """Compares a stage [b, t, h, w, c] with the reference's; see `check_values`."""
  check_values(case, name, x.transpose(0, 4, 1, 2, 3))


def check_values(case, name, x):
  """Compares a stage in PyTorch's layout at the sampled places, in units of its deviation."""
  expected = case.expected["stages"][name]
  assert list(x.shape) == expected["shape"], name
  x = x.ravel()[weights.sample_indices(x.size)]
  error = np.abs(x - case.arrays[f"stage/{name}"]).max() / expected["std"]
  assert error < 1e-4, f"{name}: {error}"


def conv2d_by_patches(x, kernel, stride, padding):
  """Convolves by one matrix product, because XLA's convolution is slow in float64 on CPU."""
  (kh, kw), (sh, sw) = kernel.shape[:2], stride
  x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
  h, w = (x.shape[1] - kh) // sh + 1, (x.shape[2] - kw) // sw + 1
  patches = [
    x[:, i : i + (h - 1) * sh + 1 : sh, j : j + (w - 1) * sw + 1 : sw]
    for i in range(kh)
    for j in range(kw)
  ]
  return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def check_training(name, tx, monkeypatch):
  """Compares five steps in training mode: losses, first gradients, final BatchNorm statistics.

  The steps are in float64, like the reference's. In float32, rounding errors grow from step to
  step; with small batches of noise they reach several 1e-3 of the losses, in PyTorch too.
  """
  case = Case(name, "train_5000")
  expected = case.expected
  with jax.enable_x64(True):
    monkeypatch.setattr(jnp, "float32", jnp.float64)  # the type that the code casts to
    monkeypatch.setattr(nn.conv_xla, "conv2d", conv2d_by_patches)
    model = convert.from_torch(name, case.state_dict)
    for _, module in nnx.iter_modules(model):
      if hasattr(module, "dtype"):
        module.dtype = "float64"
    for variable in models.variables(model).values():
      variable.set_value(jnp.asarray(np.asarray(variable[...], np.float64)))  # compiles nothing
    table = {".".join(e.path): e.name for e in model.table(model.config) if e.path}
    network, params, model_state = split(model)

    def loss_fn(params, model_state, frames, density):
      model = nnx.merge(network.training, params, model_state)
      batch = {"density": density, "mask": jnp.ones(len(density))}
      loss, _ = losses.saliency_loss(model(frames), batch, {"kl": 1.0})
      return loss, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    @jax.jit
    def step(params, model_state, opt_state, frames, density):
      (loss, model_state), grads = jax.value_and_grad(loss_fn, has_aux=True)(
        params, model_state, frames, density
      )
      with jax.numpy_dtype_promotion("standard"):  # optax mixes integers and floats
        updates, opt_state = tx.update(grads, opt_state, params)
      norms = jax.tree.map(lambda x: jnp.sqrt(jnp.sum(x * x)), grads)
      return optax.apply_updates(params, updates), model_state, opt_state, loss, norms

    opt_state, results = tx.init(params), []
    for i, density in enumerate(case.arrays["targets"]):
      frames = case.clip(expected["clip"], case.seed + i, expected["input_name"])
      params, model_state, opt_state, *result = step(
        params, model_state, opt_state, frames.astype(jnp.float64), jnp.asarray(density)
      )
      results.append(jax.device_get(result))

  def by_torch_name(tree):
    return {table[k]: v for k, v in traverse_util.flatten_dict(tree, sep=".").items()}

  assert len(results) == expected["steps"]
  np.testing.assert_allclose([loss for loss, _ in results], expected["losses"], rtol=1e-6)
  norms = by_torch_name(results[0][1])
  assert norms.keys() == expected["grad_norms_step0"].keys()
  for entry, norm in expected["grad_norms_step0"].items():
    np.testing.assert_allclose(norms[entry], norm, rtol=1e-6, err_msg=entry)
  statistics = by_torch_name(jax.device_get(model_state))
  after = [entry for entry in case.arrays.files if entry.startswith("after/")]
  assert after
  for entry in after:
    value, want = statistics[entry.removeprefix("after/")], case.arrays[entry]  # float32
    np.testing.assert_allclose(value, want, rtol=1e-5, atol=1e-6, err_msg=entry)
