"""AViNet (Jain et al., IROS 2021), ViNet with sound: a demo run.

    python -m jaxsal.main --config=configs/avinet.py --workdir=runs/avinet_demo

A quarter of the width on the demo set with sound, where a tone says which of two identical objects
is looked at, from random weights. `jaxsal evaluate --mute` shows what the sound is worth.

The paper initialises the frames' part from ViNet and the sound's from SoundNet:

    --config.init_from=models/vinet --config.sound_from=models/soundnet

Its recipe for the six audio-visual sets is not here yet, as their builders are not.
"""

from ml_collections import ConfigDict

from jaxsal.train.recipe import check_arg, make_demo, recipe


def get_config(arg: str = "demo") -> ConfigDict:
  """The configuration of the demo run."""
  check_arg(arg, ("demo",), "configs/avinet.py")
  config = make_demo(recipe("avinet"))
  config.data.dataset = "demo_sound"
  return config
