"""Training starts again with large pages, and nothing else does; memory is given back."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsal import runtime
from jaxsal.errors import UserError

SCRIPT = """
import os, sys
from jaxsal import runtime
runtime.use_large_pages()
print(os.environ.get("GLIBC_TUNABLES"), *sys.argv[1:])
"""


NOTICE = "starting again with memory in large pages"


def environment(**changes):
  return {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"} | changes


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
@pytest.mark.parametrize("before", (None, "glibc.malloc.hugetlb=0"))
def test_starts_again_with_its_arguments(tmp_path, before):
  (tmp_path / "script.py").write_text(SCRIPT)
  env = environment(**{"GLIBC_TUNABLES": before} if before else {})
  command = [sys.executable, "-u", str(tmp_path / "script.py"), "one", "--two=a b"]
  out = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
  *notices, last = out.splitlines()
  assert last == f"{before or 'glibc.malloc.hugetlb=1'} one --two=a b"
  assert before or (NOTICE in notices[0] and "GLIBC_TUNABLES= prevents it" in notices[0])
  assert len(notices) == (0 if before else 1)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
@pytest.mark.parametrize(
  "arguments, starts, code",
  (
    (["jaxsal.main", "--config=missing"], ["None", "glibc.malloc.hugetlb=1"], 2),
    (["jaxsal", "train", "--config=missing"], ["None", "glibc.malloc.hugetlb=1"], 2),
    (["jaxsal.main", "--help"], ["None"], 0),
    (["jaxsal", "train", "--help"], ["None"], 0),
    (["jaxsal", "predict", "--help"], ["None"], 0),
    (["jaxsal", "compare", "a", "b", "--out=c.png"], ["None"], 2),
  ),
)
def test_only_training_does(tmp_path, arguments, starts, code):
  """Python runs sitecustomize whenever it starts: twice for training, then with large pages."""
  report = "import os, sys\nprint(os.environ.get('GLIBC_TUNABLES'), file=sys.stderr)\n"
  (tmp_path / "sitecustomize.py").write_text(report)
  paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
  command = [sys.executable, "-m", *arguments]
  env = environment(PYTHONPATH=paths)
  run = subprocess.run(command, env=env, capture_output=True, text=True)
  errors = [line for line in run.stderr.splitlines() if not line.startswith("jaxsal: error: ")]
  assert run.returncode == code and errors == starts
  assert run.stdout.count(NOTICE) == len(starts) - 1


@pytest.mark.parametrize(
  "process, program",
  (
    (["python", "-m", "ipykernel_launcher", "-f", "kernel.json"], ["jaxsal.main", "--workdir=w"]),
    (["python", "-m", "ipykernel_launcher", "-f", "kernel.json"], ["jaxsal.main"]),
  ),
)
def test_leaves_the_process_of_another_program(monkeypatch, process, program):
  monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
  monkeypatch.setattr(sys, "platform", "linux")
  monkeypatch.setattr(sys, "orig_argv", process)
  monkeypatch.setattr(sys, "argv", program)
  monkeypatch.setattr(os, "execve", lambda *arguments: pytest.fail("the kernel would be lost"))
  runtime.use_large_pages()


def test_frugal_compiles_once_and_trims_before_the_function_runs(monkeypatch):
  """The call finds what was compiled ahead: the function is traced once, and its input donated."""
  events = []
  monkeypatch.setattr(runtime, "trim", lambda: events.append("trimmed"))

  def add(x, y):
    events.append("traced")
    jax.debug.callback(lambda: events.append("ran"), ordered=True)
    return x + y

  function = runtime.frugal(jax.jit(add, donate_argnums=0))
  for i in (1, 2):
    x = jnp.full(3, i)
    np.testing.assert_array_equal(function(x, x + 1), 2 * i + 1)
    assert x.is_deleted()
  jax.effects_barrier()
  assert events == ["traced", "trimmed", "ran", "ran"]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_trim_gives_freed_memory_back():
  script = """
import os, pathlib
from jaxsal import runtime
pages = lambda: int(pathlib.Path("/proc/self/statm").read_text().split()[1])
resident = lambda: pages() * os.sysconf("SC_PAGE_SIZE") // 1_000_000
rows = [bytearray(100_000) for _ in range(3000)]
full, rows = resident(), rows[-1:]  # the last one keeps the heap from shrinking
before = resident()
runtime.trim()
print(full, before, resident())
"""
  env = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1000000"}
  run = subprocess.run([sys.executable, "-c", script], env=env, check=True, capture_output=True)
  full, before, after = map(int, run.stdout.split())
  assert before > full - 50 and after < full - 200  # megabytes


def test_advice_where_memory_is_not_enough():
  with pytest.raises(UserError, match="smaller"), runtime.advice("choose a smaller batch"):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")
  with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), runtime.advice("no advice"):
    raise jax.errors.JaxRuntimeError("INTERNAL: something else")
