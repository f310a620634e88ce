"""Compares jaxsal with PyTorch on this machine: time, memory, compiling.

  python -m benchmarks.compare [--networks=tased,vinet] [--work=forward] [--batches=1,4,16]
    [--torch-compile] [--json=FILE]

The PyTorch side is `benchmarks.peers`, in eager mode and in the better of its two memory formats;
`torch.compile` is one more column. A CPU computes in float32 with batch 1; a GPU that JAX finds
computes in bfloat16 with batches 1 and 8, and with `torch.compile`. Forward is inference; backward
is a forward pass in training mode with the gradients of all parameters. All sides take turns, each
in a process of its own; a turn is four calls, of which all but the first count. The tables give the
median and the spread (the middle half of all calls that count); a ratio below 1 means that jaxsal
is quicker. Memory is the peak of a process over three calls, minus its memory with the weights
loaded. Clips have 32 x 224 x 384 pixels, those of TSFP-Net 32 x 192 x 352. jaxsal runs in large
pages of memory and frees the memory that compiling took, as its programs do; set
GLIBC_TUNABLES=glibc.malloc.hugetlb=1 to give PyTorch such pages too.
"""

import argparse
import contextlib
import functools
import json
import math
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.peers import PEERS
from jaxsal import models
from jaxsal.console import progress, say
from jaxsal.runtime import LARGE_PAGES, frugal
from jaxsal.train.optimizer import make_optimizer, make_schedule
from jaxsal.train.recipe import recipe
from jaxsal.train.state import new_state, split
from jaxsal.train.step import make_train_step

WORK = ("forward", "backward")
_CALLS = 4  # in a turn
# The project's targets, as fractions of PyTorch's time (float32, batch 1, CPU).
TARGETS = {
  ("s3d", "forward"): 0.45,
  ("tased", "forward"): 0.45,
  ("vinet", "forward"): 0.50,
  ("stsanet", "forward"): 0.65,
  ("tsfp", "forward"): 0.50,
} | dict.fromkeys([(name, "backward") for name in PEERS], 0.60)
TARGET_GPU = 1 / 1.3  # fraction of torch.compile's time (bfloat16)


def clip(name: str, batch: int) -> np.ndarray:
  """Returns normalised frames [b, t, h, w, 3]."""
  size = (192, 352) if name == "tsfp" else (224, 384)
  return np.random.default_rng(0).normal(size=(batch, 32, *size, 3)).astype(np.float32)


def in_jax(name: str, work: str, batch: int, dtype: str) -> Callable[[], Any]:
  """Returns a function that computes one batch in jaxsal and waits for it."""
  model = models.create(name, dtype=dtype)
  network, params, state = split(model)
  graph = network.inference if work == "forward" else network.training

  def apply(params, state, frames):
    return nnx.merge(graph, params, state)(frames)

  def loss(params, state, frames):
    model = nnx.merge(graph, params, state)
    return model(frames).mean(), nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

  function = frugal(jax.jit(apply if work == "forward" else jax.grad(loss, has_aux=True)))
  arguments = jax.device_put((params, state, clip(name, batch)))
  return lambda: jax.block_until_ready(function(*arguments))


def in_torch(
  name: str, work: str, batch: int, dtype: str, *, channels_last: bool, compiled: bool = False
) -> Callable[[], Any]:
  """Returns a function that computes one batch in PyTorch and waits for it."""
  device = "cuda" if jax.default_backend() == "gpu" else "cpu"
  form = torch.channels_last_3d if channels_last else torch.contiguous_format
  options = {"device": device, "dtype": getattr(torch, dtype)}
  peer = PEERS[name]().to(**options).train(work == "backward")
  for parameter in peer.parameters():
    if parameter.ndim == 5:  # the others have no such format
      parameter.data = parameter.data.to(memory_format=form)
  frames = torch.from_numpy(clip(name, batch)).permute(0, 4, 1, 2, 3)
  frames = frames.to(memory_format=form, **options)
  run = torch.compile(peer) if compiled else peer

  def call() -> None:
    if work == "forward":
      with torch.inference_mode():
        run(frames)
    else:
      peer.zero_grad()
      run(frames).mean().backward()
    if device == "cuda":
      torch.cuda.synchronize()

  return call


