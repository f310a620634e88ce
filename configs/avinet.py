"""AViNet (Jain et al., IROS 2021), ViNet with sound: a demo run and the paper's recipes.

    python -m jaxsal.main --config=configs/avinet.py --workdir=runs/avinet_demo

Without an argument: a quarter of the width on the demo set with sound, where a tone says which of
two identical objects is looked at, from random weights: NSS 6.01, of the same weights without the
sound 4.37, of ViNet 5.45. `jaxsal evaluate --mute` shows what the sound is worth.

With an argument, the paper's recipe (section 4.2) on one of the six audio-visual sets, on `six`,
all of them, or on `ave`:

    --config=configs/avinet.py:avad --workdir=runs/avinet_avad_1
    --config=configs/avinet.py:avad --workdir=runs/avinet_avad_2
      --config.data.train_split=train_2 --config.data.validation_split=test_2
    jaxsal evaluate --dataset=avad --split=test --blur-video=2 --out=scores/avinet_avad
      --model=runs/avinet_avad_1 --model=runs/avinet_avad_2 --model=runs/avinet_avad_3

224 x 384 pixels, 32 frames, 8 clips a step, Adam 1e-4, KL; the frames' part starts from ViNet
trained on DHF1K (`--config.init_from`), the sound's part from SoundNet (`--config.sound_from`), a
model folder that `jaxsal convert --model=soundnet` writes. AVE is stopped early on its validation
set, as in the paper, the others on the fold's test set, as the paper does with Hollywood-2 and UCF.
The paper gives no length; 2000 steps are ours. It reports, over the three splits (tables 4 and 5),
DIEM NSS 2.53, CC 0.632; Coutrot 2 NSS 5.95, CC 0.754. Not yet reproduced here.
"""

from ml_collections import ConfigDict

from jaxsal.train.recipe import AUDIO_VISUAL, check_arg, fine_tune_with_sound, make_demo, recipe


def get_config(arg: str = "demo") -> ConfigDict:
  """The configuration of one recipe: `demo` (default), a set's name, `six` or `ave`."""
  check_arg(arg, ("demo", *AUDIO_VISUAL, "six", "ave"), "configs/avinet.py")
  config = recipe("avinet")
  if arg == "demo":
    config = make_demo(config)
    config.data.dataset = "demo_sound"
    return config

  config.data.batch_size = config.eval.batch_size = 8
  config.init_from, config.sound_from = "runs/vinet_dhf1k", "models/soundnet"
  return fine_tune_with_sound(config, arg)
