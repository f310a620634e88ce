"""The programs of predictors, kept for the process.

JAX finds a compiled program by its jitted function. Two predictors whose networks have the same
structure get the same jitted function here, so that JAX neither traces nor compiles for the second
one. Weights are arguments, so they may differ.

The caches are bounded: the programs that were used least recently are freed.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal import console
from jaxsal.models import SaliencyModel
from jaxsal.prediction import shared_windows

# Number of programs that each cache keeps. The compiled code of one takes tens of megabytes.
_KEPT = 8

Structure = nnx.GraphDef[Any]


def split(model: SaliencyModel) -> tuple[Structure, nnx.State]:
  """Returns a network's structure, in evaluation mode, and its arrays; leaves the network as is."""
  network = nnx.merge(*nnx.split(model))
  network.eval()
  return nnx.split(network)


def device_name(sharding: jax.NamedSharding) -> str:
  """Returns the number of devices and their kind, such as `1 x cpu`."""
  devices = list(sharding.device_set)
  return f"{len(devices)} x {devices[0].device_kind}"


# The batch size is part of the keys so that a cache counts programs, not networks.


@functools.lru_cache(_KEPT)
def of_clips(
  structure: Structure, batch_size: int, sharding: jax.NamedSharding, gates: bool
) -> jax.stages.Wrapped:
  """Returns the function from the arrays of a network and a batch of clips to their maps.

  Args:
    structure: the network's, from `split`.
    batch_size: number of clips in a batch.
    sharding: placement of the batch on the devices.
    gates: whether a GFSalNet gives S and P, [b, h, w, 2], in place of S, [b, h, w].
  """
  del batch_size

  def forward(state: nnx.State, batch: Mapping[str, jax.Array]) -> jax.Array:
    network = nnx.merge(structure, state)
    if not gates:
      return network.from_batch(batch)
    maps = network.maps_from_batch(batch)
    return jnp.stack([maps.saliency, maps.gate], axis=-1)

  _say_compiling(sharding)
  return jax.jit(forward)


@functools.lru_cache(_KEPT)
def of_chunks(
  structure: Structure, batch_size: int, sharding: jax.NamedSharding
) -> tuple[jax.stages.Wrapped, jax.stages.Wrapped]:
  """Returns two functions for windows that share work (`jaxsal.prediction.chunks`).

  The first takes the arrays of a network and the frames of a chunk for each device, and returns the
  features that the windows share. The second takes the arrays, these features, the windows' numbers
  and their other inputs, and returns the maps of the windows.

  Args:
    structure: the network's, from `split`; the network must allow `shared_windows.can_share`.
    batch_size: number of windows computed together.
    sharding: placement of the first axis on the devices.
  """
  del batch_size

  def share(state: nnx.State, frames: jax.Array) -> shared_windows.Shared:
    network = nnx.merge(structure, state)
    return shared_windows.share(network.encoder, network.normalise(frames))

  def forward(
    state: nnx.State,
    shared: shared_windows.Shared,
    windows: jax.Array,
    inputs: dict[str, jax.Array],
  ) -> jax.Array:
    network = nnx.merge(structure, state)
    stages = shared_windows.stages(network.encoder, shared, windows, network.length)
    return network.from_stages(stages, **inputs)

  _say_compiling(sharding)
  # Each device has chunks of its own and exchanges nothing with the others.
  each = sharding.spec
  on_each = functools.partial(jax.shard_map, mesh=sharding.mesh, out_specs=each)
  return (
    jax.jit(on_each(share, in_specs=(jax.P(), each))),
    jax.jit(on_each(forward, in_specs=(jax.P(), each, each, each))),
  )


@functools.lru_cache(_KEPT)
def of_sequences(
  structure: Structure, stride: int, steps: int, sharding: jax.NamedSharding
) -> jax.stages.Wrapped:
  """Returns the function from the arrays, frames and state of a recurrent network to its maps.

  The frames are uint8 [stride, steps, h, w, 3]. The function returns maps [stride, steps, h, w],
  each with a maximum of 1, and the new state.

  Args:
    structure: the network's, from `split`.
    stride: number of sequences.
    steps: number of frames of each sequence.
    sharding: placement on the devices.
  """
  del stride, steps

  def forward(
    state: nnx.State, frames: jax.Array, hidden: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    network = nnx.merge(structure, state)
    log_densities, hidden = network.densities(network.normalise(frames), hidden)
    return jnp.exp(log_densities - log_densities.max(axis=(-2, -1), keepdims=True)), hidden

  _say_compiling(sharding)
  return jax.jit(forward)


def _say_compiling(sharding: jax.NamedSharding) -> None:
  # The caches call this once for each program, and not again for a second predictor.
  name = device_name(sharding)
  console.say(f"compiling for {name} (up to a minute the first time, then from the cache)")
