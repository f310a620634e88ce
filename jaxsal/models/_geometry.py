"""Checks of the clips that networks on the S3D encoder take."""

import jax

from jaxsal.errors import UserError
from jaxsal.models._base import SaliencyConfig


def check_size(size: tuple[int, int]) -> None:
  """Raises UserError unless height and width are multiples of 32, which S3D halves five times."""
  h, w = size
  if h % 32 or w % 32 or h < 32 or w < 32:
    raise UserError(
      f"size is {h} x {w}: height and width must be multiples of 32, such as "
      f"{max(32, round(h / 32) * 32)} x {max(32, round(w / 32) * 32)}."
    )


def check_clip(frames: jax.Array, config: SaliencyConfig) -> None:
  """Raises UserError unless frames are [b, t, h, w, 3] with the network's length and a fit size."""
  if frames.ndim != 5 or frames.shape[-1] != 3:
    raise UserError(f"frames have shape {frames.shape}: they must be [b, t, h, w, 3].")
  if frames.shape[1] != config.length:
    raise UserError(
      f"a clip of {frames.shape[1]} frames does not fit a network of length {config.length}: give "
      f"it {config.length} frames, or build the network with length={frames.shape[1]}."
    )
  _, _, h, w, _ = frames.shape
  check_size((h, w))
