"""STSANet: comparison with the reference, and the properties of its variants."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from golden_case import AS_USERS, FOLDER, Case, check_stage, forward

import jaxsal
from jaxsal import convert, models, nn
from jaxsal.errors import UserError
from jaxsal.models import stsanet
from jaxsal.train.state import new_state, split
from jaxsal.train.step import make_train_step

SIZE = (32, 64)
TINY = {"width": 0.0625, "size": SIZE}
RUN = ["single_stream", "no_temporal_relations", "single_matrix", "concat_amsf", "no_multi_scale"]
ABLATIONS = [name for name in stsanet.VARIANTS if name not in ("base", "tiny")]
# The golden case's name of a stage -> path of the part here. Two stages are after a ReLU and an
# upsampling, which the test adds.
NORMS = {f"ln_{b - 1}_{i - 1}": f"stsa{b}.layer{i}.norm" for b in (1, 2, 3, 4) for i in (1, 2)}
STAGES = NORMS | {
  "branch3_beh_0": "reduce",
  "inc_0_1": "amsf3.scales.space3",
  "inc_2_2": "amsf1.scales.space5",
  "readout_1": "readout.conv1",
}


def create(variant="tiny", **overrides):
  return jaxsal.models.create("stsanet", variant, **(TINY | overrides))


def clips(batch=2, seed=0):
  rng = np.random.default_rng(seed)
  # The frames change smoothly, like those of a video.
  x = rng.normal(size=(batch, 4, 4, 8, 3)).astype(np.float32)
  return jax.image.resize(jnp.asarray(x), (batch, 32, *SIZE, 3), "linear")


def copy_shared(source, target):
  """Copies the weights of `source` to `target`, which may have fewer."""
  weights = models.arrays(source)
  for name, variable in models.variables(target).items():
    variable.set_value(jnp.asarray(weights[name]))


def torch_shapes(config):
  """Returns the shapes by name in PyTorch, from the table and the network's own shapes."""
  model = nnx.eval_shape(lambda: models.build("stsanet", config))
  variables, shapes = models.variables(model), {}
  for name, path, axes, *_ in stsanet.STSANet.table(config):
    shape = () if path is None else variables.pop(".".join(path)).shape
    shapes[name] = [shape[i] for i in np.argsort(axes)] if path else []
  assert not variables, "parameters without a name for PyTorch"
  return shapes


def parameters(**changes):
  config = dataclasses.replace(stsanet.VARIANTS["base"], **changes)
  return sum(int(np.prod(s)) for s in torch_shapes(config).values())


def compiled(model, batch, **options):
  """Returns a compiled function from a network of this structure and clips to maps.

  Args:
    model: a network of the structure.
    batch: number of clips.
    options: options of `jax.jit`.
  """
  model.eval()
  graph, state = nnx.split(model)
  function = jax.jit(lambda state, x: nnx.merge(graph, state)(x), **options)
  function = function.lower(state, clips(batch)).compile()
  return lambda model, x: np.asarray(function(nnx.state(model), x))


@pytest.fixture(scope="module")
def tiny():
  model = create()
  model.eval()
  return model


@pytest.fixture(scope="module")
def apply(tiny):
  return compiled(tiny, 2)


@pytest.fixture(scope="module")
def run(tiny, apply):
  return functools.partial(apply, tiny)


def test_names_order_and_shapes_are_the_manifests():
  manifest = json.loads((FOLDER / "stsanet" / "manifest.json").read_text())
  shapes = torch_shapes(stsanet.VARIANTS["base"])
  assert list(shapes.items()) == [(entry["name"], entry["shape"]) for entry in manifest]


@pytest.fixture(scope="module")
def case():
  return Case("stsanet")


