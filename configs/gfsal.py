"""GFSalNet (Kocak et al., IEEE TCDS 2021): demo runs and the paper's recipes.

    jaxsal train --config=gfsal --workdir=runs/gfsal_demo

`demo` (without an argument): a quarter of the paper's width on the demo set, 96 x 128 pixels, where
motion decides what is looked at. As in the paper, single streams come first, then both with the
gate:

    jaxsal train --config=gfsal --workdir=runs/gfsal_spatial --config.model.variant=spatial
    jaxsal train --config=gfsal --workdir=runs/gfsal_temporal --config.model.variant=temporal
    jaxsal train --config=gfsal --workdir=runs/gfsal_demo --config.init_from=runs/gfsal_spatial
      --config.temporal_from=runs/gfsal_temporal --config.optimizer.learning_rate=1e-3

The best validation NSS of these three runs was 2.624, 3.310 and 3.574 (floor 0.47, ceiling 7.11).
Their cost was not recorded.

With an argument, the paper's recipes on data that you have prepared:

    jaxsal train --config=gfsal:salicon --workdir=runs/gfsal_salicon
      --config.encoder_weights=resnet50.pth
    jaxsal train --config=gfsal:ucf --workdir=runs/gfsal_ucf --config.init_from=runs/gfsal_salicon
    jaxsal train --config=gfsal:hollywood2 --workdir=runs/gfsal_hollywood2
      --config.init_from=runs/gfsal_salicon
    jaxsal train --config=gfsal:dhf1k --workdir=runs/gfsal_dhf1k
      --config.init_from=runs/gfsal_salicon
    jaxsal train --config=gfsal:mixed --workdir=runs/gfsal_mixed
      --config.init_from=runs/gfsal_salicon

The paper's recipe (section IV-B): frames and flow images of 480 x 640 pixels, KL + 0.1 (-NSS) on
the fused map, Adam 1e-4, x0.1 every 3000 steps, 16 frames a step, 8 for UCF-Sports.

`salicon`: the appearance stream alone, on static images, from ImageNet weights in torchvision's
naming. The paper gives no length; 10 epochs are ours.

`ucf`, `hollywood2` and `dhf1k`: both streams from the SALICON model, on one set (setting 1). The
paper trains for 2 to 3 epochs of all frames. Here that is 3 epochs for UCF-Sports; 9000 steps for
the larger sets are ours, as the rate has fallen to nothing by then.

`mixed`: all three sets (setting 2), each by its share of the frames, validated on DHF1K.

Without --config.model.variant these recipes train the gated model; `temporal`, `no_attention` and
the other variants of tables I to VII start in the same way. The paper reports NSS 3.333 for
UCF-Sports and 2.528 for DHF1K (tables I and III). The paper's recipes have not been run here yet,
so their scores are not reproduced and their cost is not known.

The data sets hold flow images besides the frames: `jaxsal prepare dhf1k/480x640 --from=...`
computes them by DIS, with `--flow-from=models/pwcnet` by PWC-Net as in the paper.
"""

from ml_collections import ConfigDict

from jaxsal.tfds_builders.build import count_frames
from jaxsal.train.recipe import check_arg, demo_recipe, recipe, steps_for

_SETS = ("ucf", "hollywood2", "dhf1k")


def get_config(arg: str = "demo") -> ConfigDict:
  """Returns the configuration of a recipe: `demo`, `salicon`, one of `_SETS`, or `mixed`."""
  check_arg(arg, ("demo", "salicon", *_SETS, "mixed"), "configs/gfsal.py")
  if arg == "demo":
    config = demo_recipe("gfsal", variant="base", length=1, batch_size=16, steps=500)
    config.model.width = 0.25
  else:
    config = recipe("gfsal")
  config.loss = ConfigDict({"kl": 1.0, "nss": 0.1})  # KL + 0.1 (-NSS)
  if arg == "demo":
    return config

  config.model.variant = "spatial" if arg == "salicon" else "base"
  config.model.length, config.model.size = 1, (480, 640)
  config.model.batch_norm_momentum = 0.1
  config.data.dataset = f"{'dhf1k' if arg == 'mixed' else arg}/480x640"
  config.data.validation_split = "test" if arg in ("ucf", "hollywood2") else "validation"
  config.data.batch_size = config.eval.batch_size = 8 if arg == "ucf" else 16
  if arg == "mixed":
    # A clip is one frame, so these weights make the mixture that of all frames.
    config.data.mixture = tuple((f"{name}/480x640", float(count_frames(name))) for name in _SETS)
  if arg == "salicon":
    config.encoder_weights = "resnet50.pth"
    config.steps = steps_for(10, config)
  elif arg == "ucf":
    config.init_from = "runs/gfsal_salicon"
    config.steps = 3 * count_frames("ucf") // 8
  else:
    config.init_from = "runs/gfsal_salicon"
    config.steps = 9000
  config.optimizer.name = "adam"
  config.optimizer.learning_rate = 1e-4
  config.optimizer.schedule = "drops"
  config.optimizer.drops = tuple(range(3000, config.steps, 3000))
  config.optimizer.drop_factor = 0.1
  config.eval.every = config.checkpoint.every = 500
  config.eval.stride = 1 if arg == "salicon" else 8
  return config
