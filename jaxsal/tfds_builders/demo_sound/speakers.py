"""Scenes of the demo set with sound: two identical objects that are heard in turn.

The objects rest, one in the upper half of the frame and one in the lower half. The upper object has
a high tone, the lower one a low tone, and the observers look at the one that is heard. Nothing in
the frames tells which one that is.
"""

import numpy as np

from jaxsal.data.waveforms import SAMPLE_RATE
from jaxsal.tfds_builders.demo.scene import Scene, Simulation, fading

TONES = (1200.0, 300.0)  # in Hz, for the upper and the lower object
_AMPLITUDE = 0.3
_HISS = 0.003
_OVERTONES = (1.0, 0.5, 0.25)
_RAMP = 0.005  # seconds in which a tone swells and fades


def make_scene(
  simulation: Simulation, frames: int, rng: np.random.Generator
) -> tuple[Scene, np.ndarray]:
  """Draws a scene for a video of `frames` frames.

  Returns:
    The scene, and bool [2, lead + frames]: whether the upper and the lower object are heard.
  """
  sim = simulation
  stop = sim.lead + frames
  radius = np.repeat(rng.uniform(*sim.radius), 2)
  margin = radius[0] + 2
  places = np.empty((2, 2))
  places[:, 0] = rng.uniform(margin, sim.width - margin, size=2)
  places[0, 1] = rng.uniform(margin, sim.height / 2 - margin)
  places[1, 1] = rng.uniform(sim.height / 2 + margin, sim.height - margin)

  heard = np.zeros((2, stop), bool)
  start, speaker = -int(rng.integers(sim.episode[0])), int(rng.integers(2))
  while start < stop:
    end = start + int(rng.integers(sim.episode[0], sim.episode[1] + 1))
    heard[speaker, max(0, start) : end] = True
    start, speaker = end + int(rng.integers(sim.gap[0], sim.gap[1] + 1)), 1 - speaker
  position = np.repeat(places[:, None], stop, axis=1)
  visible = np.ones((2, stop), bool)
  return Scene(sim, position, visible, fading(heard, sim.release), radius), heard


def sound(heard: np.ndarray, fps: float, rng: np.random.Generator) -> np.ndarray:
  """Makes the sound of a video: int16 [n] at SAMPLE_RATE.

  Args:
    heard: bool [2, t], whether the upper and the lower object are heard; frame i is shown from
      i / fps seconds on.
    fps: frames per second.
    rng: source of randomness.
  """
  time = np.arange(round(heard.shape[1] / fps * SAMPLE_RATE)) / SAMPLE_RATE
  frame = np.minimum((time * fps).astype(int), heard.shape[1] - 1)
  ramp = np.hanning(2 * round(_RAMP * SAMPLE_RATE) + 1)
  track = _HISS * rng.standard_normal(len(time))
  for on, tone in zip(heard, TONES):
    loudness = np.convolve(on[frame], ramp / ramp.sum(), mode="same")
    waves = [a * np.sin(2 * np.pi * tone * k * time) for k, a in enumerate(_OVERTONES, start=1)]
    track += _AMPLITUDE * loudness * np.sum(waves, axis=0) / sum(_OVERTONES)
  return np.rint(np.clip(track, -1, 1) * 32767).astype(np.int16)
