"""TSFP-Net (Chang and Zhu, arXiv:2105.04213): a demo run and the paper's recipes.

    jaxsal train --config=tsfp --workdir=runs/demo

`demo` (without an argument): a network of a quarter of the paper's width learns, from random
weights, to follow motion and onsets in the demo set (96 x 128 pixels, 16 frames), which the trainer
builds first. Two runs with different random weights reached a validation NSS of 4.79 and 4.91 and a
CC of 0.70 and 0.71 (floor 0.47 and 0.09, ceiling 7.11 and 0.88), in three to five minutes on two
cores.

With an argument, the paper's recipes (sections 4.2 and 4.4) on data that you have prepared:

    jaxsal train --config=tsfp:dhf1k --workdir=runs/dhf1k
      --config.encoder_weights=S3D_kinetics400.pt
    jaxsal train --config=tsfp:hollywood2 --workdir=runs/hollywood2 --config.init_from=runs/dhf1k
    jaxsal train --config=tsfp:ucf --workdir=runs/ucf --config.init_from=runs/dhf1k

`dhf1k`: 192 x 352 pixels, 32 frames, S3D's Kinetics weights in the encoder, Adam 1e-4, x0.1 at
epochs 22, 25 and 26 of 26, 16 videos a step in 4 parts, KL + 0.5 (-CC) + 0.1 (-NSS), validated on
the first 80 frames of each video; the weights with the best NSS are kept. On this validation set
the paper reports NSS 3.009, CC 0.529, AUC-J 0.919, SIM 0.397 (table 1).

`hollywood2` and `ucf`: the DHF1K model is fine-tuned and stopped early on the test set. Shots
shorter than 32 frames are padded with their first frame. The paper gives no rate and no length;
1e-5 and 10 epochs are ours. It reports NSS 3.910 and 3.698 (table 4).

The paper's recipes have not been run here yet, so their scores are not reproduced and their cost is
not known.
"""

from ml_collections import ConfigDict

from jaxsal.train.recipe import check_arg, demo_recipe, recipe, steps_for


def get_config(arg: str = "demo") -> ConfigDict:
  """Returns the configuration of a recipe: `demo`, `dhf1k`, `hollywood2` or `ucf`."""
  check_arg(arg, ("demo", "dhf1k", "hollywood2", "ucf"), "configs/tsfp.py")
  config = demo_recipe("tsfp") if arg == "demo" else recipe("tsfp")
  config.loss = ConfigDict({"kl": 1.0, "cc": 0.5, "nss": 0.1})  # KL + 0.5 (-CC) + 0.1 (-NSS)
  if arg == "demo":
    return config

  config.model.length, config.model.size = 32, (192, 352)
  config.data.dataset = f"{arg}/192x352"
  config.data.batch_size, config.accumulate = 16, 4
  config.eval.first_frames = 80
  config.eval.every = config.checkpoint.every = steps_for(1, config)
  config.optimizer.name = "adam"
  if arg == "dhf1k":
    config.encoder_weights = "S3D_kinetics400.pt"
    config.optimizer.learning_rate = 1e-4
    config.optimizer.schedule = "drops"
    config.optimizer.drops = tuple(steps_for(epoch - 1, config) for epoch in (22, 25, 26))
    config.optimizer.drop_factor = 0.1
    config.steps = steps_for(26, config)
  else:
    config.init_from = "runs/dhf1k"
    config.data.validation_split = "test"
    config.optimizer.learning_rate = 1e-5
    config.steps = steps_for(10, config)
  return config
