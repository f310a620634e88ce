"""Every shipped recipe names a network, a loss and an optimizer that exist."""

import pathlib
import runpy

import jax
import pytest
from flax import nnx

from jaxsal import losses, models
from jaxsal.train.optimizer import make_optimizer, make_schedule

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
SETS = {
  "avinet": (),
  "stsanet": ("dhf1k", "hollywood2", "ucf", "diem"),
  "tsfp_av": (),
}
RECIPES = [
  (path.stem, arg)
  for path in sorted(CONFIGS.glob("*.py"))
  for arg in ("demo", *SETS.get(path.stem, ("dhf1k", "hollywood2", "ucf")))
]


@pytest.mark.parametrize(("name", "arg"), RECIPES)
def test_recipe(name, arg):
  config = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"](arg)
  model = nnx.eval_shape(lambda: models.create(**config.model.to_dict()))
  assert config.model.name == name
  assert model.length == (16 if arg == "demo" and name != "stsanet" else 32)
  assert losses.check_weights(config.loss)
  schedule = make_schedule(config.optimizer, config.steps)
  make_optimizer(config.optimizer, schedule)
  assert config.data.batch_size % config.accumulate == 0
  assert 0 < config.eval.every <= config.steps and 0 < config.checkpoint.every <= config.steps
  assert all(0 < step < config.steps for step in config.optimizer.drops)
  # Fine-tuning starts from a model, training on DHF1K from Kinetics weights, the demo from nothing.
  started = bool(config.init_from), bool(config.encoder_weights)
  expected = {"demo": (False, False), "dhf1k": (False, True)}.get(arg, (True, False))
  assert started == expected


def test_the_papers_rates():
  """Section 4.2 of TSFP-Net: 1e-4, a tenth of the rate at the 22nd, 25th and 26th of 26 epochs."""
  config = runpy.run_path(str(CONFIGS / "tsfp.py"))["get_config"]("dhf1k")
  schedule = make_schedule(config.optimizer, config.steps)
  epoch = 600 / 16
  rates = [float(jax.device_get(schedule(int(epoch * e + 1)))) for e in (20.5, 21.5, 24.5, 25.5)]
  assert rates == pytest.approx([1e-4, 1e-5, 1e-6, 1e-7], rel=1e-5)
  assert config.steps == 26 * epoch and config.loss.to_dict() == {"kl": 1, "cc": 0.5, "nss": 0.1}
