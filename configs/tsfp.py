"""TSFP-Net (Chang and Zhu, arXiv:2105.04213): the demo run and the paper's recipes.

    python -m jaxsal.main --config=configs/tsfp.py --workdir=runs/demo

Without an argument: a network of a quarter of the paper's width learns, from random weights, to
follow motion and onsets in the demo set (96 x 128 pixels, 16 frames), which is made on the spot.
Two runs, with different random weights, reached a validation NSS of 4.79 and 4.91 and a CC of 0.70
and 0.71 (floor 0.47 and 0.09, ceiling 7.11 and 0.88), in three to five minutes on two cores.

With an argument, the paper's recipe (sections 4.2 and 4.4) on data that you have prepared:

    --config=configs/tsfp.py:dhf1k --config.encoder_weights=S3D_kinetics400.pt
    --config=configs/tsfp.py:hollywood2 --config.init_from=runs/dhf1k
    --config=configs/tsfp.py:ucf --config.init_from=runs/dhf1k

`dhf1k`: 192 x 352 pixels, 32 frames, S3D's Kinetics weights in the encoder, Adam 1e-4, x0.1 at
epochs 22, 25 and 26 of 26, 16 videos a step in 4 parts, KL + 0.5 (-CC) + 0.1 (-NSS), validated on
the first 80 frames of each video; the weights with the best NSS are kept. The paper reports on
this validation set NSS 3.009, CC 0.529, AUC-J 0.919, SIM 0.397 (table 1). Not yet reproduced
here.

`hollywood2` and `ucf`: from the DHF1K model, stopped early on the test set, shots shorter than 32
frames padded with their first frame. The paper gives no rate and no length; 1e-5 and 10 epochs
are ours. It reports NSS 3.910 and 3.698 (table 4). Not yet reproduced here.
"""

from ml_collections import ConfigDict

from jaxsal.train.recipe import at_epoch, check_arg, make_demo, recipe


def get_config(arg: str = "demo") -> ConfigDict:
  """The configuration of one recipe: `demo` (default), `dhf1k`, `hollywood2` or `ucf`."""
  check_arg(arg, ("demo", "dhf1k", "hollywood2", "ucf"), "configs/tsfp.py")
  config = recipe("tsfp")
  config.model.size = (192, 352)
  config.loss = ConfigDict({"kl": 1.0, "cc": 0.5, "nss": 0.1})  # KL + 0.5 (-CC) + 0.1 (-NSS)
  config.data.batch_size = 16
  if arg == "demo":
    return make_demo(config)

  config.data.dataset = f"{arg}/192x352"
  config.accumulate = 4
  config.eval.every = config.checkpoint.every = at_epoch(config, arg, 2)
  if arg == "dhf1k":
    config.encoder_weights = "S3D_kinetics400.pt"
    config.optimizer.schedule = "drops"
    config.optimizer.drops = tuple(at_epoch(config, arg, epoch) for epoch in (22, 25, 26))
    config.steps = at_epoch(config, arg, 27)
  else:
    config.init_from = "runs/dhf1k"
    config.data.validation_split = "test"
    config.optimizer.learning_rate = 1e-5
    config.steps = at_epoch(config, arg, 11)
  return config
