"""Maps as pictures: resized, in grey, and as heat over a frame."""

import cv2
import numpy as np

# Colours of the overlay for saliency 0..255, as R, G, B: blue, green, yellow, red. Turbo's last
# eighth is left out: its dark red would hide the most salient objects.
_HEAT = cv2.applyColorMap(np.linspace(0, 224, 256).astype(np.uint8)[:, None], cv2.COLORMAP_TURBO)[
  ..., ::-1
].copy()

# Opacity of the heat map at its most salient pixel.
_OPACITY = 0.6


def resize_map(saliency: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Resizes a map [h, w] to (height, width): bicubic, as for the metrics, kept within [0, 1]."""
  if saliency.shape == tuple(size):
    return saliency
  resized = cv2.resize(saliency, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
  return np.clip(resized, 0, 1)


def to_grey(saliency: np.ndarray) -> np.ndarray:
  """Returns a map [h, w] as uint8, scaled to a maximum of 255; a map of zeros stays zero."""
  return np.rint(saliency * (255 / max(float(saliency.max()), 1e-12))).astype(np.uint8)


def heat_overlay(frame: np.ndarray, grey: np.ndarray) -> np.ndarray:
  """Lays a heat map over a frame; salient pixels are more opaque.

  Args:
    frame: RGB uint8 [h, w, 3].
    grey: map from `to_grey`, uint8 [h, w].

  Returns:
    RGB uint8 [h, w, 3]; the frame is unchanged where the map is 0.
  """
  weight = grey.astype(np.float32) * (_OPACITY / 255)
  return cv2.blendLinear(cv2.applyColorMap(grey, _HEAT), frame, weight, 1 - weight)
