"""The options that every way of predicting shares."""

import dataclasses
import math
import pathlib
from typing import Any, Self

from jaxsal.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictOptions:
  """How a network predicts; checked when it is made.

  Attributes:
    batch_size: clips that are computed together, rounded up to a multiple of the number of devices;
      None for 1 per CPU and 8 per GPU or TPU.
    blur: standard deviation of a Gaussian that smooths each map, in pixels at the network's size; 0
      for none. TASED-Net's published numbers use 7 at 224 x 384.
    flow_from: model folder of the PWC-Net that computed the optical flow which the network was
      trained on; None where that was DIS, and for networks that take no flow.
    sharing: whether neighbouring windows share the work that they have in common, where the network
      allows it (see `jaxsal.prediction.chunks`). The maps are the same, sooner, for more memory.
    mute: whether an audio-visual network predicts without the sound of the video.
  """

  batch_size: int | None = None
  blur: float = 0.0
  flow_from: str | pathlib.Path | None = None
  sharing: bool = True
  mute: bool = False

  def __post_init__(self) -> None:
    """Raises UserError for a batch size or a blur out of range."""
    if self.batch_size is not None and self.batch_size < 1:
      raise UserError(f"batch size {self.batch_size}: must be at least 1.")
    if not 0 <= self.blur < math.inf:
      raise UserError(f"blur {self.blur}: must be 0 (none) or a standard deviation in pixels.")

  def with_(self, **changes: Any) -> Self:
    """These options with other values for some fields; raises UserError for a field unknown."""
    fields = [field.name for field in dataclasses.fields(self)]
    for name in changes:
      if name not in fields:
        raise UserError(f"{name!r} is no option of prediction: use {', '.join(fields)}.")
    return dataclasses.replace(self, **changes)