def gigaflops(name: str) -> float:
  """Counts a forward pass of one clip: matrix products and convolutions, padding included."""
  counter = FlopCounterMode(display=False)
  with counter, torch.inference_mode(), torch.device("meta"):
    PEERS[name]().eval()(torch.empty(clip(name, 1).transpose(0, 4, 1, 2, 3).shape))
  return counter.get_total_flops() / 1e9


def product_peak() -> float:
  """Measures the GFLOP/s of this device's matrix product, in float32 (bfloat16 on a GPU)."""
  n, dtype = (8192, jnp.bfloat16) if jax.default_backend() == "gpu" else (3072, jnp.float32)
  x = jax.random.normal(jax.random.key(0), (n, n), dtype)
  product = jax.jit(jnp.matmul)
  best = math.inf
  for _ in range(8):
    began = time.perf_counter()
    jax.block_until_ready(product(x, x))
    best = min(best, time.perf_counter() - began)
  return 2e-9 * n**3 / best


def times(
  sides: dict[str, Callable[[], Callable[[], Any]]], repeats: int
) -> dict[str, list[float]]:
  """Measures the seconds of each side's calls, in turns, after all sides have compiled.

  Each side has a process of its own, as in real use: in a shared process the threads of one library
  still spin when it is the other's turn. A turn begins with a call that does not count: while a
  process waits, a virtual machine returns the memory that it freed to its host, and fetching it
  again takes up to half of a call's time. A training or prediction does not wait.

  Args:
    sides: functions that make each side's call, by the name of the side.
    repeats: number of turns of each side.
  """
  spawn = multiprocessing.get_context("spawn")
  result: dict[str, list[float]] = {name: [] for name in sides}
  pipes, processes = {}, []
  for name, make in sides.items():
    pipes[name], theirs = spawn.Pipe()
    processes.append(spawn.Process(target=serve, args=(make, theirs), daemon=True))
    with mock.patch.dict(os.environ, memory_settings(name)):
      processes[-1].start()
    theirs.close()  # so that a process that dies ends the wait for it
  try:
    warming = list(pipes.values())
    at_once = len(warming) if jax.default_backend() == "gpu" else 1  # a GPU's host has many cores
    for i in range(0, len(warming), at_once):
      for pipe in warming[i : i + at_once]:
        pipe.send(None)
      for pipe in warming[i : i + at_once]:
        pipe.recv()
    for _ in range(repeats):
      for name, pipe in pipes.items():
        for call in range(_CALLS):
          pipe.send(None)
          seconds = pipe.recv()
          if call:
            result[name].append(seconds)
  finally:
    for pipe in pipes.values():
      pipe.close()  # ends the process, but not one that computes
    for process in processes:
      process.join(timeout=10)
      process.terminate()
      process.join()
  return result


def serve(
  make: Callable[[], Callable[[], Any]], pipe: multiprocessing.connection.Connection
) -> None:
  """Makes the call, runs it at each message from the pipe, and sends the seconds that it took."""
  call = make()
  with contextlib.suppress(EOFError):  # when there is nothing more to do
    while True:
      pipe.recv()
      began = time.perf_counter()
      call()
      pipe.send(time.perf_counter() - began)


def memory_settings(side: str) -> dict[str, str]:
  """Returns the environment of a side's process; jaxsal's programs set these variables."""
  return LARGE_PAGES if side == "jaxsal" else {}


def spread(seconds: list[float]) -> str:
  """Returns the median with the middle half, as text."""
  low, middle, high = np.quantile(seconds, (0.25, 0.5, 0.75))
  return f"{middle:.3f} ({low:.3f}-{high:.3f})"


def measure(
  name: str, work: str, batch: int, dtype: str, repeats: int, torch_compile: bool
) -> dict[str, Any]:
  """Measures one row of the table of times."""
  case = (name, work, batch, dtype)
  sides = {
    "jaxsal": functools.partial(in_jax, *case),
    "torch": functools.partial(in_torch, *case, channels_last=False),
    "torch channels-last": functools.partial(in_torch, *case, channels_last=True),
  }
  if torch_compile:
    sides["torch.compile"] = functools.partial(
      in_torch, *case, channels_last=dtype == "bfloat16", compiled=True
    )
  seconds = times(sides, repeats)
  median = {side: statistics.median(values) for side, values in seconds.items()}
  eager = min(("torch", "torch channels-last"), key=lambda side: median[side])
  row = {
    "network": name,
    "work": work,
    "batch": batch,
    "dtype": dtype,
    "seconds": seconds,
    "eager": eager,
    "ratio": median["jaxsal"] / median[eager],
    "clips_per_second": {side: batch / value for side, value in median.items()},
  }
  if torch_compile:
    row["ratio_to_compiled"] = median["jaxsal"] / median["torch.compile"]
  return row


