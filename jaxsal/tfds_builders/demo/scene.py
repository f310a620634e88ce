"""Scenes of the demo set: similar objects at rest, one of which now and then moves or appears.

A video is a sequence of episodes. In an episode, one object moves along a curve, or a new object
appears and stays. The next episode sometimes begins before the last one has ended. Nothing in a
single frame tells which object moves or is new.
"""

import dataclasses

import cv2
import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulation:
  """Parameters of a scene and its observers. Lengths are in pixels, times in frames.

  Attributes:
    height, width: size of the frames.
    fps: frames per second.
    objects: least and greatest number of objects in a video.
    identical: whether the objects of a video are copies of one another instead of only similar.
    hidden: number of objects that are hidden at first and may appear later.
    radius: least and greatest radius of an object.
    speed: least and greatest speed of a moving object, in pixels per frame.
    episode: least and greatest length of a movement.
    onset_share: share of the episodes in which an object appears, while some objects are hidden.
    onset: time for which an object counts as new.
    gap: least and greatest pause between episodes; episodes overlap if it is negative.
    release: time constant of the decay of salience when an object has stopped or is no longer new.
    noise: standard deviation of the sensor noise, in grey levels of 255.
    flicker: standard deviation of the brightness of a whole frame, in grey levels of 255.
    still: salience of an object at rest; that of a moving object is 1.
    centre: salience of the centre of the frame.
    uniform: salience of the whole frame.
    centre_sigma: standard deviation of the Gaussian at the centre, as a share of height and width.
    gaze_sigma: standard deviation of the gaze around the centre of the object.
    latency: possible latencies of an observer.
    latency_share: probabilities of the latencies.
    fixation: least and greatest length of a fixation.
    observers: number of observers of a video.
    blur_sigma: standard deviation of the Gaussian that makes the density from the fixations.
  """

  height: int = 96
  width: int = 128
  fps: float = 25.0
  objects: tuple[int, int] = (7, 9)
  identical: bool = False
  hidden: int = 2
  radius: tuple[float, float] = (5.5, 7.0)
  speed: tuple[float, float] = (1.2, 2.6)
  episode: tuple[int, int] = (14, 26)
  onset_share: float = 0.3
  onset: int = 6
  gap: tuple[int, int] = (-5, 3)
  release: float = 2.5
  noise: float = 3.0
  flicker: float = 2.0
  still: float = 0.008
  centre: float = 0.03
  uniform: float = 0.04
  centre_sigma: float = 0.2
  gaze_sigma: float = 3.5
  latency: tuple[int, ...] = (3, 4, 5, 6, 7)
  latency_share: tuple[float, ...] = (0.1, 0.2, 0.4, 0.2, 0.1)
  fixation: tuple[int, int] = (6, 12)
  observers: int = 16
  blur_sigma: float = 4.0

  @property
  def size(self) -> tuple[int, int]:
    """Height and width of the frames."""
    return self.height, self.width

  @property
  def lead(self) -> int:
    """Number of frames of the scene before the video; the gaze at its first frame needs a past."""
    return max(self.latency) + self.episode[0]


@dataclasses.dataclass(frozen=True)
class Scene:
  """Positions and salience of k objects, from `lead` frames before the video on.

  Attributes:
    simulation: the parameters of the scene.
    position: float64 [k, lead + t, 2], (x, y) of the centres in pixels.
    visible: bool [k, lead + t].
    salience: float64 [k, lead + t], 1 while an object moves or is new; it decays to 0 afterwards.
    radius: float64 [k], in pixels.
  """

  simulation: Simulation
  position: np.ndarray
  visible: np.ndarray
  salience: np.ndarray
  radius: np.ndarray


