"""The fields that every recipe has, with their defaults; configs/*.py say what differs."""

from ml_collections import ConfigDict

# Videos (Hollywood-2: shots, SALICON: images) for training in each set, or in the first fold of its
# cross-validation: what makes an epoch.
VIDEOS = {
  "dhf1k": 600,
  "hollywood2": 2699,
  "ucf": 103,
  "salicon": 10_000,
  "avad": 30,
  "coutrot1": 40,
  "coutrot2": 10,
  "diem": 64,
  "etmd": 8,
  "summe": 17,
  "ave": 92,
}
AUDIO_VISUAL = ("avad", "coutrot1", "coutrot2", "diem", "etmd", "summe")


def recipe(model: str) -> ConfigDict:
  """A recipe without a data set; `steps`, `eval.every`, `checkpoint.every` are still to be set."""
  config = ConfigDict()
  config.seed = 0

  config.model = ConfigDict()  # as for jaxsal.models.create
  config.model.name = model
  config.model.variant = "base"
  config.model.length = 32
  config.model.size = (224, 384)
  config.model.batch_norm_momentum = 0.001
  config.model.dtype = "float32"  # or bfloat16: parameters, BatchNorm and losses stay float32
  config.encoder_weights = ""  # PyTorch file of S3D on Kinetics-400 (GFSalNet: ResNet-50)
  config.init_from = ""  # model folder, or workdir, whose weights to start from
  config.sound_from = ""  # model folder of SoundNet, for audio-visual networks
  config.temporal_from = ""  # the same as init_from for GFSalNet's temporal stream alone

  config.data = ConfigDict()
  config.data.dataset = ""
  config.data.data_dir = "~/tensorflow_datasets"
  config.data.train_split = "train"
  # Train on several sets, as in (("dhf1k/192x352", 2.0), ("ucf/192x352", 1.0)): clips come from
  # each in this proportion. data.dataset then gives validation and the floor alone.
  config.data.mixture = ()
  config.data.validation_split = "validation"
  config.data.batch_size = 16  # clips a step, over all devices
  config.data.flip = True
  config.data.workers = 0  # processes that load clips; 0: threads of this one

  config.loss = ConfigDict({"kl": 1.0})  # weights; kl counts as KL, cc as -CC, nss as -NSS
  config.accumulate = 1  # parts that a step's batch is worked off in

  config.optimizer = ConfigDict()
  config.optimizer.name = "adam"  # or sgd
  config.optimizer.learning_rate = 1e-4
  config.optimizer.schedule = "constant"  # or drops, cosine, plateau
  config.optimizer.warmup = 0
  config.optimizer.drops = ()  # steps at which the rate is multiplied by drop_factor
  config.optimizer.drop_factor = 0.1
  config.optimizer.patience = 5  # with plateau: see jaxsal.train.optimizer.make_optimizer
  config.optimizer.plateau_steps = 100
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
  return config


def make_demo(config: ConfigDict) -> ConfigDict:
  """Turns a recipe into a run of minutes on a CPU: demo set, narrow network, random weights."""
  config.model.variant = "small"
  config.model.length = 16
  config.model.size = (96, 128)
  config.model.batch_norm_momentum = 0.1  # the statistics start from nothing
  config.data.dataset = "demo"
  config.data.batch_size = config.eval.batch_size = 8
  config.optimizer.name = "adam"
  config.optimizer.learning_rate = 2e-3
  config.optimizer.schedule = "cosine"
  config.optimizer.warmup = 50
  config.steps = 300
  config.eval.first_frames, config.eval.stride = 0, 4
  config.eval.every = config.checkpoint.every = 100
  return config


def fine_tune_with_sound(config: ConfigDict, dataset: str) -> ConfigDict:
  """Sets the data of a recipe for an audio-visual set, the first fold of its cross-validation.

  Their sets have so few videos that epochs, of a clip from each, say little: 2000 steps are ours.

  Args:
    config: with the size of the frames.
    dataset: one of AUDIO_VISUAL, `ave`, or `six` for all of AUDIO_VISUAL, in proportion to their
      videos; DIEM then gives the validation.
  """
  height, width = config.model.size
  if dataset == "six":
    names = [(f"{name}/{height}x{width}", float(VIDEOS[name])) for name in AUDIO_VISUAL]
    config.data.mixture = tuple(names)
  config.data.dataset = f"{'diem' if dataset == 'six' else dataset}/{height}x{width}"
  folds = ("train", "validation") if dataset == "ave" else ("train_1", "test_1")
  config.data.train_split, config.data.validation_split = folds
  config.steps = 2000
  config.eval.every = config.checkpoint.every = 100
  return config


def at_epoch(config: ConfigDict, dataset: str, epoch: float) -> int:
  """The step at which this epoch, counted from 1, begins."""
  return round((epoch - 1) * VIDEOS[dataset] / config.data.batch_size)


def check_arg(arg: str, known: tuple[str, ...], file: str) -> None:
  """Raises ValueError with the recipes of a file if `arg` is none of them."""
  if arg not in known:
    raise ValueError(f"{file}:{arg}: the recipes are {', '.join(known)}")
