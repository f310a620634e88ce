"""Measures where GFSalNet's gate trusts motion, on the demo set, whose scenes say what moves.

  python -m benchmarks.gates --model=runs/gfsal_demo [--data-dir=DIR] [--out=FILE.png]

Prints the mean motion weight, 1 - P, on objects that move, on objects that have long been still,
and over whole frames. FILE.png shows it over time on two objects of one video, as figure 6 of the
paper does.
"""

import argparse

import numpy as np

from jaxsal.console import say, track
from jaxsal.data import sources, transforms
from jaxsal.prediction import Predictor
from jaxsal.prediction.gates import plot
from jaxsal.tfds_builders import records
from jaxsal.tfds_builders.demo import observers
from jaxsal.tfds_builders.demo.demo_dataset_builder import video_rng
from jaxsal.tfds_builders.demo.scene import Scene, Simulation, make_scene

# An object moves if it has moved by _MOVED pixels since the previous frame. It is still and
# forgotten if it has not moved and its salience is below _FORGOTTEN.
_MOVED, _FORGOTTEN = 0.5, 0.01


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--model", required=True, help="a trained GFSalNet with a gate")
  parser.add_argument("--data-dir", default="~/tensorflow_datasets")
  parser.add_argument("--dataset", default="demo")
  parser.add_argument("--split", default="validation")
  parser.add_argument("--out", help="file of the plot")
  args = parser.parse_args()
  gates = Predictor(args.model, gates=True)
  split = sources.open_split(args.dataset, args.split, args.data_dir)

  moving, still, frames, videos = [], [], [], []
  for number in track(range(len(split.videos)), "videos", len(split.videos), "video"):
    scene = scene_of(split, number)
    weights, on_objects = motion_weights(gates, split, number, scene)
    moves, rests = states(scene)
    moving += on_objects[moves].tolist()
    still += on_objects[rests].tolist()
    frames += weights.mean((1, 2)).tolist()
    videos.append((on_objects, moves, rests))
  say(
    f"{split.where()}: mean motion weight {np.nanmean(moving):.3f} on objects that move "
    f"({len(moving)} views), {np.nanmean(still):.3f} on objects that are still "
    f"({len(still)} views), {np.mean(frames):.3f} over whole frames"
  )
  if args.out:
    write_plot(args.out, *max(videos, key=_contrast), fps=split.videos[0].fps)
    say(f"plot: {args.out}")


def scene_of(split: sources.Split, number: int) -> Scene:
  """Draws the scene of a stored video again."""
  simulation, video = Simulation(**split.metadata["simulation"]), split.videos[number]
  scene = make_scene(simulation, video.frames, video_rng(split.name, number))
  exact = records.encode_map(observers.exact_density(scene)[0], np.uint16)
  if exact != split[video.first]["exact"]:
    raise SystemExit(f"{split.where()} was made by another version: prepare it again.")
  return scene


def motion_weights(
  gates: Predictor, split: sources.Split, number: int, scene: Scene
) -> tuple[np.ndarray, np.ndarray]:
  """Returns 1 - P of a video [t, h, w] and its means on k objects [k, t], NaN out of the frame."""
  video, sim = split.videos[number], scene.simulation
  images = (
    transforms.decode_frame(split[record]["image"], split.where(record))
    for record in range(video.first, video.first + video.frames)
  )
  maps = gates.maps(transforms.resize(image, gates.size) for image in images)
  weights = np.stack([1 - both[..., 1] for both in maps])
  # The pixels' centres, in pixels of the stored frames.
  h, w = gates.size
  y = (np.arange(h)[:, None] + 0.5) * sim.height / h
  x = (np.arange(w) + 0.5) * sim.width / w
  on_objects = np.full((len(scene.radius), video.frames), np.nan)
  for k, radius in enumerate(scene.radius):
    for t, (centre_x, centre_y) in enumerate(scene.position[k, sim.lead :]):
      pixels = weights[t][np.hypot(x - centre_x, y - centre_y) < radius]
      if pixels.size:
        on_objects[k, t] = pixels.mean()
  return weights, on_objects


def states(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
  """Returns which objects move, and which are still and forgotten: bool [k, t] each."""
  lead = scene.simulation.lead
  step = np.linalg.norm(np.diff(scene.position, axis=1), axis=-1)[:, lead - 1 :]
  visible, salience = scene.visible[:, lead:], scene.salience[:, lead:]
  return visible & (step > _MOVED), visible & (step == 0) & (salience < _FORGOTTEN)


def _contrast(video: tuple[np.ndarray, np.ndarray, np.ndarray]) -> int:
  """Returns the number of frames for which some object of a video shows both states."""
  _, moves, rests = video
  return int(np.minimum(moves.sum(1), rests.sum(1)).max())


def write_plot(
  path: str, on_objects: np.ndarray, moves: np.ndarray, rests: np.ndarray, *, fps: float
) -> None:
  """Plots the motion weight on the object that shows both states most, and on the stillest one."""
  mover = np.minimum(moves.sum(1), rests.sum(1)).argmax()
  rest = rests.sum(1)
  rest[mover] = -1
  times = np.arange(on_objects.shape[1]) / fps
  lines = {
    "on an object that moves while it is shaded": on_objects[mover],
    "on an object that is still": on_objects[rest.argmax()],
  }
  figure = plot(times, lines)
  figure.axes[0].fill_between(times, 0, 1, where=moves[mover], step="mid", alpha=0.15)
  figure.savefig(path)


if __name__ == "__main__":
  main()
