"""TSFP-Net (Chang and Zhu, arXiv:2105.04213): the demo run and the paper's recipes.

    python -m jaxsal.main --config=configs/tsfp.py --workdir=runs/demo

Without an argument: a network of a quarter of the paper's width learns, from random weights, to
follow motion and onsets in the demo set (96 x 128 pixels, 16 frames), which is made on the spot.
MEASURED

With an argument, the paper's recipe (sections 4.2 and 4.4) on data that you have prepared:

    --config=configs/tsfp.py:dhf1k --config.encoder_weights=S3D_kinetics400.pt
    --config=configs/tsfp.py:hollywood2 --config.init_from=runs/dhf1k
    --config=configs/tsfp.py:ucf --config.init_from=runs/dhf1k

`dhf1k`: 192 x 352 pixels, 32 frames, S3D's Kinetics weights in the encoder, Adam 1e-4, x0.1 at
epochs 22, 25 and 26 of 26, 16 videos a step in 4 parts, KL + 0.5 (-CC) + 0.1 (-NSS), validated on
the first 80 frames of each video; the weights with the best NSS are kept. The paper reports on this
validation set NSS 3.009, CC 0.529, AUC-J 0.919, SIM 0.397 (table 1). Not yet reproduced here.

`hollywood2` and `ucf`: from the DHF1K model, stopped early on the test set, shots shorter than 32
frames padded with their first frame. The paper gives no rate and no length; 1e-5 and 10 epochs are
ours. It reports NSS 3.910 and 3.698 (table 4). Not yet reproduced here.
"""

from ml_collections import ConfigDict

# Videos (Hollywood-2: shots) for training in each set: what makes an epoch.
_VIDEOS = {"dhf1k": 600, "hollywood2": 2699, "ucf": 103}


def get_config(arg: str = "demo") -> ConfigDict:
  """The configuration of one recipe: `demo` (default), `dhf1k`, `hollywood2` or `ucf`."""
  if arg not in ("demo", *_VIDEOS):
    raise ValueError(f"configs/tsfp.py:{arg}: the recipes are demo, {', '.join(_VIDEOS)}")
  config = ConfigDict()
  config.seed = 0

  config.model = ConfigDict()
  config.model.name = "tsfp"
  config.model.variant = "base"
  config.model.length = 32
  config.model.size = (192, 352)
  config.model.batch_norm_momentum = 0.001
  config.model.dtype = "float32"  # or bfloat16: parameters, BatchNorm and losses stay float32
  config.encoder_weights = ""  # PyTorch file of S3D on Kinetics-400
  config.init_from = ""  # model folder, or workdir, whose weights to start from

  config.data = ConfigDict()
  config.data.dataset = arg
  config.data.data_dir = "~/tensorflow_datasets"
  config.data.train_split = "train"
  config.data.validation_split = "validation"
  config.data.batch_size = 16  # clips a step, over all devices
  config.data.flip = True
  config.data.workers = 0  # processes that load clips; 0: threads of this one

  config.loss = ConfigDict({"kl": 1.0, "cc": 0.5, "nss": 0.1})  # KL + 0.5 (-CC) + 0.1 (-NSS)
  config.accumulate = 1  # parts that a step's batch is worked off in

  config.optimizer = ConfigDict()
  config.optimizer.name = "adam"
  config.optimizer.learning_rate = 1e-4
  config.optimizer.schedule = "constant"  # or drops, or cosine
  config.optimizer.warmup = 0
  config.optimizer.drops = ()  # steps at which the rate is multiplied by drop_factor
  config.optimizer.drop_factor = 0.1
  config.optimizer.momentum = 0.9  # of sgd
  config.optimizer.weight_decay = 0.0
  config.optimizer.multipliers = ()  # (regular expression on parameter paths, factor on the rate)
  config.sharding = ()  # (regular expression on state paths, "fsdp"); else replicated

  config.eval = ConfigDict()
  config.eval.batch_size = 16
  config.eval.first_frames = 80  # of each validation video; 0: all
  config.eval.stride = 1
  config.checkpoint = ConfigDict()
  config.checkpoint.keep = 2
  config.log_every = 10

  if arg == "demo":
    config.model.variant = "small"
    config.model.length = 16
    config.model.size = (96, 128)
    config.model.batch_norm_momentum = 0.1  # random weights: the statistics are learnt here
    config.data.batch_size = config.eval.batch_size = 8
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = 50
    config.steps = 300
    config.eval.first_frames, config.eval.stride = 0, 4
    config.eval.every = config.checkpoint.every = 100
    return config

  def at_epoch(epoch: float) -> int:
    """The step at which this epoch, counted from 1, begins."""
    return round((epoch - 1) * _VIDEOS[arg] / config.data.batch_size)

  config.data.dataset = f"{arg}/192x352"
  config.accumulate = 4
  config.eval.every = config.checkpoint.every = at_epoch(2)
  if arg == "dhf1k":
    config.encoder_weights = "S3D_kinetics400.pt"
    config.optimizer.schedule = "drops"
    config.optimizer.drops = (at_epoch(22), at_epoch(25), at_epoch(26))
    config.steps = at_epoch(27)
  else:
    config.init_from = "runs/dhf1k"
    config.data.validation_split = "test"
    config.optimizer.learning_rate = 1e-5
    config.steps = at_epoch(11)
  return config
