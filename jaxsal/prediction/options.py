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
    batch_size: number of clips computed together, rounded up to a multiple of the number of
      devices; None for 1 per CPU and 8 per GPU or TPU.
    blur: standard deviation of a Gaussian that smooths each map, in pixels at the network's size; 0
      for none. TASED-Net's published numbers use 7 at 224 x 384.
    flow_from: model folder of the PWC-Net whose optical flow the network was trained on; None if
      the flow was DIS, and for networks that take no flow.
    sharing: whether neighbouring windows share their common work, if the network allows it (see
      `jaxsal.prediction.chunks`). The maps are the same and ready sooner, for more memory.
    stride: every how many frames a recurrent network takes one in a sequence; None for the
      authors' stride, which is 5 for UNISAL on DHF1K and on any other video.
    mute: whether an audio-visual network predicts without the sound of the video.
  """

  batch_size: int | None = None
  blur: float = 0.0
  flow_from: str | pathlib.Path | None = None
  sharing: bool = True
  stride: int | None = None
  mute: bool = False

  def __post_init__(self) -> None:
    """Raises UserError if the batch size or the blur is out of range."""
    if self.batch_size is not None and self.batch_size < 1:
      raise UserError(f"batch size {self.batch_size}: must be at least 1.")
    if self.stride is not None and self.stride < 1:
      raise UserError(f"stride {self.stride}: must be at least 1.")
    if not 0 <= self.blur < math.inf:
      raise UserError(f"blur {self.blur}: must be 0 (none) or a standard deviation in pixels.")

  def with_(self, **changes: Any) -> Self:
    """Returns these options with other values for some fields.

    Raises:
      UserError: a name is not that of a field, or a value is out of range.
    """
    fields = [field.name for field in dataclasses.fields(self)]
    for name in changes:
      if name not in fields:
        raise UserError(f"{name!r} is not an option of prediction: use {', '.join(fields)}.")
    return dataclasses.replace(self, **changes)
