"""The PyTorch modules that the benchmarks time compute the functions of the references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_case import Case

from jaxsal import convert, models

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from benchmarks.peers import PEERS  # noqa: E402 (it imports torch)


def run(name, state_dict, clip, dtype=torch.float32):
  """Returns the output of a PyTorch module for a clip [b, c, t, h, w]."""
  peer = PEERS[name]().to(dtype)
  peer.load_state_dict({key: torch.from_numpy(np.array(x)) for key, x in state_dict.items()})
  with torch.inference_mode():
    return peer.eval()(torch.from_numpy(clip).to(dtype)).numpy()


@pytest.mark.parametrize(
  "name", ["s3d", "tased", "vinet", pytest.param("stsanet", marks=pytest.mark.slow)]
)
def test_peers_pass_the_golden_cases(name):
  case = Case(name)
  # In float32, rounding moves a switch in TASED-Net's case, because two maxima nearly tie.
  dtype = torch.float64 if name == "tased" else torch.float32
  output = run(name, case.state_dict, np.array(case.frames.transpose(0, 4, 1, 2, 3)), dtype)
  # S3D's logits are compared on their scale, and maps directly, as in the networks' own tests.
  scale = case.arrays["output"].std() if name == "s3d" else 1
  assert np.abs(output - case.arrays["output"]).max() < 1e-4 * scale


def test_tsfp_net_has_no_golden_case_but_this_one():
  model = models.create("tsfp", size=(32, 64))
  model.eval()
  frames = np.random.default_rng(0).normal(size=(1, 32, 32, 64, 3)).astype(np.float32)
  maps = jax.jit(model)(jnp.asarray(frames))
  output = run("tsfp", convert.to_torch(model), frames.transpose(0, 4, 1, 2, 3).copy())
  assert output.std() > 0 and np.abs(output - maps).max() < 1e-5
