"""GFSalNet (Kocak et al., IEEE TCDS 2021): demo runs and the paper's recipes.

    python -m jaxsal.main --config=configs/gfsal.py --workdir=runs/gfsal_demo

Without an argument: a quarter of the paper's width on the demo set, 96 x 128 pixels, where motion
decides what is looked at. As in the paper, single streams come first, then both with the gate:

    --workdir=runs/gfsal_spatial --config.model.variant=spatial
    --workdir=runs/gfsal_temporal --config.model.variant=temporal
    --workdir=runs/gfsal_demo --config.init_from=runs/gfsal_spatial
        --config.temporal_from=runs/gfsal_temporal --config.optimizer.learning_rate=1e-3

Measured: validation NSS 2.624, 3.310 and 3.574 (see the README).

    --config=configs/gfsal.py:salicon --config.encoder_weights=resnet50.pth
    --config=configs/gfsal.py:ucf --config.init_from=runs/gfsal_salicon
    --config=configs/gfsal.py:hollywood2 --config.init_from=runs/gfsal_salicon
    --config=configs/gfsal.py:dhf1k --config.init_from=runs/gfsal_salicon
    --config=configs/gfsal.py:mixed --config.init_from=runs/gfsal_salicon

The paper's recipe (section IV-B): frames and flow images of 480 x 640 pixels, KL + 0.1 (-NSS) on
the fused map, Adam 1e-4, x0.1 every 3000 steps, 16 frames a step, 8 for UCF-Sports.

`salicon`: the appearance stream alone, on static images, from ImageNet weights in torchvision's
naming. Its length is not given; 10 epochs are ours.

`ucf`, `hollywood2`, `dhf1k`: both streams from the SALICON model, on one set (setting 1). The paper
trains for 2 to 3 epochs of all frames, which is 3 here for UCF-Sports; of the larger sets 9000
steps are ours, as the rate has fallen to nothing by then. `mixed`: all three sets (setting 2), each
by its share of the frames, validated on DHF1K. Without --config.model.variant all train the gated
model; `temporal`, `no_attention` and the others of tables I to VII start in the same way. The paper
reports NSS 3.333 for UCF-Sports and 2.528 for DHF1K (tables I and III). Not yet reproduced here.

These sets hold flow images beside the frames: `jaxsal prepare dhf1k/480x640 --from=...` computes
them by DIS, with `--flow-from=models/pwcnet` by PWC-Net as in the paper.
"""

from ml_collections import ConfigDict

from jaxsal.train.recipe import at_epoch, check_arg, make_demo, recipe

# Frames for training (setting 2): a clip is one frame, so that the mixture is that of all frames.
_FRAMES = {"ucf": 6_501, "hollywood2": 192_661, "dhf1k": 346_140}


def get_config(arg: str = "demo") -> ConfigDict:
  """The configuration of a recipe: `demo` (default), `salicon`, one of `_FRAMES`, or `mixed`."""
  check_arg(arg, ("demo", "salicon", *_FRAMES, "mixed"), "configs/gfsal.py")
  config = recipe("gfsal")
  config.loss = ConfigDict({"kl": 1.0, "nss": 0.1})  # KL + 0.1 (-NSS)
  config.model.batch_norm_momentum = 0.1
  if arg == "demo":
    config.model.width = 0.25
    config = make_demo(config)
    config.model.variant = "base"
    config.model.length = 1
    config.data.batch_size = config.eval.batch_size = 16
    config.steps = 500
    return config

  config.model.length, config.model.size = 1, (480, 640)
  config.data.dataset = f"{'dhf1k' if arg == 'mixed' else arg}/480x640"
  config.data.batch_size = config.eval.batch_size = 8 if arg == "ucf" else 16
  if arg == "salicon":
    config.model.variant = "spatial"
    config.encoder_weights = "resnet50.pth"
    config.steps = at_epoch(config, arg, 11)
  else:
    config.init_from = "runs/gfsal_salicon"
    config.steps = 3 * _FRAMES[arg] // 8 if arg == "ucf" else 9000
  if arg in ("ucf", "hollywood2"):
    config.data.validation_split = "test"
  if arg == "mixed":
    config.data.mixture = tuple((f"{name}/480x640", float(n)) for name, n in _FRAMES.items())
  config.optimizer.schedule = "drops"
  config.optimizer.drops = tuple(range(3000, config.steps, 3000))
  config.eval.every = config.checkpoint.every = 500
  config.eval.stride = 1 if arg == "salicon" else 8
  return config
