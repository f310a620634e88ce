"""Memory and compilation of the process: large pages, freed memory, and cached programs."""

import contextlib
import ctypes
import gc
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from jaxsal.console import say
from jaxsal.errors import UserError

if TYPE_CHECKING:
  import jax

LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def use_large_pages() -> None:
  """Starts this program again with memory in large pages, and says so.

  glibc reads the setting only when a process starts. On a CPU every step of a training takes
  hundreds of megabytes and frees them; in pages of 4 kB, Linux needs a fifth of the training time
  to provide them (benchmarks/EXPERIMENTS.md).

  Does nothing if GLIBC_TUNABLES is set, if the program only prints its help, or if the process
  belongs to another program, such as the kernel of a notebook that uses %run.
  """
  arguments = sys.argv[1:]
  its_own = arguments and sys.orig_argv[-len(arguments) :] == arguments
  if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ or not its_own:
    return
  if {"-h", "--help"} & set(arguments):
    return
  say("starting again with memory in large pages (an environment with GLIBC_TUNABLES= prevents it)")
  command = [sys.executable, *sys.orig_argv[1:]]
  os.execve(sys.executable, command, os.environ | LARGE_PAGES)


def trim() -> None:
  """Gives freed memory back to the system, which glibc would otherwise keep for the process."""
  gc.collect()
  give_back = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
  if give_back:
    give_back(0)


@contextlib.contextmanager
def advice(message: str) -> Iterator[None]:
  """Raises a UserError with this message if the block needs more memory than a device has.

  GPUs report that when they compute, TPUs when they compile.
  """
  import jax

  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    raise UserError(message) from error


def enable_compilation_cache() -> None:
  """Makes JAX keep its compiled programs on disk, so that the next run starts in seconds.

  They are in `~/.cache/jaxsal/xla`, or under XDG_CACHE_HOME if that is set. A folder that
  JAX_COMPILATION_CACHE_DIR or the program has named before is left in place.
  """
  import jax

  # JAX adds its options to `config` when it is imported, so the type checker does not know them.
  if not jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    jax.config.update("jax_compilation_cache_dir", str(cache / "jaxsal" / "xla"))


def frugal(function: "jax.stages.Wrapped") -> Callable[..., Any]:
  """Returns a jitted function whose first call gives compiling's memory back before it runs.

  Compiling a training step takes gigabytes, and loading it from the cache a few hundred megabytes.
  Most of that is freed, but the process would keep it in addition to the step's own memory.
  """
  ready = False

  def call(*arguments: Any) -> Any:
    nonlocal ready
    if not ready:
      function.lower(*arguments).compile()
      trim()
      ready = True
    return function(*arguments)  # finds the compiled program

  return call
