"""The networks and their variants, by name."""

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Any

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

# Name -> class, configuration class, named configurations.
MODELS: dict[str, tuple[type[nnx.Module], type, dict[str, Any]]] = {
  "avinet": (avinet.AViNet, avinet.AViNetConfig, avinet.VARIANTS),
  "gfsal": (gfsal.GFSalNet, gfsal.GFSalConfig, gfsal.VARIANTS),
  "pwcnet": (pwcnet.PWCNet, pwcnet.PWCNetConfig, pwcnet.VARIANTS),
  "resnet50": (resnet.ResNet, resnet.ResNetConfig, resnet.VARIANTS),
  "s3d": (s3d.S3D, s3d.S3DConfig, s3d.VARIANTS),
  "soundnet": (soundnet.SoundNet, soundnet.SoundNetConfig, soundnet.VARIANTS),
  "stsanet": (stsanet.STSANet, stsanet.STSANetConfig, stsanet.VARIANTS),
  "tased": (tased.TASEDNet, tased.TASEDConfig, tased.VARIANTS),
  "tsfp": (tsfp.TSFPNet, tsfp.TSFPConfig, tsfp.VARIANTS),
  "tsfp_av": (tsfp_av.TSFPNetAV, tsfp_av.TSFPAVConfig, tsfp_av.VARIANTS),
  "unisal": (unisal.UNISAL, unisal.UNISALConfig, unisal.VARIANTS),
  "vinet": (vinet.ViNet, vinet.ViNetConfig, vinet.VARIANTS),
}


def create(
  name: str, variant: str = "base", *, rngs: nnx.Rngs | None = None, **overrides: Any
) -> nnx.Module:
  """A network with random weights, in training mode.

  Args:
    name: one of MODELS.
    variant: one of the network's named configurations; `base` is the paper's.
    rngs: for the weights; seed 0 when left out.
    **overrides: fields of the configuration that differ from the variant's.

  Raises:
    UserError: for a name, variant, field or value that does not exist.
  """
  return build(name, configure(name, variant, **overrides), rngs=rngs)


def configure(name: str, variant: str = "base", **overrides: Any) -> Any:
  """The configuration that `create` builds; a frozen dataclass."""
  _, _, variants = MODELS[check_name(name, MODELS, "model")]
  config = variants[check_name(variant, variants, f"variant of {name}")]
  fields = [field.name for field in dataclasses.fields(config)]
  for field in overrides:
    check_name(field, fields, f"field of {name}'s configuration")
  return dataclasses.replace(config, **overrides)


def build(name: str, config: Any, *, rngs: nnx.Rngs | None = None) -> nnx.Module:
  """A network from its whole configuration."""
  cls, _, _ = MODELS[check_name(name, MODELS, "model")]
  return cls(config, rngs=nnx.Rngs(jax.random.key(0)) if rngs is None else rngs)


def name_of(model: nnx.Module) -> str:
  """The registry's name of a network."""
  return next(name for name, (cls, _, _) in MODELS.items() if type(model) is cls)


def check_name(name: str, known: Iterable[str], what: str) -> str:
  """Returns `name`; raises UserError with the known ones if it is not among them."""
  known = list(known)
  if name in known:
    return name
  close = difflib.get_close_matches(name, known, 1)
  hint = f"; did you mean {close[0]!r}?" if close else ""
  raise UserError(f"{name!r} is not a {what}{hint} (there is {', '.join(known)})")
