"""Every shipped recipe names a network, a loss and an optimizer that exist."""

import pathlib
import runpy
import subprocess
import sys

import jax
import pytest
from flax import nnx

from jaxsal import losses, models
from jaxsal.models import gfsal
from jaxsal.tfds_builders import stavis
from jaxsal.train.optimizer import make_optimizer, make_schedule

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
SETS = {
  "gfsal": ("salicon", "ucf", "hollywood2", "dhf1k", "mixed"),
  "avinet": ("avad", "six", "ave"),
  "stsanet": ("dhf1k", "hollywood2", "ucf", "diem"),
  "tsfp_av": ("diem", "six", "six_visual"),
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
  assert config.model.name == ("tsfp" if arg.endswith("_visual") else name)
  demo_length = {"stsanet": 32}.get(name, 16)
  assert model.length == (1 if name == "gfsal" else demo_length if arg == "demo" else 32)
  assert losses.check_weights(config.loss)
  schedule = make_schedule(config.optimizer, config.steps)
  make_optimizer(config.optimizer, schedule)
  assert config.data.batch_size % config.accumulate == 0
  assert 0 < config.eval.every <= config.steps and 0 < config.checkpoint.every <= config.steps
  assert all(0 < step < config.steps for step in config.optimizer.drops)
  # Fine-tuning starts from a model, the training before it from published weights, and the demo
  # from random weights.
  first = "salicon" if name == "gfsal" else "dhf1k"
  started = bool(config.init_from), bool(config.encoder_weights)
  expected = {"demo": (False, False), first: (False, True)}.get(arg, (True, False))
  assert started == expected


def test_a_recipe_loads_without_jax():
  """Errors in flags are reported before JAX takes seconds to start."""
  program = (
    "import runpy, sys\n"
    f"runpy.run_path({str(CONFIGS / 'gfsal.py')!r})['get_config']('mixed')\n"
    "sys.exit('jax' in sys.modules)"
  )
  subprocess.run([sys.executable, "-c", program], check=True)


def test_the_papers_rates():
  """TSFP-Net, section 4.2: 1e-4, a tenth of the rate at the 22nd, 25th and 26th of 26 epochs."""
  config = runpy.run_path(str(CONFIGS / "tsfp.py"))["get_config"]("dhf1k")
  schedule = make_schedule(config.optimizer, config.steps)
  epoch = 600 / 16
  rates = [float(jax.device_get(schedule(int(epoch * e + 1)))) for e in (20.5, 21.5, 24.5, 25.5)]
  assert rates == pytest.approx([1e-4, 1e-5, 1e-6, 1e-7], rel=1e-5)
  assert config.steps == 26 * epoch and config.loss.to_dict() == {"kl": 1, "cc": 0.5, "nss": 0.1}


def test_the_two_stages_with_audio():
  """The second stage starts from the first, on the same data; all six sets have that fold."""
  get_config = runpy.run_path(str(CONFIGS / "tsfp_av.py"))["get_config"]
  visual, audio = get_config("six_visual"), get_config("six")
  assert visual.data.to_dict() == audio.data.to_dict()
  assert audio.init_from == "runs/tsfp_six" and audio.sound_from and not visual.sound_from
  assert [name for name, _ in audio.data.mixture] == [
    f"{name}/192x352" for name in ("avad", "coutrot1", "coutrot2", "diem", "etmd", "summe")
  ]
  assert audio.data.train_split == "train_1" and "train_1" in stavis.FOLDS


def test_gfsalnets_stages():
  """The rate, its drops and the batches are those of section IV-B; recipes train every variant."""
  get_config = runpy.run_path(str(CONFIGS / "gfsal.py"))["get_config"]
  mixed = get_config("mixed")
  schedule = make_schedule(mixed.optimizer, mixed.steps)
  rates = [float(jax.device_get(schedule(step))) for step in (2999, 3001, 6001)]
  assert rates == pytest.approx([1e-4, 1e-5, 1e-6], rel=1e-5)
  assert mixed.data.batch_size == 16 and get_config("ucf").data.batch_size == 8
  assert mixed.loss.to_dict() == {"kl": 1, "nss": 0.1}
  assert [name for name, _ in mixed.data.mixture] == [
    f"{name}/480x640" for name in ("ucf", "hollywood2", "dhf1k")
  ]
  for arg, width in (("demo", 0.25), ("dhf1k", 1.0)):
    config = get_config(arg)
    for variant in ("spatial", "temporal", "no_attention", "no_gated_fusion"):
      config.model.variant = variant
      chosen = models.configure(**config.model.to_dict())
      assert chosen.width == width and chosen.streams == gfsal.VARIANTS[variant].streams
      assert chosen.fusion == gfsal.VARIANTS[variant].fusion
