"""ViNet (Jain et al., IROS 2021): a demo run and the paper's recipes.

    jaxsal train --config=vinet --workdir=runs/vinet_demo

`demo` (without an argument): a quarter of the width on the demo set, as in configs/tsfp.py. One run
reached a validation NSS of 4.93 and a CC of 0.73 (floor 0.47 and 0.09, ceiling 7.11 and 0.88), in
21 minutes on two cores that other work shared.

With an argument, the paper's recipes on data that you have prepared:

    jaxsal train --config=vinet:dhf1k --workdir=runs/vinet_dhf1k
      --config.encoder_weights=S3D_kinetics400.pt
    jaxsal train --config=vinet:hollywood2 --workdir=runs/vinet_hollywood2
      --config.init_from=runs/vinet_dhf1k
    jaxsal train --config=vinet:ucf --workdir=runs/vinet_ucf --config.init_from=runs/vinet_dhf1k

`dhf1k` (section 4): 224 x 384 pixels, 32 frames, Adam 1e-4, 8 clips a step, KL; the weights with
the best validation NSS are kept. The paper gives no length; 60 epochs are ours. On DHF1K's test set
it reports NSS 2.872, CC 0.511.

`hollywood2` and `ucf` fine-tune the DHF1K model at the same rate, stopped early on the test set
as in the paper; 20 epochs are ours.

The paper's recipes have not been run here yet, so their scores are not reproduced and their cost is
not known.
"""

from ml_collections import ConfigDict

from jaxsal.train.recipe import check_arg, demo_recipe, recipe, steps_for


def get_config(arg: str = "demo") -> ConfigDict:
  """Returns the configuration of a recipe: `demo`, `dhf1k`, `hollywood2` or `ucf`."""
  check_arg(arg, ("demo", "dhf1k", "hollywood2", "ucf"), "configs/vinet.py")
  config = demo_recipe("vinet") if arg == "demo" else recipe("vinet")
  config.loss = ConfigDict({"kl": 1.0})
  if arg == "demo":
    return config

  config.model.length, config.model.size = 32, (224, 384)
  config.data.dataset = f"{arg}/224x384"
  config.data.batch_size = 8
  config.eval.every = config.checkpoint.every = steps_for(1, config)
  config.optimizer.name = "adam"
  config.optimizer.learning_rate = 1e-4
  if arg == "dhf1k":
    config.encoder_weights = "S3D_kinetics400.pt"
    config.steps = steps_for(60, config)
  else:
    config.init_from = "runs/vinet_dhf1k"
    config.data.validation_split = "test"
    config.steps = steps_for(20, config)
  return config