def make_scene(simulation: Simulation, frames: int, rng: np.random.Generator) -> Scene:
  """Draws a scene for a video of `frames` frames."""
  sim = simulation
  stop = sim.lead + frames
  steps = stop + sim.episode[1]  # The last movement may end after the video.
  count = int(rng.integers(sim.objects[0], sim.objects[1] + 1))
  radius = rng.uniform(*sim.radius, size=count)
  position = np.repeat(_places(sim, radius, rng)[:, None], steps, axis=1)
  visible = np.ones((count, steps), bool)
  visible[: sim.hidden] = False
  active = np.zeros((count, steps), bool)

  hidden = list(range(sim.hidden))
  # The first movement is under way when the video begins.
  start, last = int(rng.integers(0, sim.episode[0] // 2)), -1
  while start < stop:
    if hidden and last >= 0 and rng.random() < sim.onset_share:
      last, end = hidden.pop(), start + sim.onset
      visible[last, start:] = True
    else:
      last = int(rng.choice([k for k in range(count) if visible[k, start] and k != last]))
      end = start + int(rng.integers(sim.episode[0], sim.episode[1] + 1))
      path = _path(sim, position, visible, radius, last, start, end, rng)
      position[last, start:end] = path
      position[last, end:] = path[-1]
    active[last, start:end] = True
    start = end + int(rng.integers(sim.gap[0], sim.gap[1] + 1))
  salience = fading(active, sim.release)
  return Scene(sim, position[:, :stop], visible[:, :stop], salience[:, :stop], radius)


def _places(sim: Simulation, radius: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Draws centres [k, 2], uniform over the frame but apart from each other."""
  places = np.zeros((len(radius), 2))
  for k, r in enumerate(radius):
    for _ in range(100):
      places[k] = rng.uniform((r, r), (sim.width - r, sim.height - r))
      gaps = np.linalg.norm(places[:k] - places[k], axis=1) - radius[:k] - r
      if np.all(gaps > 1):
        break
  return places


def _path(
  sim: Simulation,
  position: np.ndarray,
  visible: np.ndarray,
  radius: np.ndarray,
  k: int,
  start: int,
  end: int,
  rng: np.random.Generator,
) -> np.ndarray:
  """Draws a curve [end - start, 2] for object k, inside the frame and clear of the others."""
  candidates, steps = 48, np.arange(1, end - start + 1)
  speed = rng.uniform(*sim.speed, size=(candidates, 1))
  heading = rng.uniform(0, 2 * np.pi, size=(candidates, 1))
  heading = heading + rng.uniform(-0.06, 0.06, size=(candidates, 1)) * steps
  step = speed[..., None] * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
  paths = position[k, start] + np.cumsum(step, axis=1)

  margin = np.minimum(paths, np.array([sim.width, sim.height]) - paths).min(axis=-1) - radius[k]
  # Objects that are hidden now may appear while this one passes.
  others = [j for j in range(len(radius)) if j != k]
  distance = np.linalg.norm(paths[:, None] - position[others, start:end], axis=-1)
  clearance = (distance - radius[others, None] - radius[k]).min(axis=1)
  room = np.minimum(margin, clearance).min(axis=1)
  clear = np.flatnonzero(room > 0)
  return paths[clear[0] if clear.size else int(np.argmax(room))]


def fading(active: np.ndarray, release: float) -> np.ndarray:
  """Returns salience [k, t]: 1 while an object is active, then an exponential decay."""
  salience = active.astype(float)
  decay = np.exp(-1 / release)
  for t in range(1, active.shape[1]):
    salience[:, t] = np.maximum(salience[:, t], salience[:, t - 1] * decay)
  return salience


def render(scene: Scene, rng: np.random.Generator) -> np.ndarray:
  """Renders the frames of the video: RGB uint8 [t, h, w, 3]."""
  sim = scene.simulation
  middle = rng.uniform(95, 145, size=3)
  background = _texture(sim.size, (24, 12, 6), middle + rng.uniform(-35, 35, size=(3, 3)), rng)
  # All objects share two colours, one lighter and one darker than the background.
  colours = middle + np.array([[70], [-70]]) + rng.uniform(-25, 25, size=(2, 3))
  if sim.identical:
    sprites = [_sprite(scene.radius[0], colours, rng)] * len(scene.radius)
  else:
    sprites = [_sprite(r, colours, rng) for r in scene.radius]

  frames = np.empty((scene.position.shape[1] - sim.lead, *sim.size, 3), np.uint8)
  brightness = 0.0
  for t in range(len(frames)):
    canvas = background.copy()
    for k, sprite in enumerate(sprites):
      if scene.visible[k, sim.lead + t]:
        _paste(canvas, sprite, scene.position[k, sim.lead + t])
    brightness = 0.7 * brightness + 0.71 * rng.normal(0, sim.flicker)
    canvas += np.float32(brightness)
    canvas += np.float32(sim.noise) * rng.standard_normal(canvas.shape, np.float32)
    frames[t] = np.clip(np.rint(canvas), 0, 255)
  return frames


def _texture(
  size: tuple[int, int], grains: tuple[int, ...], colours: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Draws noise of several grain sizes that mixes colours [c, 3]: float32 [h, w, 3]."""
  height, width = size
  weights = np.zeros((height, width, len(colours)), np.float32)
  for grain in grains:
    coarse = rng.standard_normal((height // grain + 2, width // grain + 2, len(colours)))
    weights += cv2.resize(
      coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    ) * np.float32(np.sqrt(grain / grains[0]))
  weights = np.exp(weights)
  return (weights / weights.sum(axis=-1, keepdims=True)) @ colours.astype(np.float32)


def _sprite(radius: float, colours: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Draws a striped patch with soft edges: premultiplied colour and alpha, float32 [s, s, 4]."""
  half = int(np.ceil(radius)) + 2
  y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
  angle = rng.uniform(0, np.pi)
  u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
  power = rng.uniform(2, 4)  # from a disc to a rounded square
  r = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)
  alpha = np.clip(radius - r + 0.5, 0, 1)
  stripes = np.sin(2 * np.pi * u / rng.uniform(6, 9) + rng.uniform(0, 2 * np.pi))
  mottle = _texture(u.shape, (5, 3), np.array([[-0.6] * 3, [0.6] * 3]), rng)[..., 0]
  blend = 0.5 + 0.5 * np.tanh(1.5 * (stripes + mottle))[..., None]
  colour = blend * colours[0] + (1 - blend) * colours[1]
  return np.concatenate([colour * alpha[..., None], alpha[..., None]], axis=-1).astype(np.float32)


def _paste(canvas: np.ndarray, sprite: np.ndarray, centre: np.ndarray) -> None:
  """Draws a sprite on the canvas [h, w, 3], placed to a fraction of a pixel."""
  height, width = canvas.shape[:2]
  side = len(sprite)
  # The sprite's centre is the centre of its middle pixel; pixel i covers [i, i + 1).
  corner = centre - side / 2
  whole = np.floor(corner).astype(int)
  fraction = corner - whole
  shift = np.array([[1, 0, fraction[0]], [0, 1, fraction[1]]])
  patch = cv2.warpAffine(sprite, shift, (side + 1, side + 1))
  left, top = np.maximum(whole, 0)
  right, bottom = np.minimum(whole + side + 1, (width, height))
  patch = patch[top - whole[1] : bottom - whole[1], left - whole[0] : right - whole[0]]
  area = canvas[top:bottom, left:right]
  area *= 1 - patch[..., 3:]
  area += patch[..., :3]
