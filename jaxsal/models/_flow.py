"""The optical flow that a network takes: DIS, or a PWC-Net in a model folder."""

import functools
import hashlib
import pathlib
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxsal.data.flow import Estimator, Flow, dis_flow
from jaxsal.errors import UserError
from jaxsal.models._base import SaliencyModel
from jaxsal.models._folder import WEIGHTS, find_folder, load
from jaxsal.models.pwcnet import PWCNet


def flow_estimator(folder: str | pathlib.Path | None = None) -> Estimator:
  """Returns the estimator of a PWC-Net, or DIS.

  Args:
    folder: model folder of the PWC-Net; None for DIS.

  Raises:
    UserError: the folder holds no PWC-Net.
  """
  if folder is None:
    return Estimator("dis", dis_flow)

  folder = find_folder(folder)
  network = load(folder)
  if not isinstance(network, PWCNet):
    raise UserError(
      f"{folder} holds a {type(network).__name__}: flow is computed by a PWC-Net, which "
      "`jaxsal convert --model=pwcnet` makes from its PyTorch weights."
    )
  weights = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
  graph, state = nnx.split(network)

  def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray(_pwcnet_flow(graph, state, first[None], second[None]))[0]

  return Estimator(f"pwcnet {weights}", flow)


# One function for all estimators, so that a second one for the same structure compiles nothing.
@functools.partial(jax.jit, static_argnums=0)
def _pwcnet_flow(
  graph: nnx.GraphDef[PWCNet], state: nnx.State, first: jax.Array, second: jax.Array
) -> jax.Array:
  return nnx.merge(graph, state).flow(first, second)


def flow_of(model: SaliencyModel[Any], folder: str | pathlib.Path | None = None) -> Flow | None:
  """Returns the function that computes a network's flow as it was trained; None if it takes none.

  Args:
    model: the network.
    folder: model folder of the PWC-Net that computed the flow for training; None for DIS.

  Raises:
    UserError: the flow for training was computed in another way, or the network takes no flow.
  """
  if not model.needs_flow:
    if folder is not None:
      raise UserError(f"the network takes no optical flow: leave out --flow-from={folder}.")
    return None
  trained, given = model.config.flow, flow_estimator(folder)
  if given.method == trained:
    return given.flow
  if trained == "dis":
    raise UserError(f"the network was trained on flow by DIS: leave out --flow-from={folder}.")
  raise UserError(
    f"the network was trained on the flow of a PWC-Net, {trained}, and this is {given.method}: "
    "name the folder of that PWC-Net, --flow-from=FOLDER."
  )