@pytest.mark.slow
def test_golden(case):
  state_dict = case.state_dict
  model = convert.from_torch("stsanet", state_dict)
  back = convert.to_torch(model)
  assert list(back) == list(state_dict)
  for name, value in state_dict.items():
    assert back[name].dtype == value.dtype and np.array_equal(back[name], value), name
  maps, stages = forward(model, case.frames, ["encoder", *STAGES.values()])
  # Rounding alone causes errors of 2e-6. If rounding moves a maximum of the bottleneck to the next
  # pixel, the error there is up to 2e-4: one pooling window of this case has two maxima that are
  # 8e-8 apart, less than float32 resolves. If a change of XLA moves this maximum, a few pixels fail
  # the second line, and none the first.
  error = np.abs(maps - case.arrays["output"])
  assert np.quantile(error, 0.99) < 1e-5
  assert error.max() < 1e-4
  for name, x in stages.pop("encoder")._asdict().items():
    check_stage(case, name, x)
  for name, path in STAGES.items():
    if name in case.expected["stages"]:
      x = stages[path]
      if name in ("branch3_beh_0", "readout_1"):
        x = np.asarray(nn.upsample(jax.nn.relu(jnp.asarray(x)), (1, 2, 2)))
      check_stage(case, name, x)


@pytest.mark.slow
def test_golden_bfloat16(case):
  model = convert.from_torch("stsanet", case.state_dict, dtype="bfloat16")
  maps, _ = forward(model, case.frames)
  assert np.corrcoef(maps.ravel(), case.arrays["output"].ravel())[0, 1] >= 0.999


def test_map(run):
  maps = run(clips())
  assert maps.shape == (2, *SIZE) and maps.dtype == np.float32
  assert maps.min() >= 0 and maps.max() <= 1 and maps.std(axis=(1, 2)).min() > 0


def test_clips_of_a_batch_are_independent(tiny):
  """A clip's maps are equal at the same place of a batch; at another place, rounding may differ."""
  run = functools.partial(compiled(tiny, 2, compiler_options=AS_USERS), tiny)
  a, b = clips(2, seed=0), clips(2, seed=1)
  apart = run(a), run(b)
  mixed = run(jnp.stack([a[0], b[1]]))
  np.testing.assert_array_equal(mixed[0], apart[0][0])
  np.testing.assert_array_equal(mixed[1], apart[1][1])
  swapped = run(jnp.stack([b[1], a[0]]))
  np.testing.assert_allclose(swapped[1], apart[0][0], atol=1e-6)
  np.testing.assert_allclose(swapped[0], apart[1][1], atol=1e-6)


def test_every_step_in_time_counts(run):
  """Each quarter of the clip changes the map, through attention and readout."""
  x = clips()
  before = run(x)
  for quarter in range(4):
    changed = run(x.at[:, 8 * quarter : 8 * quarter + 8].multiply(-1))
    assert np.abs(changed - before).max() > 1e-4, quarter


def test_bfloat16(run):
  model = create(dtype="bfloat16")
  maps = compiled(model, 2)(model, clips())
  assert maps.dtype == np.float32
  assert np.corrcoef(maps.ravel(), run(clips()).ravel())[0, 1] >= 0.999


def test_configuration_survives_json():
  for config in stsanet.VARIANTS.values():
    fields = json.loads(json.dumps(dataclasses.asdict(config)))
    assert stsanet.STSANetConfig(**fields) == config


@pytest.mark.parametrize("variant", sorted(set(ABLATIONS) - set(RUN)))
def test_ablation_builds(variant):
  """The ablation is only traced, because compiling all of them would take minutes."""
  maps = nnx.eval_shape(lambda: create(variant)(jnp.zeros((1, 32, *SIZE, 3))))
  assert maps.shape == (1, *SIZE) and maps.dtype == jnp.float32


@pytest.mark.parametrize("variant", RUN)
def test_ablation_runs(variant):
  model = create(variant)
  maps = compiled(model, 1)(model, clips(1))
  assert maps.min() >= 0 and maps.max() <= 1 and maps.std() > 0


