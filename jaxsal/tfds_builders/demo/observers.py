"""Observers of the demo set, and the exact density that their gaze is drawn from.

At every frame attention is shared out between the objects, the centre of the frame and the frame
as a whole, in proportion to their salience. Each observer sees it with a latency of their own.
Whoever looks at an object follows it, off its centre by a Gaussian error that stays the same during
a fixation.

For each fixation an observer keeps one uniform number, and looks at the target whose interval of
the cumulated shares holds it. So they stay with an object while its share lasts and leave it when
another one starts to move, and yet at every single frame the shares are met exactly. Gaze that
falls outside the frame is lost, which leaves the exact density cut at the border.
"""

import numpy as np

from jaxsal.tfds_builders.demo.scene import Scene


def attention(scene: Scene) -> np.ndarray:
  """Shares of attention, without latency: float64 [k + 2, lead + t], columns that sum to one.

  The rows are the k objects, the centre and the whole frame.
  """
  sim = scene.simulation
  objects = np.where(scene.visible, sim.still + scene.salience, 0)
  rest = np.repeat([[sim.centre], [sim.uniform]], objects.shape[1], axis=1)
  shares = np.concatenate([objects, rest])
  return shares / shares.sum(axis=0)


def exact_density(scene: Scene) -> np.ndarray:
  """The density of gaze at every frame: float64 [t, h, w], maps that sum to one."""
  sim = scene.simulation
  shares = attention(scene)
  steps = np.arange(sim.lead, shares.shape[1])
  shares = sum(p * shares[:, steps - lag] for lag, p in zip(sim.latency, sim.latency_share))

  # Gaussians factor into columns and rows: [k, t, w] and [k, t, h].
  position = scene.position[:, sim.lead :]
  columns = _gaussian(position[..., 0], sim.gaze_sigma, sim.width)
  rows = _gaussian(position[..., 1], sim.gaze_sigma, sim.height)
  density = np.einsum("kt,kth,ktw->thw", shares[:-2], rows, columns)
  centre = np.outer(
    _gaussian(np.float64(sim.height / 2), sim.centre_sigma * sim.height, sim.height),
    _gaussian(np.float64(sim.width / 2), sim.centre_sigma * sim.width, sim.width),
  )
  density += shares[-2, :, None, None] * centre
  density += shares[-1, :, None, None] / (sim.height * sim.width)
  return density / density.sum(axis=(1, 2), keepdims=True)


def _gaussian(mean: np.ndarray, sigma: float, length: int) -> np.ndarray:
  """The normal density [..., length] in the middle of each pixel, whose width is one."""
  z = (np.arange(length) + 0.5 - mean[..., None]) / sigma
  return np.exp(-0.5 * z * z) / (sigma * np.sqrt(2 * np.pi))


def observe(scene: Scene, observers: int, rng: np.random.Generator) -> np.ndarray:
  """Gaze of observers drawn from `exact_density`.

  Args:
    scene: what they look at.
    observers: their number n.
    rng: source of randomness.

  Returns:
    float32 [n, t, 2], (x, y) in pixels; NaN where the gaze fell outside the frame.
  """
  sim = scene.simulation
  cumulated = np.cumsum(attention(scene), axis=0)
  frames = cumulated.shape[1] - sim.lead
  position = scene.position[:, sim.lead :]
  size = np.array([sim.width, sim.height])

  gaze = np.empty((observers, frames, 2))
  for i in range(observers):
    latency = rng.choice(sim.latency, p=sim.latency_share)
    fixation = _fixations(sim.fixation, frames, rng)
    count = fixation[-1] + 1
    choice = rng.random(count)[fixation]
    error = rng.standard_normal((count, 2))[fixation]
    anywhere = rng.random((count, 2))[fixation] * size

    seen = cumulated[:, sim.lead - latency : sim.lead - latency + frames]
    target = (seen[:-1] <= choice).sum(axis=0)  # [t], a row of `attention`
    places = np.concatenate(
      [
        position + sim.gaze_sigma * error,
        (size / 2 + sim.centre_sigma * size * error)[None],
        anywhere[None],
      ]
    )
    gaze[i] = places[target, np.arange(frames)]
  gaze = gaze.astype(np.float32)
  outside = np.any((gaze < 0) | (gaze >= size), axis=-1)
  gaze[outside] = np.nan
  return gaze


def _fixations(length: tuple[int, int], frames: int, rng: np.random.Generator) -> np.ndarray:
  """The number of the fixation that each frame belongs to, int [frames]."""
  lengths = rng.integers(length[0], length[1] + 1, size=frames // length[0] + 2)
  lengths[0] = rng.integers(1, lengths[0] + 1)  # the first one began before the video
  return np.repeat(np.arange(len(lengths)), lengths)[:frames]
