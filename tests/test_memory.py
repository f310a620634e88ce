"""Programs start anew with large pages, and nothing else does."""

import os
import subprocess
import sys

import pytest

from jaxsal import memory

SCRIPT = """
import os, sys
from jaxsal import memory
memory.use_large_pages()
print(os.environ.get("GLIBC_TUNABLES"), *sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
@pytest.mark.parametrize("before", (None, "glibc.malloc.hugetlb=0"))
def test_starts_anew_with_its_arguments(tmp_path, before):
  (tmp_path / "script.py").write_text(SCRIPT)
  env = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
  env |= {"GLIBC_TUNABLES": before} if before else {}
  command = [sys.executable, "-u", str(tmp_path / "script.py"), "one", "--two=a b"]
  out = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
  assert out == f"{before or 'glibc.malloc.hugetlb=1'} one --two=a b\n"


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
@pytest.mark.parametrize("module", ("jaxsal.main", "jaxsal.cli"))
def test_both_programs_do(tmp_path, module):
  """Python runs sitecustomize whenever it starts: twice, the second time with large pages."""
  report = "import os, sys\nprint(os.environ.get('GLIBC_TUNABLES'), file=sys.stderr)\n"
  (tmp_path / "sitecustomize.py").write_text(report)
  env = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
  env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *filter(None, [env.get("PYTHONPATH")])])
  command = [sys.executable, "-m", module, "--help"]
  run = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
  assert run.stderr.splitlines() == ["None", "glibc.malloc.hugetlb=1"]
  assert "jaxsal" in run.stdout  # said once, by the second


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
  memory.use_large_pages()
