"""ViNet (Jain et al., IROS 2021): a demo run and the paper's recipes.

    python -m jaxsal.main --config=configs/vinet.py --workdir=runs/vinet_demo

Without an argument: a quarter of the width on the demo set, as in configs/tsfp.py. One run reached
a validation NSS of 4.93 and a CC of 0.73 (floor 0.47 and 0.09, ceiling 7.11 and 0.88), in 21
minutes on two cores that other work shared.

    --config=configs/vinet.py:dhf1k --config.encoder_weights=S3D_kinetics400.pt
    --config=configs/vinet.py:hollywood2 --config.init_from=runs/vinet_dhf1k
    --config=configs/vinet.py:ucf --config.init_from=runs/vinet_dhf1k

`dhf1k` (section 4): 224 x 384 pixels, 32 frames, Adam 1e-4, 8 clips a step, KL, the weights with
the best validation NSS. The paper gives no length; 60 epochs are ours. It reports on DHF1K's test
set NSS 2.872, CC 0.511. Not yet reproduced here.

`hollywood2` and `ucf` fine-tune the DHF1K model at the same rate, stopped early on the test set
as in the paper; 20 epochs are ours.
"""

from ml_collections import ConfigDict

from jaxsal.train.recipe import at_epoch, check_arg, make_demo, recipe


def get_config(arg: str = "demo") -> ConfigDict:
  """The configuration of one recipe: `demo` (default), `dhf1k`, `hollywood2` or `ucf`."""
  check_arg(arg, ("demo", "dhf1k", "hollywood2", "ucf"), "configs/vinet.py")
  config = recipe("vinet")
  if arg == "demo":
    return make_demo(config)

  config.data.dataset = f"{arg}/224x384"
  config.data.batch_size = 8
  config.eval.every = config.checkpoint.every = at_epoch(config, arg, 2)
  if arg == "dhf1k":
    config.encoder_weights = "S3D_kinetics400.pt"
    config.steps = at_epoch(config, arg, 61)
  else:
    config.init_from = "runs/vinet_dhf1k"
    config.data.validation_split = "test"
    config.steps = at_epoch(config, arg, 21)
  return config
