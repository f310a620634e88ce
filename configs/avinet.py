"""AViNet (Jain et al., IROS 2021), ViNet with sound: a demo run and the paper's recipes.

    jaxsal train --config=avinet --workdir=runs/avinet_demo

`demo` (without an argument): a quarter of the width, from random weights, on the demo set with
sound, where a tone says which of two identical objects is looked at. It reached NSS 6.01; the same
weights without the sound reach 4.37 and ViNet 5.45. `jaxsal evaluate --mute` scores a network
without the sound.

With an argument, the paper's recipe (section 4.2) on one of the six audio-visual sets (`avad`,
`coutrot1`, `coutrot2`, `diem`, `etmd`, `summe`), on `six`, which is all of them, or on `ave`:

    jaxsal train --config=avinet:avad --workdir=runs/avinet_avad_1
    jaxsal train --config=avinet:avad --workdir=runs/avinet_avad_2
      --config.data.train_split=train_2 --config.data.validation_split=test_2
    jaxsal train --config=avinet:avad --workdir=runs/avinet_avad_3
      --config.data.train_split=train_3 --config.data.validation_split=test_3
    jaxsal evaluate --dataset=avad --split=test --blur-video=2 --out=scores/avinet_avad
      --model=runs/avinet_avad_1 --model=runs/avinet_avad_2 --model=runs/avinet_avad_3

224 x 384 pixels, 32 frames, 8 clips a step, Adam 1e-4, KL. The visual part starts from ViNet
trained on DHF1K (`--config.init_from`), the sound part from SoundNet (`--config.sound_from`), a
model folder that `jaxsal convert --model=soundnet` writes. AVE is stopped early on its validation
set, as in the paper, the others on the fold's test set, as the paper does with Hollywood-2 and UCF.
The paper gives no length; 2000 steps are ours, because an epoch of so few videos is short. It
reports, over the three splits (tables 4 and 5), DIEM NSS 2.53, CC 0.632; Coutrot 2 NSS 5.95, CC
0.754.

The paper's recipe has not been run here yet, so its scores are not reproduced and its cost is not
known.
"""

from ml_collections import ConfigDict

from jaxsal.train.recipe import AUDIO_VISUAL, check_arg, demo_recipe, recipe, use_audio_visual_set


def get_config(arg: str = "demo") -> ConfigDict:
  """Returns the configuration of a recipe: `demo`, the name of a set, `six` or `ave`."""
  check_arg(arg, ("demo", *AUDIO_VISUAL, "six", "ave"), "configs/avinet.py")
  config = demo_recipe("avinet", dataset="demo_sound") if arg == "demo" else recipe("avinet")
  config.loss = ConfigDict({"kl": 1.0})
  if arg == "demo":
    return config

  config.init_from, config.sound_from = "runs/vinet_dhf1k", "models/soundnet"
  config.model.length, config.model.size = 32, (224, 384)
  use_audio_visual_set(config, arg)
  config.data.batch_size = config.eval.batch_size = 8
  config.optimizer.name = "adam"
  config.optimizer.learning_rate = 1e-4
  config.steps = 2000
  config.eval.every = config.checkpoint.every = 100
  return config
