"""Memory of the process."""

import os
import sys

LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def use_large_pages() -> None:
  """Starts this program anew with memory in large pages, which glibc allows at the start alone.

  On a CPU every step of a network takes hundreds of megabytes and frees them; Linux hands them out
  in pages of 4 kB, which takes a fifth of the time of training (benchmarks/RESULTS.md). Does
  nothing where GLIBC_TUNABLES is set, or where the process does not belong to this program alone,
  such as under a notebook's %run.
  """
  arguments = sys.argv[1:]
  its_own = arguments and sys.orig_argv[-len(arguments) :] == arguments
  if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ or not its_own:
    return
  command = [sys.executable, *sys.orig_argv[1:]]
  os.execve(sys.executable, command, os.environ | LARGE_PAGES)
