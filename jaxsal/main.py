"""Trains a network: python -m jaxsal.main --config=configs/tsfp.py --workdir=runs/demo

--config names a recipe, a file with a function get_config(arg); what stands behind a colon is its
argument: --config=configs/tsfp.py:dhf1k. Single fields are changed on the command line:
--config.optimizer.learning_rate=3e-4 --config.steps=1000.

The workdir gets checkpoints, the best model so far (for `jaxsal predict --model=WORKDIR`), logs
and, at the end, curves.png, contact_sheet.png and summary.json. Run the same command again and it
continues where it was interrupted.
"""

import sys

from absl import flags
from ml_collections import config_flags

from jaxsal import runtime
from jaxsal.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Recipe, such as configs/tsfp.py or configs/tsfp.py:dhf1k.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of this training: checkpoints, best model, logs and pictures."
)
_DISTRIBUTED = flags.DEFINE_bool(
  "distributed",
  False,
  "One of several processes (a cluster that JAX knows: SLURM, Cloud TPU, ...).",
)


def run(argv: list[str]) -> int:
  """Trains as the flags in `argv` (without the program's name) say; returns the exit code."""
  try:
    return _run(argv)
  except UserError as e:
    print(f"jaxsal: error: {e}", file=sys.stderr)
    return 2


def _run(argv: list[str]) -> int:
  if "--help" in argv:
    print(__doc__)
    for flag in (_CONFIG, _WORKDIR, _DISTRIBUTED):
      print(f"  --{flag.name}: {flags.FLAGS[flag.name].help}")
    return 0
  _parse(argv)
  if not _CONFIG.value or not _WORKDIR.value:
    raise UserError(
      "--config and --workdir are both needed: "
      "python -m jaxsal.main --config=configs/tsfp.py --workdir=runs/demo"
    )
  import jax

  from jaxsal.train import loop

  if _DISTRIBUTED.value:
    jax.distributed.initialize()
  runtime.enable_compilation_cache()
  try:
    loop.train(_CONFIG.value, _WORKDIR.value)
  except loop.Interrupted as e:
    return 128 + e.signal
  return 0


def _parse(argv: list[str]) -> None:
  """Reads the flags; what is wrong with them becomes a UserError."""
  try:
    rest = flags.FLAGS(["jaxsal.main", *argv])
    if _CONFIG.value is not None:
      _CONFIG.value.to_dict()  # a file that cannot be loaded says so at its first use
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as e:
    message = str(e.args[0] if isinstance(e, KeyError) and e.args else e)
    if "Traceback" in message:  # the recipe's own error, which ml_collections formats whole
      message = message.strip().splitlines()[-1]
    raise UserError(f"{message}\nSee python -m jaxsal.main --help") from e
  if rest[1:]:
    raise UserError(f"{rest[1]!r} is not understood: flags begin with --, see --help")


if __name__ == "__main__":
  runtime.use_large_pages()
  sys.exit(run(sys.argv[1:]))
