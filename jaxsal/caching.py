"""Compiled programs that outlive the process."""

import os
import pathlib


def enable_compilation_cache() -> None:
  """Lets JAX keep what it compiles, so that the next run of the same program starts in seconds.

  In `~/.cache/jaxsal/xla` (under XDG_CACHE_HOME where that is set), unless another place is named
  by JAX_COMPILATION_CACHE_DIR or by the program.
  """
  import jax

  if not jax.config.jax_compilation_cache_dir:
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    jax.config.update("jax_compilation_cache_dir", str(cache / "jaxsal" / "xla"))
