"""PWC-Net: comparison with the reference's flow (float64), its layers, names and sizes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_case import Case

from jaxsal import convert, models
from jaxsal.errors import UserError
from jaxsal.models import pwcnet


@pytest.fixture(scope="module")
def case():
  return Case("pwcnet")


@pytest.fixture(scope="module")
def model(case):
  return convert.from_torch("pwcnet", case.state_dict)


@pytest.mark.slow
def test_flow_is_the_references(case, model):
  """The error is below 1e-5 pixels; PyTorch's float32 differs from its float64 by 2e-6."""
  first, second = (jnp.asarray(case.arrays[k].transpose(0, 2, 3, 1)) for k in ("first", "second"))
  flow = jax.jit(model)(first, second)
  assert flow.shape == (1, 32, 48, 2) and flow.dtype == jnp.float32
  np.testing.assert_allclose(flow.transpose(0, 3, 1, 2), case.arrays["output"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("naming", ["net", "module"])
def test_both_namings_are_read_and_written(case, model, naming):
  state_dict = {k.replace("net", naming): v for k, v in case.state_dict.items()}
  other = convert.from_torch("pwcnet", state_dict)
  assert other.config.naming == naming
  back = convert.to_torch(other)
  assert list(back) == list(state_dict)
  for name, value in state_dict.items():
    np.testing.assert_array_equal(back[name], value, err_msg=name)
  np.testing.assert_array_equal(other.context.flow.kernel[...], model.context.flow.kernel[...])


def random(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def test_cost_volume_is_the_mean_product_of_shifted_features():
  first, second = random(2, 5, 6, 3), random(2, 5, 6, 3, seed=1)
  volume = jax.jit(pwcnet.cost_volume)(first, second)
  padded = np.pad(second, [(0, 0), (4, 4), (4, 4), (0, 0)])
  assert volume.shape == (2, 5, 6, 81)
  for dy, dx in itertools.product(range(-4, 5), repeat=2):
    shifted = padded[:, 4 + dy : 9 + dy, 4 + dx : 10 + dx]
    want = np.mean(first * shifted, axis=-1)
    np.testing.assert_allclose(volume[..., (dy + 4) * 9 + dx + 4], want, atol=1e-6)


def test_cost_volume_keeps_no_copy_per_displacement():
  features = jax.ShapeDtypeStruct((1, 32, 64, 64), jnp.float32)
  memory = jax.jit(pwcnet.cost_volume).lower(features, features).compile().memory_analysis()
  size = 4 * features.size
  assert memory.temp_size_in_bytes < memory.output_size_in_bytes + 5 * size  # not 81 copies


def sample(x, row, column):
  """Returns the bilinear sample of x [h, w, c], with zeros outside, and its weight inside x."""
  h, w, c = x.shape
  value, inside = np.zeros(c), 0.0
  for i, j in itertools.product((0, 1), repeat=2):
    r, s = int(np.floor(row)) + i, int(np.floor(column)) + j
    weight = (1 - abs(row - r)) * (1 - abs(column - s))
    if 0 <= r < h and 0 <= s < w:
      value, inside = value + weight * x[r, s], inside + weight
  return value, inside


def test_warp_samples_bilinearly_and_zeroes_what_lies_outside():
  x, flow = random(2, 6, 7, 3), 2 * random(2, 6, 7, 2, seed=1)
  # Samples outside by less and by more than a thousandth of a pixel, at the border, and far away.
  flow = flow.at[0, 0, 0].set(jnp.array([-5e-4, 0.0])).at[0, 0, 1].set(jnp.array([0.0, -2e-3]))
  flow = flow.at[0, 5, 6].set(0.0).at[1, 5, 6].set(jnp.array([1e6, -1e6]))
  warped = jax.jit(pwcnet.warp)(x, flow)
  count = 0
  for b, i, j in itertools.product(range(2), range(6), range(7)):
    value, inside = sample(
      np.asarray(x[b]), i + float(flow[b, i, j, 1]), j + float(flow[b, i, j, 0])
    )
    want = value if inside > 0.999 else np.zeros(3)
    np.testing.assert_allclose(warped[b, i, j], want, atol=2e-6, err_msg=f"{b, i, j}")
    count += inside > 0.999
  assert 20 < count < 70  # Both cases occur among the 84 samples.
  assert (warped[0, 0, 0] != 0).all() and (warped[0, 0, 1] == 0).all()


@pytest.fixture(scope="module")
def tiny():
  model = models.create("pwcnet", "tiny")
  # The last layer gives one flow everywhere: one pixel to the right, two down.
  model.context.flow.kernel[...] *= 0
  model.context.flow.bias[...] = jnp.array([0.05, 0.1])
  model.estimator2.flow.kernel[...] *= 0
  return model


def test_flow_of_any_size_is_scaled_back(tiny):
  """The network computes the flow of 40 x 50 frames at 64 x 64."""
  frames = jnp.zeros((1, 40, 50, 3), jnp.uint8)
  flow = jax.jit(tiny.flow)(frames, frames)
  assert flow.shape == (1, 40, 50, 2) and flow.dtype == jnp.float32
  np.testing.assert_allclose(flow[..., 0], 50 / 64, rtol=1e-5)
  np.testing.assert_allclose(flow[..., 1], 2 * 40 / 64, rtol=1e-5)


@pytest.mark.parametrize(
  ("first", "second", "message"),
  [
    ((1, 64, 100, 3), (1, 64, 100, 3), "64 x 100: .* multiples of 64, such as 64 x 128"),
    ((1, 64, 64, 3), (1, 64, 128, 3), "one shape"),
    ((64, 64, 3), (64, 64, 3), "one shape"),
  ],
)
def test_unfit_images_are_refused(tiny, first, second, message):
  with pytest.raises(UserError, match=message):
    tiny(jnp.zeros(first), jnp.zeros(second))
