"""How the optical flow that a network takes is computed: by DIS, or by a PWC-Net."""

import hashlib
import pathlib

import jax
import numpy as np
from flax import nnx

from jaxsal.data.flow import Estimator, Flow, dis_flow
from jaxsal.errors import UserError
from jaxsal.models import _folder
from jaxsal.models._base import SaliencyModel
from jaxsal.models.pwcnet import PWCNet


def estimator(folder: str | pathlib.Path | None = None) -> Estimator:
  """DIS, or the PWC-Net whose weights are in a model folder.

  Raises:
    UserError: the folder holds no PWC-Net.
  """
  if folder is None:
    return Estimator("dis", dis_flow)

  folder = _folder.find(folder)
  network = _folder.load(folder)
  if not isinstance(network, PWCNet):
    raise UserError(
      f"{folder} holds a {type(network).__name__}: flow is computed by a PWC-Net, which "
      "`jaxsal convert --model=pwcnet` makes from its PyTorch weights"
    )
  weights = hashlib.sha256((folder / _folder.WEIGHTS).read_bytes()).hexdigest()
  graph, state = nnx.split(network)

  @jax.jit
  def run(state: nnx.State, first: jax.Array, second: jax.Array) -> jax.Array:
    return nnx.merge(graph, state).flow(first, second)

  def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray(run(state, first[None], second[None]))[0]

  return Estimator(f"pwcnet {weights}", flow)


def of_model(model: SaliencyModel, folder: str | pathlib.Path | None = None) -> Flow | None:
  """How the flow of a network is computed, the way it was trained; None if it takes none.

  Args:
    model: the network.
    folder: of a PWC-Net.

  Raises:
    UserError: the network was trained on flow that was computed in another way.
  """
  if not model.needs_flow:
    if folder is not None:
      raise UserError(f"the network takes no optical flow: leave out --flow-from={folder}")
    return None
  trained, given = model.config.flow, estimator(folder)
  if given.method == trained:
    return given.flow
  if trained == "dis":
    raise UserError(f"the network was trained on flow by DIS: leave out --flow-from={folder}")
  raise UserError(
    f"the network was trained on the flow of a PWC-Net, {trained}, and this is {given.method}: "
    "name the folder of that PWC-Net, --flow-from=FOLDER"
  )
