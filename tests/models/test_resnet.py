"""ResNet-50: comparison with torchvision's logits and stages (float64), names and sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from golden import weights
from golden_case import Case, check_values

from jaxsal import convert, models
from jaxsal.errors import UserError
from jaxsal.models import resnet


@pytest.fixture(scope="module")
def case():
  return Case("resnet50")


@pytest.fixture(scope="module")
def model(case):
  return convert.from_torch("resnet50", case.state_dict)


@pytest.mark.slow
def test_logits_and_stages_are_the_references(case, model):
  (shape,) = case.expected["inputs"]
  images = jnp.asarray(weights.clip(tuple(shape), case.seed, "input0").transpose(0, 2, 3, 1))
  stem, stages, logits = jax.jit(lambda x: (model.encoder.stem(x), model.stages(x), model(x)))(
    images
  )
  assert logits.dtype == jnp.float32
  assert np.abs(logits - case.arrays["output"]).max() < 1e-4 * case.expected["output_std"]
  stages = {"maxpool": stem, **stages._asdict()}
  assert stages.keys() == case.expected["stages"].keys()
  for name, x in stages.items():
    check_values(case, name, np.asarray(x).transpose(0, 3, 1, 2))


def test_state_dict_comes_back(case, model):
  back = convert.to_torch(model)
  assert list(back) == list(case.state_dict)
  for name, value in case.state_dict.items():
    assert back[name].dtype == value.dtype, name
    np.testing.assert_array_equal(back[name], value, err_msg=name)


def test_parameters_are_torchvisions():
  model = nnx.eval_shape(lambda: models.create("resnet50"))
  assert sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param))) == 25_557_032


def test_encoder_takes_the_classifiers_weights(case, model):
  encoder = nnx.eval_shape(lambda: resnet.Encoder(resnet.ResNetConfig(), nnx.Rngs(0)))
  convert.encoder_from_torch(encoder, case.state_dict)
  wanted = models.arrays(model.encoder)
  for name, value in models.arrays(encoder).items():
    np.testing.assert_array_equal(value, wanted[name], err_msg=name)


def test_encoder_refuses_other_weights(case):
  encoder = nnx.eval_shape(lambda: resnet.Encoder(resnet.ResNetConfig(width=0.5), nnx.Rngs(0)))
  with pytest.raises(UserError, match=r"shape: layer4\.2\.conv3\.weight"):
    convert.encoder_from_torch(encoder, case.state_dict)


@pytest.mark.parametrize(("h", "w"), [(75, 50), (1, 1)])
def test_stages_round_sizes_up(h, w):
  model = nnx.eval_shape(lambda: models.create("resnet50", "tiny"))
  graph, state = nnx.split(model)
  images = jax.ShapeDtypeStruct((2, h, w, 3), jnp.float32)
  stages = jax.eval_shape(lambda s, x: nnx.merge(graph, s, copy=True).stages(x), state, images)
  for x, c, stride in zip(stages, (16, 32, 64, 128), (4, 8, 16, 32)):
    assert x.shape == (2, -(-h // stride), -(-w // stride), c)


def test_configuration_from_json_is_the_same():
  config = models.configure("resnet50", blocks=[3, 4, 6, 3])
  assert config == resnet.VARIANTS["base"] and hash(config) == hash(resnet.VARIANTS["base"])
