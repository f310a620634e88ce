"""TFDS builder of the demo set with sound: `jaxsal prepare demo_sound`."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jaxsal.tfds_builders import records
from jaxsal.tfds_builders.demo import demo_dataset_builder as demo
from jaxsal.tfds_builders.demo.scene import Simulation
from jaxsal.tfds_builders.demo_sound import speakers

_SIMULATION = {
  "identical": True,
  "hidden": 0,
  "objects": (2, 2),
  "episode": (12, 24),
  "gap": (0, 3),
  "still": 0.03,
}


class Builder(demo.Builder):
  """Builds videos in which simulated observers look at the object, of two, that is heard."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 (the name and the type are TFDS's)
  BUILDER_CONFIGS = [  # noqa: RUF012
    demo.DemoConfig(
      name="default",
      description="128 videos of 96 x 128 pixels.",
      simulation=Simulation(**_SIMULATION),
    ),
    demo.DemoConfig(
      name="tiny",
      description="8 videos of 64 x 96 pixels, for tests.",
      videos=(4, 2, 2),
      frames=(32, 40),
      simulation=Simulation(
        height=64, width=96, radius=(4.5, 6.0), gaze_sigma=3.0, blur_sigma=3.0, **_SIMULATION
      ),
    ),
  ]
  DESCRIPTION = """
  Synthetic videos with sound and simulated observers, for trying out audio-visual saliency models.

  Two identical objects rest, one above the other, and are heard in turn: the upper one with a high
  tone, the lower one with a low tone. The observers look at the one that is heard, after a latency
  and with an error. Without the sound a model can find the two places, but cannot choose between
  them. The density that the gaze was drawn from is known exactly (feature `exact`).
  """
  EXTRA_FEATURES: ClassVar = {"audio": records.sound_feature()}

  def _simulate(
    self, video: int, row: dict[str, Any], rng: np.random.Generator
  ) -> Iterator[dict[str, Any]]:
    sim = self.demo_config.simulation
    scene, heard = speakers.make_scene(sim, row["frames"], rng)
    sound = speakers.sound(heard[:, sim.lead :], sim.fps, rng)
    for index, record in enumerate(demo.simulate(scene, video, rng)):
      yield record | {"audio": sound if index == 0 else sound[:0]}
