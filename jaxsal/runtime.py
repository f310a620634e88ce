"""What the process asks of the system: memory, and a cache for compiled programs."""

import contextlib
import ctypes
import gc
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from jaxsal.errors import UserError

if TYPE_CHECKING:
  import jax

LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def use_large_pages() -> None:
  """Starts this program anew with memory in large pages, which glibc allows at the start alone.

  On a CPU every step of a network takes hundreds of megabytes and frees them; Linux hands them out
  in pages of 4 kB, which takes a fifth of the time of training (benchmarks/EXPERIMENTS.md). Does
  nothing where GLIBC_TUNABLES is set, or where the process does not belong to this program alone,
  such as under a notebook's %run.
  """
  arguments = sys.argv[1:]
  its_own = arguments and sys.orig_argv[-len(arguments) :] == arguments
  if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ or not its_own:
    return
  command = [sys.executable, *sys.orig_argv[1:]]
  os.execve(sys.executable, command, os.environ | LARGE_PAGES)


def trim() -> None:
  """Gives memory that was freed back to the system, where glibc would keep it for the process."""
  gc.collect()
  give_back = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
  if give_back:
    give_back(0)


@contextlib.contextmanager
def advice(message: str) -> Iterator[None]:
  """Raises a UserError with this message where something does not fit in a device's memory.

  GPUs find that out when they compute, TPUs when they compile.
  """
  import jax

  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    raise UserError(message) from error


def frugal(function: "jax.stages.Wrapped") -> Callable[..., Any]:
  """A jitted function whose first call compiles, gives back the memory that this took, and runs.

  To compile a training step takes gigabytes, to load it from the cache a few hundred megabytes;
  of both most is freed, but would stay with the process beside what the step itself needs.
  """
  ready = False

  def call(*arguments: Any) -> Any:
    nonlocal ready
    if not ready:
      function.lower(*arguments).compile()
      trim()
      ready = True
    return function(*arguments)  # finds what was compiled

  return call


def enable_compilation_cache() -> None:
  """Lets JAX keep what it compiles, so that the next run of the same program starts in seconds.

  In `~/.cache/jaxsal/xla` (under XDG_CACHE_HOME where that is set), unless another place is named
  by JAX_COMPILATION_CACHE_DIR or by the program.
  """
  import jax

  if not jax.config.jax_compilation_cache_dir:
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    jax.config.update("jax_compilation_cache_dir", str(cache / "jaxsal" / "xla"))