def peak_memory(side: str, name: str, work: str) -> tuple[float]:
  """Measures the megabytes that three calls of a process take in addition to the weights."""
  make = in_jax if side == "jaxsal" else functools.partial(in_torch, channels_last=False)
  call = make(name, work, 1, "float32")
  before = _kilobytes("VmRSS")
  pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak that the kernel keeps
  for _ in range(3):  # PyTorch takes more in later calls, jaxsal loads its program in the first
    call()
    time.sleep(0.5)  # JAX frees the last call's results in the background
  return ((_kilobytes("VmHWM") - before) / 1e3,)


def _kilobytes(field: str) -> int:
  lines = pathlib.Path("/proc/self/status").read_text().splitlines()
  return next(int(line.split()[1]) for line in lines if line.startswith(field))


def compile_seconds(name: str) -> tuple[float, float]:
  """Measures how long the trainer's step takes to start, with batch 1.

  Returns:
    The seconds to trace and lower the Python code, which no cache saves, and the seconds to compile
    it or to load it from the cache.
  """
  model = models.create(name)
  assert isinstance(model, models.SaliencyModel)
  config = recipe(name).optimizer
  schedule = make_schedule(config, 1000)
  tx = make_optimizer(config, schedule)
  network, params, model_state = split(model)
  state = jax.eval_shape(lambda p, s: new_state(p, s, tx), params, model_state)
  batch = model.batch_spec(1) | {
    "density": jax.ShapeDtypeStruct((1, *model.size), jnp.float32),
    "fixations": jax.ShapeDtypeStruct((1, *model.size), jnp.uint8),
    "mask": jax.ShapeDtypeStruct((1,), jnp.float32),
  }
  step = jax.jit(make_train_step(network, tx, schedule, {"kl": 1.0}, 1), donate_argnums=0)
  began = time.perf_counter()
  lowered = step.lower(state, batch)
  traced = time.perf_counter()
  lowered.compile()
  return traced - began, time.perf_counter() - traced


ALONE = {"memory": peak_memory, "compile": compile_seconds}


def alone(function: str, *arguments: str, cache: str) -> list[float]:
  """Calls a function of `ALONE` in a process of its own, with this compilation cache."""
  run = subprocess.run(
    [sys.executable, "-m", "benchmarks.compare", f"--alone={','.join((function, *arguments))}"],
    env=os.environ | {"JAX_COMPILATION_CACHE_DIR": cache} | memory_settings(arguments[0]),
    check=True,
    stdout=subprocess.PIPE,
    text=True,
  )
  return json.loads(run.stdout.splitlines()[-1])


HEADING = (
  f"{'network':<8} {'work':<9} {'batch':>5} {'clips/s':>8}  {'jaxsal':<20} {'torch eager':<20}"
  f" {'ratio':>5} {'target':>6}  torch.compile"
)


def line(row: dict[str, Any]) -> str:
  """Formats a row of the table of times, below `HEADING`."""
  cells = [spread(row["seconds"][side]) for side in ("jaxsal", row["eager"])]
  compiled = ""
  if "ratio_to_compiled" in row:
    compiled = f"{spread(row['seconds']['torch.compile'])}, ratio {row['ratio_to_compiled']:.2f}"
    if row["dtype"] == "bfloat16":
      compiled += f" (target {TARGET_GPU:.2f})"
  aimed_at = (row["dtype"], row["batch"]) == ("float32", 1)
  target = TARGETS[row["network"], row["work"]] if aimed_at else ""
  clips = row["clips_per_second"]["jaxsal"]
  return (
    f"{row['network']:<8} {row['work']:<9} {row['batch']:>5} {clips:>8.4g}  {cells[0]:<20}"
    f" {cells[1]:<20} {row['ratio']:>5.2f} {target:>6}  {compiled}"
  )