def names(variant):
  """Returns the PyTorch names of a variant's parts, without the encoder."""
  table = stsanet.STSANet.table(stsanet.VARIANTS[variant])
  return {e.name.split(".")[0] for e in table if not e.name.startswith("base")}


def layer(block, number):
  """Returns the reference's names of an STSA layer's parts; blocks are counted from 0."""
  pairs = (0, 1) if number == 1 else (2,)
  units = {f"branch{block}_{p}_{ab}_{x}" for p in pairs for ab in "ab" for x in "qkv"}
  return units | {f"ln_{block}_{number - 1}"}


STSA1 = set().union(*(layer(b, 1) for b in range(4)))
STSA2 = set().union(*(layer(b, 2) for b in range(4)))
AW = {f"{x}_{i}" for x in ("SA", "CA") for i in range(3)}
STMS = {f"inc_{i}_{j}" for i in range(3) for j in range(4)}
CONV = {f"conv_{i}" for i in range(3)}
SKIPS = {f"branch{b}_{x}" for b in range(3) for x in ("pre", "mid")}
ONE_MATRIX = {f"ln_{b}_0" for b in range(4)} | {
  f"branch{b}_0_a_{x}" for b in range(4) for x in "qkv"
}


@pytest.mark.parametrize(
  "variant, without, instead",
  [
    ("single_stream", STSA1 | STSA2 | AW | STMS | SKIPS, CONV),
    ("unet", STSA1 | STSA2 | AW | STMS, CONV),
    ("unet_stsa", AW | STMS, CONV),
    ("unet_amsf", STSA1 | STSA2, set()),
    ("no_temporal_relations", STSA2, set()),
    ("single_matrix", (STSA1 | STSA2) - ONE_MATRIX, set()),
    ("no_stsa_layer1", STSA1, set()),
    ("no_stsa_layer2", STSA2, set()),
    *((f"no_stsa{b + 1}", layer(b, 1) | layer(b, 2), set()) for b in range(4)),
    ("concat_amsf", set(), set()),
    ("no_weighting", AW, set()),
    ("no_multi_scale", STMS, CONV),
    ("last", set(), set()),
  ],
)
def test_ablation_differs_as_described(variant, without, instead):
  torch_shapes(stsanet.VARIANTS[variant])  # every parameter has a name
  assert names("base") - names(variant) == without
  assert names(variant) - names("base") == instead


def test_parameter_counts():
  base = parameters()
  assert abs(4 * base / 643e6 - 1) < 0.01  # table I's model size, in decimal megabytes
  assert parameters(weighting="concat") > base  # section IV-E3: addition has fewer parameters
  assert parameters(relations="per_step") == parameters(stsa_layers=(1,))


def test_target_is_supervision_only():
  assert stsanet.VARIANTS["base"].target == "middle"
  assert stsanet.VARIANTS["last"].target == "last"
  assert torch_shapes(stsanet.VARIANTS["last"]) == torch_shapes(stsanet.VARIANTS["base"])


def test_parts_that_add_nothing_are_as_good_as_absent(tiny, apply):
  """Attention whose normalisations give 0 adds nothing, and weights of 1 change nothing."""
  without = create(stsa_blocks=(), weighting="none")
  copy_shared(tiny, without)
  silent = nnx.clone(tiny)
  for block in (1, 2, 3, 4):
    stsa = getattr(silent, f"stsa{block}")
    for norm in (stsa.layer1.norm, stsa.layer2.norm):
      norm.scale[...] = jnp.zeros_like(norm.scale[...])
  for amsf in (silent.amsf1, silent.amsf2, silent.amsf3):
    amsf.weighting.excite.bias[...] += 1e3
  expected = compiled(without, 2)(without, clips())
  np.testing.assert_allclose(apply(silent, clips()), expected, atol=1e-6)
  assert np.abs(apply(tiny, clips()) - expected).max() > 1e-3


