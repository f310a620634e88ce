"""TSFP-Net with audio (Chang and Zhu, arXiv:2105.04213): a demo run.

    python -m jaxsal.main --config=configs/tsfp_av.py --workdir=runs/tsfp_av_demo

A quarter of the width on the demo set with sound, where a tone says which of two identical objects
is looked at, from random weights. `jaxsal evaluate --mute` shows what the sound is worth.

The paper trains in two stages (section 4.2), first without sound and then with it:

    --config.init_from=runs/tsfp_dhf1k --config.sound_from=models/soundnet

Its recipe for the six audio-visual sets is not here yet, as their builders are not.
"""

from ml_collections import ConfigDict

from jaxsal.train.recipe import check_arg, make_demo, recipe


def get_config(arg: str = "demo") -> ConfigDict:
  """The configuration of the demo run."""
  check_arg(arg, ("demo",), "configs/tsfp_av.py")
  config = make_demo(recipe("tsfp_av"))
  config.loss = ConfigDict({"kl": 1.0, "cc": 0.5, "nss": 0.1})  # KL + 0.5 (-CC) + 0.1 (-NSS)
  config.data.dataset = "demo_sound"
  return config