def say_shares(rows: list[dict[str, Any]], peak: float) -> None:
  """Prints the share of the device's rate that each forward pass reaches."""
  say(f"\nshare of the matrix product's {peak:.0f} GFLOP/s, of the forward pass")
  say(f"{'network':<8} {'batch':>5} {'GFLOP':>6} {'jaxsal':>7} {'torch eager':>12} torch.compile")
  for row in rows:
    if row["work"] == "forward":
      sides = ("jaxsal", row["eager"], "torch.compile")
      rates = [row["clips_per_second"].get(side) for side in sides]
      cells = [f"{row['gigaflops'] * rate / peak:.0%}" if rate else "" for rate in rates]
      say(
        f"{row['network']:<8} {row['batch']:>5} {row['gigaflops']:>6.0f} {cells[0]:>7}"
        f" {cells[1]:>12} {cells[2]:>13}"
      )


def measure_alone(networks: list[str]) -> dict[str, dict[str, float]]:
  """Prints and returns peak memory and compile times."""
  result: dict[str, dict[str, float]] = {}
  say(
    "\npeak memory without the weights, MB; seconds to trace, to compile and to load a train step"
  )
  say(
    f"{'network':<8} {'work':<9} {'jaxsal':>7} {'torch':>7} {'ratio':>6}    trace  compile  cached"
  )
  with tempfile.TemporaryDirectory() as cache:
    for name in networks:
      for work in WORK:
        alone("memory", "jaxsal", name, work, cache=cache)  # fills the cache: compiling has a peak
        sides = ("jaxsal", "torch")
        ours, theirs = (alone("memory", s, name, work, cache=cache)[0] for s in sides)
        result[f"{name} {work}"] = {"jaxsal_mb": ours, "torch_mb": theirs}
        text = f"{name:<8} {work:<9} {ours:>7.0f} {theirs:>7.0f} {ours / theirs:>6.2f}"
        if work == "backward" and name != "s3d":
          (trace, cold), (_, cached) = (alone("compile", name, cache=cache) for _ in range(2))
          result[f"{name} {work}"] |= {"trace_s": trace, "compile_s": cold, "cached_s": cached}
          text += f"  {trace:>7.1f}  {cold:>7.1f} {cached:>7.1f}"
        say(text)
  return result


def main() -> None:
  # Several processes of JAX and PyTorch on one GPU: none may take all of its memory in advance.
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--networks", default=",".join(PEERS), help="names, separated by commas")
  parser.add_argument("--work", choices=WORK, help="measure only one kind of work")
  parser.add_argument("--batches", help="clips per batch; default 1, on a GPU 1,8")
  parser.add_argument("--repeats", type=int, default=3, help="number of turns of each side")
  parser.add_argument(
    "--torch-compile", action="store_true", help="measure torch.compile as well; always on a GPU"
  )
  parser.add_argument("--no-memory", action="store_true", help="measure times only")
  parser.add_argument("--json", help="file that gets all numbers")
  parser.add_argument("--alone", help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.alone:
    function, *rest = arguments.alone.split(",")
    print(json.dumps(ALONE[function](*rest)))
    return

  networks = arguments.networks.split(",")
  gpu = jax.default_backend() == "gpu"
  device = jax.devices()[0].device_kind
  say(
    f"{device}, {os.cpu_count()} cores ({platform.machine()}), JAX {jax.__version__}, PyTorch"
    f" {torch.__version__}, Python {platform.python_version()}"
    + ("" if gpu else "; no GPU: all numbers below are for the CPU")
  )
  rows = []
  peak = product_peak()
  batches, dtype = ("1,8", "bfloat16") if gpu else ("1", "float32")
  batches = [int(batch) for batch in (arguments.batches or batches).split(",")]
  works = (arguments.work,) if arguments.work else WORK
  cases = [(n, w, b) for n in networks for w in works for b in batches]
  say(
    "\njaxsal's clips a second (one map a clip); seconds: median (middle half of the calls); ratio"
    " to the better eager format"
  )
  say(HEADING)
  with progress("measuring", len(cases), "case") as bar:
    for name, work, batch in cases:  # prints each row at once, in case the run ends early
      row = measure(name, work, batch, dtype, arguments.repeats, gpu or arguments.torch_compile)
      rows.append(row | {"gigaflops": gigaflops(name)})
      bar.print(line(rows[-1]))
      bar.advance()
  say_shares(rows, peak)
  memory = {} if gpu or arguments.no_memory else measure_alone(networks)
  if arguments.json:
    record = {"device": device, "jax": jax.__version__, "torch": torch.__version__, "peak": peak}
    pathlib.Path(arguments.json).write_text(
      json.dumps(record | {"times": rows, "alone": memory}, indent=1)
    )


if __name__ == "__main__":
  main()
