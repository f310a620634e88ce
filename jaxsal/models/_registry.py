"""The networks and their variants, by name."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
from flax import nnx

from jaxsal.errors import UserError
from jaxsal.models import (
  avinet,
  gfsal,
  pwcnet,
  resnet,
  s3d,
  soundnet,
  stsanet,
  tased,
  tsfp,
  tsfp_av,
  unisal,
  vinet,
)
from jaxsal.models._base import BaseNetwork


class Network(NamedTuple):
  """A row of the registry.

  Attributes:
    title: name of the network in print.
    network: class of the network.
    config: class of its configuration, a frozen dataclass.
    variants: named configurations; `base` is the paper's, `tiny` is for tests.
  """

  title: str
  network: type[BaseNetwork[Any]]
  config: type
  variants: Mapping[str, Any]


MODELS: dict[str, Network] = {
  "avinet": Network("AViNet", avinet.AViNet, avinet.AViNetConfig, avinet.VARIANTS),
  "gfsal": Network("GFSalNet", gfsal.GFSalNet, gfsal.GFSalConfig, gfsal.VARIANTS),
  "pwcnet": Network("PWC-Net", pwcnet.PWCNet, pwcnet.PWCNetConfig, pwcnet.VARIANTS),
  "resnet50": Network("ResNet-50", resnet.ResNet, resnet.ResNetConfig, resnet.VARIANTS),
  "s3d": Network("S3D", s3d.S3D, s3d.S3DConfig, s3d.VARIANTS),
  "soundnet": Network("SoundNet", soundnet.SoundNet, soundnet.SoundNetConfig, soundnet.VARIANTS),
  "stsanet": Network("STSANet", stsanet.STSANet, stsanet.STSANetConfig, stsanet.VARIANTS),
  "tased": Network("TASED-Net", tased.TASEDNet, tased.TASEDConfig, tased.VARIANTS),
  "tsfp": Network("TSFP-Net", tsfp.TSFPNet, tsfp.TSFPConfig, tsfp.VARIANTS),
  "tsfp_av": Network(
    "TSFP-Net with audio", tsfp_av.TSFPNetAV, tsfp_av.TSFPAVConfig, tsfp_av.VARIANTS
  ),
  "unisal": Network("UNISAL", unisal.UNISAL, unisal.UNISALConfig, unisal.VARIANTS),
  "vinet": Network("ViNet", vinet.ViNet, vinet.ViNetConfig, vinet.VARIANTS),
}


def find(name: str) -> Network:
  """Returns the row of a network; raises UserError with the known names if there is none."""
  return MODELS[check_name(name, MODELS, "model")]


def create(
  name: str, variant: str = "base", *, rngs: nnx.Rngs | None = None, **overrides: Any
) -> Any:
  """Creates a network with random weights, in training mode.

  Args:
    name: name of the network, a key of `MODELS`.
    variant: name of one of the network's configurations; `base` is the paper's.
    rngs: source of the random weights; by default, one with seed 0.
    **overrides: fields of the configuration that differ from the variant's.

  Returns:
    The network, of the class that `MODELS` has for the name.

  Raises:
    UserError: a name, variant, field or value does not exist.
  """
  return build(name, configure(name, variant, **overrides), rngs=rngs)


def configure(name: str, variant: str = "base", **overrides: Any) -> Any:
  """Returns the configuration, a frozen dataclass, that `create` builds for these arguments."""
  variants = find(name).variants
  config = variants[check_name(variant, variants, f"variant of {name}")]
  fields = [field.name for field in dataclasses.fields(config)]
  for field in overrides:
    check_name(field, fields, f"field of {name}'s configuration")
  return dataclasses.replace(config, **overrides)


def build(name: str, config: Any, *, rngs: nnx.Rngs | None = None) -> Any:
  """Creates a network from its whole configuration."""
  return find(name).network(config, rngs=nnx.Rngs(jax.random.key(0)) if rngs is None else rngs)


def name_of(model: nnx.Module) -> str:
  """Returns the name of a network in the registry.

  Raises:
    UserError: the network is not in the registry.
  """
  for name, row in MODELS.items():
    if type(model) is row.network:
      return name
  raise UserError(
    f"{type(model).__name__} is not in the registry: add a row for it to jaxsal.models.MODELS."
  )


def check_name(name: str, known: Iterable[str], what: str) -> str:
  """Returns `name`; raises UserError with the known names if it is not one of them."""
  known = list(known)
  if name in known:
    return name
  close = difflib.get_close_matches(name, known, 1)
  hint = f"; did you mean {close[0]!r}?" if close else ""
  raise UserError(f"{name!r} is not a {what}{hint} (there is {', '.join(known)}).")