@pytest.mark.parametrize("bottleneck", [False, True])
def test_partners_do_not_matter_when_all_steps_are_equal(bottleneck):
  def build(partners):
    rngs = nnx.Rngs(jax.random.key(3))
    unit = stsanet.STSALayer((4, 4, 6, 5), 3, partners, bottleneck, "float32", rngs)
    first = nnx.state(unit.embedding0)
    for i in range(1, len(partners)):
      nnx.update(getattr(unit, f"embedding{i}"), first)
    return unit

  step = jax.random.normal(jax.random.key(0), (2, 1, 4, 6, 5))
  x = jnp.tile(step, (1, 4, 1, 1, 1))
  expected = build((1, 0, 3, 2))(x)
  assert np.abs(expected - x).max() > 0.1
  for partners in ((0, 1, 2, 3), (0,)):
    np.testing.assert_allclose(build(partners)(x), expected, atol=1e-5)


def test_layer_exchanges_between_partners():
  """The query of step 1 chooses among the values of step 0, as in equation 1."""
  unit = stsanet.STSALayer(
    (4, 2, 3, 5), 3, (1, 0, 3, 2), False, "float32", nnx.Rngs(jax.random.key(1))
  )
  x = jax.random.normal(jax.random.key(0), (1, 4, 2, 3, 5))
  (query, _, _), (_, key, value) = unit.embedding1(x[:, 1:2]), unit.embedding0(x[:, :1])
  expected = jax.nn.softmax(query @ key.swapaxes(1, 2)) @ value
  unit.norm = lambda y: y
  result = (unit(x) - x)[:, 0].reshape(1, 6, 5)
  np.testing.assert_allclose(result, expected, atol=1e-5)


def test_training_step():
  model = create(batch_norm_momentum=0.1)
  network, params, model_state = split(model)
  tx = optax.adam(1e-3)
  weights = {"kl": 1.0, "cc": 1.0}  # the paper's loss, equation 12
  step = make_train_step(network, tx, lambda _: 1e-3, weights, 1)
  rng = np.random.default_rng(0)
  batch = {
    "frames": jnp.asarray(rng.integers(0, 256, (2, 32, *SIZE, 3)), jnp.uint8),
    "density": jnp.asarray(rng.random((2, *SIZE)), jnp.float32),
    "fixations": jnp.zeros((2, *SIZE), jnp.uint8).at[:, 3, 4].set(1),
    "mask": jnp.ones(2),
  }
  state, scalars = new_state(params, model_state, tx), []
  step = jax.jit(step).lower(state, batch).compile()
  for _ in range(3):
    state, more = step(state, batch)
    scalars.append(jax.device_get(more))
  assert all(np.isfinite(x) for more in scalars for x in more.values())
  assert scalars[-1]["loss"] < scalars[0]["loss"]
  # Adam's first moments are finite only if all gradients were.
  moments = nnx.traversals.flatten_mapping(state.opt_state[0].mu, sep=".")
  for name, moment in moments.items():
    assert np.isfinite(moment).all(), name


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"length": 16}, "length is 16"),
    ({"size": (40, 64)}, "multiples of 32"),
    ({"stsa_blocks": (1, 5)}, "stsa_blocks is"),
    ({"stsa_layers": (0,)}, "stsa_layers is"),
    ({"relations": "none"}, "relations is 'none'"),
    ({"weighting": "mean"}, "weighting is 'mean'"),
    ({"relations": "per_step", "stsa_layers": (1,)}, "one attention layer"),
  ],
)
def test_what_cannot_be_is_refused(changes, message):
  with pytest.raises(UserError, match=message):
    create(**changes)


@pytest.mark.parametrize("shape", [(1, 32, 64, 64, 3), (1, 16, *SIZE, 3)])
def test_clip_of_another_size_is_refused(tiny, shape):
  with pytest.raises(UserError, match=r"does not fit an STSANet of 32 x 32 x 64"):
    tiny(jnp.zeros(shape))
