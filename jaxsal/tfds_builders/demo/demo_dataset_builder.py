"""TFDS builder of the demo set: `jaxsal prepare demo`."""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jaxsal.tfds_builders import records
from jaxsal.tfds_builders.demo import observers
from jaxsal.tfds_builders.demo.scene import Scene, Simulation, make_scene, render

_DESCRIPTION = """
Synthetic videos with simulated observers, for trying out and testing video saliency models.

Several similar, textured objects rest; now and then one moves, or a new one appears. The observers
look at it, after a latency and with an error, until it stops. Neither a single frame nor a
preference for the centre tells which object it is. The density that the gaze was drawn from is
known exactly (feature `exact`, which does not depend on the observers) and bounds the scores that a
model can reach.
"""

_SEED = 7
_SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(eq=False, kw_only=True)
class DemoConfig(tfds.core.BuilderConfig):
  """A size of the demo set.

  Attributes:
    videos: number of videos in train, validation and test.
    frames: least and greatest number of frames of a video.
    short: least and greatest number of frames of every eighth video, which is shorter than the
      windows of the networks.
    simulation: parameters of the scenes and the observers.
  """

  videos: tuple[int, int, int] = (96, 16, 16)
  frames: tuple[int, int] = (32, 64)
  short: tuple[int, int] = (8, 30)
  simulation: Simulation = dataclasses.field(default_factory=Simulation)


class Builder(tfds.core.GeneratorBasedBuilder):
  """Builds videos in which simulated observers look at objects that move or appear."""

  DESCRIPTION = _DESCRIPTION
  EXTRA_FEATURES: ClassVar[dict[str, tfds.features.FeatureConnector]] = {}
  VERSION = tfds.core.Version("1.1.0")
  RELEASE_NOTES = {  # noqa: RUF012 (the name and the type are TFDS's)
    "1.1.0": "The gaze of each observer.",
    "1.0.0": "First version.",
  }
  BUILDER_CONFIGS = [  # noqa: RUF012
    DemoConfig(name="default", description="128 videos of 96 x 128 pixels."),
    DemoConfig(
      name="tiny",
      description="8 videos of 64 x 96 pixels, for tests.",
      videos=(4, 2, 2),
      frames=(32, 40),
      simulation=Simulation(
        height=64, width=96, objects=(5, 6), radius=(4.5, 6.0), gaze_sigma=3.0, blur_sigma=3.0
      ),
    ),
  ]

  def __init__(self, *, file_format: str | None = None, **kwargs: Any) -> None:
    """Makes a builder that writes ArrayRecord files unless another format is named."""
    super().__init__(file_format=file_format or records.FILE_FORMAT, **kwargs)

  @property
  def demo_config(self) -> DemoConfig:
    """The chosen configuration."""
    config = self.builder_config
    assert isinstance(config, DemoConfig)
    return config

  def _info(self) -> tfds.core.DatasetInfo:
    sim = self.demo_config.simulation
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.DESCRIPTION,
      features=records.features(
        sim.height,
        sim.width,
        extra={
          "exact": records.map_feature(
            sim.height, sim.width, np.uint16, doc="The density that the gaze was drawn from."
          ),
          "gaze": records.gaze_feature(),
          **self.EXTRA_FEATURES,
        },
      ),
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(
        videos={split: self._videos(split) for split in _SPLITS},
        simulation={
          name: list(value) if isinstance(value, tuple) else value
          for name, value in dataclasses.asdict(sim).items()
        },
      ),
    )

  def _videos(self, split: str) -> list[dict[str, Any]]:
    config, number = self.demo_config, _SPLITS.index(split)
    rng = np.random.default_rng([_SEED, number])
    videos = []
    for i in range(config.videos[number]):
      least, greatest = config.short if i % 8 == 1 else config.frames
      videos.append(
        records.Video(
          name=f"{split}_{i:03}",
          frames=int(rng.integers(least, greatest + 1)),
          height=config.simulation.height,
          width=config.simulation.width,
          fps=config.simulation.fps,
        )
      )
    return records.videos_table(videos)

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
    return {split: self._generate_examples(split) for split in _SPLITS}

  def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for video, row in enumerate(self._videos(split)):
      for index, frame in enumerate(self._simulate(video, row, video_rng(split, video))):
        yield row["first"] + index, frame

  def _simulate(
    self, video: int, row: dict[str, Any], rng: np.random.Generator
  ) -> Iterator[dict[str, Any]]:
    """Yields the records of a video.

    Args:
      video: number of the video within its split.
      row: the video's row in the table of videos.
      rng: the video's source of randomness.
    """
    scene = make_scene(self.demo_config.simulation, row["frames"], rng)
    return simulate(scene, video, rng)


def video_rng(split: str, video: int) -> np.random.Generator:
  """Returns the source of randomness of a video: first of its scene, then of all else."""
  return np.random.default_rng([_SEED, _SPLITS.index(split), video])


def simulate(scene: Scene, video: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
  """Yields the records of one video.

  Args:
    scene: the objects that are seen.
    video: number of the video within its split.
    rng: source of randomness.
  """
  sim = scene.simulation
  images = render(scene, rng)
  exact = observers.exact_density(scene)
  gaze = observers.observe(scene, sim.observers, rng)
  if video % 4 == 0:  # Some recordings start a frame late, as those of real eye trackers do.
    gaze[:, 0] = np.nan
  for index, image in enumerate(images):
    (seen,) = np.nonzero(~np.isnan(gaze[:, index, 0]))
    fixations = gaze[seen, index]
    yield records.record(
      video=video,
      index=index,
      image=records.encode_jpeg(image),
      density=records.encode_map(records.blur_fixations(fixations, sim.size, sim.blur_sigma)),
      fixations=fixations,
      size=sim.size,
      exact=records.encode_map(exact[index], np.uint16),
      gaze=np.column_stack([fixations, seen.astype(np.float32)]),
    )
