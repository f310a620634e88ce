"""Building blocks of recipes: the fields that all have, and what several have in common.

A recipe is a file such as `configs/tsfp.py` whose function `get_config(arg)` returns a
configuration. It sets every value that its paper gives, whether or not a default is equal.
"""

from ml_collections import ConfigDict

from jaxsal.tfds_builders.build import count_videos

AUDIO_VISUAL = ("avad", "coutrot1", "coutrot2", "diem", "etmd", "summe")


def recipe(model: str) -> ConfigDict:
  """Returns a configuration with the default of every field.

  The recipe still has to set `data.dataset`, `steps`, `eval.every` and `checkpoint.every`.

  Args:
    model: name of the network.
  """
  config = ConfigDict()
  config.seed = 0

  config.model = ConfigDict()  # arguments of jaxsal.models.create
  config.model.name = model
  config.model.variant = "base"
  config.model.length = 32
  config.model.size = (224, 384)
  config.model.batch_norm_momentum = 0.001
  config.model.dtype = "float32"  # or bfloat16; parameters, BatchNorm and losses stay float32
  config.encoder_weights = ""  # PyTorch file of S3D on Kinetics-400 (GFSalNet: ResNet-50)
  config.init_from = ""  # model folder or workdir with the weights to start from
  config.sound_from = ""  # model folder of SoundNet, for audio-visual networks
  config.temporal_from = ""  # model folder or workdir for GFSalNet's temporal stream alone

  config.data = ConfigDict()
  config.data.dataset = ""
  config.data.data_dir = "~/tensorflow_datasets"
  config.data.train_split = "train"
  # Several data sets to train on, as in (("dhf1k/192x352", 2.0), ("ucf/192x352", 1.0)): clips are
  # drawn from them in proportion to the weights. data.dataset then serves for validation and for
  # the floor (the mean eye position) only.
  config.data.mixture = ()
  config.data.validation_split = "validation"
  config.data.batch_size = 16  # clips a step, over all devices
  config.data.flip = True
  config.data.workers = 0  # processes that load clips; 0: threads of the training process

  config.loss = ConfigDict({"kl": 1.0})  # weights; kl counts as KL, cc as -CC, nss as -NSS
  config.accumulate = 1  # number of parts of a batch, computed one after the other

  config.optimizer = ConfigDict()
  config.optimizer.name = "adam"  # or sgd
  config.optimizer.learning_rate = 1e-4
  config.optimizer.schedule = "constant"  # or drops, cosine, plateau
  config.optimizer.warmup = 0  # steps
  config.optimizer.drops = ()  # steps at which the rate is multiplied by drop_factor
  config.optimizer.drop_factor = 0.1
  # For the schedule plateau: see jaxsal.train.optimizer.make_optimizer.
  config.optimizer.patience = 5
  config.optimizer.plateau_steps = 100
  config.optimizer.momentum = 0.9  # for sgd
  config.optimizer.weight_decay = 0.0
  config.optimizer.multipliers = ()  # (regular expression on parameter paths, factor on the rate)
  config.sharding = ()  # (regular expression on state paths, "fsdp"); the rest is replicated

  config.eval = ConfigDict()
  config.eval.batch_size = 16
  config.eval.first_frames = 80  # number of frames validated at a video's start; 0: all
  config.eval.stride = 1  # validates every stride-th frame
  config.checkpoint = ConfigDict()
  config.checkpoint.keep = 2
  config.log_every = 10  # steps
  return config


def demo_recipe(
  model: str,
  *,
  dataset: str = "demo",
  variant: str = "small",
  length: int = 16,
  batch_size: int = 8,
  steps: int = 300,
) -> ConfigDict:
  """Returns a complete configuration that trains from random weights in minutes on a CPU.

  Args:
    model: name of the network.
    dataset: name of a simulated data set, which the trainer builds itself.
    variant: variant of the network; `small` has a quarter of the width.
    length: number of frames in a clip.
    batch_size: number of clips in a step.
    steps: number of steps.
  """
  config = recipe(model)
  config.model.variant = variant
  config.model.length = length
  config.model.size = (96, 128)
  config.model.batch_norm_momentum = 0.1  # the statistics start from nothing
  config.data.dataset = dataset
  config.data.batch_size = config.eval.batch_size = batch_size
  config.optimizer.name = "adam"
  config.optimizer.learning_rate = 2e-3
  config.optimizer.schedule = "cosine"
  config.optimizer.warmup = 50
  config.steps = steps
  config.eval.first_frames, config.eval.stride = 0, 4
  config.eval.every = config.checkpoint.every = 100
  return config


def use_audio_visual_set(config: ConfigDict, dataset: str) -> None:
  """Sets data set and splits to an audio-visual set, in the first fold of its cross-validation.

  Args:
    config: configuration with the size of the frames; it is changed.
    dataset: one of `AUDIO_VISUAL`, `ave`, or `six` for all of `AUDIO_VISUAL`, in proportion to
      their numbers of videos, with validation on DIEM.
  """
  height, width = config.model.size
  size = f"{height}x{width}"
  if dataset == "ave":
    config.data.train_split, config.data.validation_split = "train", "validation"
  else:
    config.data.train_split, config.data.validation_split = "train_1", "test_1"
  if dataset == "six":
    config.data.mixture = tuple(
      (f"{name}/{size}", float(count_videos(name, config.data.train_split)))
      for name in AUDIO_VISUAL
    )
  config.data.dataset = f"{'diem' if dataset == 'six' else dataset}/{size}"


def steps_for(epochs: float, config: ConfigDict) -> int:
  """Returns the number of steps in a number of epochs.

  An epoch is one clip from each training video; a video of Hollywood-2 is a shot, one of SALICON
  an image.

  Args:
    epochs: number of epochs.
    config: configuration with the data set, its training split and the batch size.
  """
  videos = count_videos(config.data.dataset, config.data.train_split)
  return round(epochs * videos / config.data.batch_size)


def check_arg(arg: str, known: tuple[str, ...], file: str) -> None:
  """Raises ValueError, which names the recipes of a file, if `arg` is not one of them."""
  if arg not in known:
    raise ValueError(f"{file} has no recipe {arg!r}; the recipes are {', '.join(known)}.")
