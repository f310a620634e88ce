"""Observers of the demo set, and the exact density that their gaze is drawn from.

At every frame, attention is divided between the objects, the centre of the frame and the frame as a
whole, in proportion to their salience. Each observer reacts with a latency of their own. An
observer who looks at an object follows it, off its centre by a Gaussian error that is constant
during a fixation.

For each fixation an observer draws one uniform number, and looks at the target whose interval of
the cumulated shares contains it. The observer thus stays with an object while its share lasts and
leaves it when another one starts to move; still, the shares hold exactly at every single frame.
Gaze that falls outside the frame is lost, so the exact density is cut at the border.
"""

import numpy as np

from jaxsal.tfds_builders.demo.scene import Scene


def attention(scene: Scene) -> np.ndarray:
  """Returns the shares of attention, without latency: float64 [k + 2, lead + t].

  The rows are the k objects, the centre and the whole frame. Each column sums to 1.
  """
  sim = scene.simulation
  objects = np.where(scene.visible, sim.still + scene.salience, 0)
  rest = np.repeat([[sim.centre], [sim.uniform]], objects.shape[1], axis=1)
  shares = np.concatenate([objects, rest])
  return shares / shares.sum(axis=0)


def exact_density(scene: Scene) -> np.ndarray:
  """Returns the density of gaze at every frame: float64 [t, h, w], each frame with a sum of 1."""
  sim = scene.simulation
  shares = attention(scene)
  steps = np.arange(sim.lead, shares.shape[1])
  delayed = [p * shares[:, steps - lag] for lag, p in zip(sim.latency, sim.latency_share)]
  shares = np.asarray(sum(delayed))

  # Gaussians are products of columns and rows: [k, t, w] and [k, t, h].
  position = scene.position[:, sim.lead :]
  columns = _gaussian(position[..., 0], sim.gaze_sigma, sim.width)
  rows = _gaussian(position[..., 1], sim.gaze_sigma, sim.height)
  density = np.einsum("kt,kth,ktw->thw", shares[:-2], rows, columns)
  centre = np.outer(
    _gaussian(np.array(sim.height / 2), sim.centre_sigma * sim.height, sim.height),
    _gaussian(np.array(sim.width / 2), sim.centre_sigma * sim.width, sim.width),
  )
  density += shares[-2, :, None, None] * centre
  density += shares[-1, :, None, None] / (sim.height * sim.width)
  return density / density.sum(axis=(1, 2), keepdims=True)


def _gaussian(mean: np.ndarray, sigma: float, length: int) -> np.ndarray:
  """Returns the normal density [..., length] at the centres of pixels of width 1."""
  z = (np.arange(length) + 0.5 - mean[..., None]) / sigma
  return np.exp(-0.5 * z * z) / (sigma * np.sqrt(2 * np.pi))


def observe(scene: Scene, observers: int, rng: np.random.Generator) -> np.ndarray:
  """Draws the gaze of observers from `exact_density`.

  Args:
    scene: the objects that the observers look at.
    observers: number n of observers.
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
    target = (seen[:-1] <= choice).sum(axis=0)  # [t], rows of `attention`
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
  """Draws lengths of fixations; returns the number of the fixation of each frame, int [frames]."""
  lengths = rng.integers(length[0], length[1] + 1, size=frames // length[0] + 2)
  lengths[0] = rng.integers(1, lengths[0] + 1)  # The first fixation began before the video.
  return np.repeat(np.arange(len(lengths)), lengths)[:frames]
