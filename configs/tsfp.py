"""TSFP-Net (Chang and Zhu, arXiv:2105.04213)."""

import ml_collections
from ml_collections import ConfigDict


def get_config(arg: str = "demo") -> ConfigDict:
  config = ConfigDict()
  config.seed = 0
  config.model = ConfigDict(
    {
      "name": "tsfp",
      "variant": "small",
      "length": 16,
      "size": (96, 128),
      "batch_norm_momentum": 0.1,
      "dtype": "float32",
    }
  )
  config.encoder_weights = ""
  config.init_from = ""
  config.data = ConfigDict(
    {
      "dataset": "demo",
      "data_dir": "~/tensorflow_datasets",
      "train_split": "train",
      "validation_split": "validation",
      "batch_size": 8,
      "flip": True,
      "workers": 0,
    }
  )
  config.loss = ConfigDict({"kl": 1.0, "cc": 0.5, "nss": 0.1})
  config.steps = 1000
  config.accumulate = 1
  config.optimizer = ConfigDict(
    {
      "name": "adam",
      "learning_rate": 2e-3,
      "schedule": "cosine",
      "warmup": 50,
      "drops": (),
      "drop_factor": 0.1,
      "momentum": 0.9,
      "weight_decay": 0.0,
      "multipliers": (),
    }
  )
  config.sharding = ()
  config.eval = ConfigDict({"every": 200, "batch_size": 8, "first_frames": 0, "stride": 4})
  config.checkpoint = ConfigDict({"every": 200, "keep": 2})
  config.log_every = 20
  return config
