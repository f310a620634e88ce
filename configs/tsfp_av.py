"""TSFP-Net with audio (Chang and Zhu, arXiv:2105.04213): a demo run and the paper's recipes.

    python -m jaxsal.main --config=configs/tsfp_av.py --workdir=runs/tsfp_av_demo

Without an argument: a quarter of the width on the demo set with sound, where a tone says which of
two identical objects is looked at, from random weights: NSS 6.14, of the same weights without the
sound 4.78, of TSFP-Net 5.44. `jaxsal evaluate --mute` shows what the sound is worth, and `jaxsal
compare` shows it video by video.

With an argument, the paper's two stages (section 4.2) on one of the six audio-visual sets, or on
`six`, all of them. First TSFP-Net, trained on DHF1K, is fine-tuned without sound; then the network
with audio starts from it, and from SoundNet (a model folder that `jaxsal convert --model=soundnet`
writes):

    --config=configs/tsfp_av.py:diem_visual --workdir=runs/tsfp_diem
    --config=configs/tsfp_av.py:diem --workdir=runs/tsfp_av_diem --config.init_from=runs/tsfp_diem

192 x 352 pixels, 32 frames, 16 clips a step in 4 parts, Adam, KL + 0.5 (-CC) + 0.1 (-NSS). Other
folds than the first: `--config.data.train_split=train_2 --config.data.validation_split=test_2` in
both stages. The paper gives no rate, no length and no early stopping for them; 1e-5, 2000 steps and
the fold's test set are ours. It reports, over the three splits (tables 5 and 6), DIEM NSS 2.62, CC
0.651; Coutrot 2 NSS 5.31, CC 0.743. Not yet reproduced here.
"""

from ml_collections import ConfigDict

from jaxsal.train.recipe import AUDIO_VISUAL, check_arg, fine_tune_with_sound, make_demo, recipe

_SETS = (*AUDIO_VISUAL, "six")


def get_config(arg: str = "demo") -> ConfigDict:
  """The configuration of one recipe: `demo` (default), a set's name, or that with `_visual`."""
  known = ("demo", *_SETS, *(f"{name}_visual" for name in _SETS))
  check_arg(arg, known, "configs/tsfp_av.py")
  dataset, visual, _ = arg.partition("_visual")
  config = recipe("tsfp" if visual else "tsfp_av")
  config.loss = ConfigDict({"kl": 1.0, "cc": 0.5, "nss": 0.1})  # KL + 0.5 (-CC) + 0.1 (-NSS)
  if arg == "demo":
    config = make_demo(config)
    config.data.dataset = "demo_sound"
    return config

  config.model.size = (192, 352)
  config.accumulate = 4
  config.optimizer.learning_rate = 1e-5
  if visual:
    config.init_from = "runs/dhf1k"
  else:
    config.init_from, config.sound_from = f"runs/tsfp_{dataset}", "models/soundnet"
  return fine_tune_with_sound(config, dataset)
