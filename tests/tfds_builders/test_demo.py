"""The demo set: its records, and observers that follow the exact density."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxsal.tfds_builders import records
from jaxsal.tfds_builders.demo import observers
from jaxsal.tfds_builders.demo.demo_dataset_builder import Builder, simulate
from jaxsal.tfds_builders.demo.scene import Simulation, make_scene, render

SPLITS = ("train", "validation", "test")
FIELDS = ("video", "index", "image", "density", "fixations", "exact", "gaze")


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
  builder = Builder(config="tiny", data_dir=tmp_path_factory.mktemp("data"))
  builder.download_and_prepare()
  return builder


@pytest.fixture(scope="module")
def splits(builder):
  return {split: list(builder.as_data_source(split)) for split in SPLITS}


def scene(seed=0, frames=40, **kwargs):
  return make_scene(Simulation(**kwargs), frames, np.random.default_rng(seed))


def cc(a, b):
  return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_splits_agree_with_the_table_of_videos(builder, splits):
  for split, videos in zip(SPLITS, (4, 2, 2)):
    rows = builder.info.metadata["videos"][split]
    assert len(rows) == videos
    assert sum(row["frames"] for row in rows) == len(splits[split])
    for number, row in enumerate(rows):
      run = splits[split][row["first"] : row["first"] + row["frames"]]
      assert [r["video"] for r in run] == [number] * row["frames"]
      assert [r["index"] for r in run] == list(range(row["frames"]))
      assert all(r["image"].shape == (row["height"], row["width"], 3) for r in run)
  names = [row["name"] for rows in builder.info.metadata["videos"].values() for row in rows]
  assert len(set(names)) == 8


def test_some_videos_are_shorter_than_a_window_needs(builder):
  for rows in builder.info.metadata["videos"].values():
    frames = [row["frames"] for row in rows]
    assert min(frames) < 31 <= max(frames)


def test_metadata_survives_the_disk(builder):
  again = tfds.builder_from_directory(builder.data_path)
  assert dict(again.info.metadata) == dict(builder.info.metadata)
  assert again.info.metadata["simulation"]["observers"] == 16
  assert again.info.metadata["simulation"]["latency"] == [3, 4, 5, 6, 7]


def test_default_config_is_the_full_set(tmp_path):
  builder = Builder(data_dir=tmp_path)
  assert builder.builder_config.name == "default"
  videos = builder.info.metadata["videos"]
  assert [len(videos[split]) for split in SPLITS] == [96, 16, 16]
  assert videos["train"][0]["height"] % 32 == 0
  assert videos["train"][0]["width"] % 32 == 0


def test_gaze_is_the_fixations_with_their_observers(splits):
  for record in splits["train"]:
    np.testing.assert_array_equal(record["gaze"][:, :2], record["fixations"])
    observers_seen = record["gaze"][:, 2]
    assert len(set(observers_seen)) == len(observers_seen)
    assert set(observers_seen) <= set(range(16))


def test_fixations_lie_inside_the_frame(splits):
  for record in splits["train"]:
    x, y = record["fixations"].T
    assert record["fixations"].dtype == np.float32
    assert np.all((x >= 0) & (x < 96) & (y >= 0) & (y < 64))
    assert len(x) <= 16


def test_frames_without_fixations_are_rare_and_have_an_empty_density(splits):
  empty = [r for r in splits["train"] if not len(r["fixations"])]
  assert 0 < len(empty) < 0.05 * len(splits["train"])
  assert all(r["fixations"].shape == (0, 2) and r["density"].max() == 0 for r in empty)
  assert all(r["exact"].max() == 65535 for r in empty)


def test_density_is_the_blurred_fixations(builder, splits):
  sigma = builder.info.metadata["simulation"]["blur_sigma"]
  y, x = np.mgrid[:64, :96] + 0.5
  for record in splits["validation"][1::7]:
    points = np.floor(record["fixations"]) + 0.5
    squared = (x - points[:, 0, None, None]) ** 2 + (y - points[:, 1, None, None]) ** 2
    expected = np.exp(-squared / (2 * sigma**2)).sum(axis=0)
    density = record["density"][..., 0]
    assert density.max() == 255
    # Rounding costs half a level, and the blur's kernel ends at 4 sigma.
    np.testing.assert_allclose(density, 255 * expected / expected.max(), atol=0.6)


def test_images_are_stored_in_rgb():
  sim = Simulation(height=64, width=96)
  rng = np.random.default_rng(3)
  frames = list(simulate(make_scene(sim, 8, rng), 1, rng))
  rng = np.random.default_rng(3)
  images = render(make_scene(sim, 8, rng), rng)
  stored = tfds.features.Image(shape=(64, 96, 3)).decode_example_np(frames[5]["image"])
  error = np.abs(stored.astype(float) - images[5])
  assert error.mean() < 3  # the error of JPEG; red and blue differ by more
  assert np.abs(stored[..., ::-1].astype(float) - images[5]).mean() > 2 * error.mean()


def test_simulation_is_deterministic():
  def build(seed):
    rng = np.random.default_rng(seed)
    return list(simulate(make_scene(Simulation(height=64, width=96), 9, rng), 1, rng))

  first, second, other = build(1), build(1), build(2)
  for a, b in zip(first, second):
    assert set(a) == set(FIELDS)
    for name in FIELDS:
      np.testing.assert_array_equal(a[name], b[name])
  assert first[0]["image"] != other[0]["image"]


def test_a_rebuilt_set_has_the_same_bytes(builder, tmp_path):
  again = Builder(config="tiny", data_dir=tmp_path)
  again.download_and_prepare()
  for split in SPLITS:
    raw = [
      b.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
      for b in (builder, again)
    ]
    assert list(raw[0]) == list(raw[1])


def test_exact_density_sums_to_one():
  density = observers.exact_density(scene())
  np.testing.assert_allclose(density.sum(axis=(1, 2)), 1)
  assert density.min() > 0


@pytest.mark.parametrize("seed", range(3))
def test_gaze_follows_the_exact_density(seed):
  """Pearson's chi-squared of 4000 observers on a 6 x 8 grid, frame by frame.

  Observers are independent within a frame, so the statistic's mean is its degrees of freedom.
  """
  drawn = scene(seed)
  exact = observers.exact_density(drawn)
  gaze = observers.observe(drawn, 4000, np.random.default_rng(seed + 100))
  ratios = []
  for t in range(0, 40, 3):
    points = gaze[~np.isnan(gaze[:, t, 0]), t]
    assert len(points) > 0.85 * 4000
    counts, _, _ = np.histogram2d(
      points[:, 1], points[:, 0], bins=(6, 8), range=((0, 96), (0, 128))
    )
    expected = exact[t].reshape(6, 16, 8, 16).sum(axis=(1, 3)) * len(points)
    kept = expected >= 5
    ratios.append(((counts - expected)[kept] ** 2 / expected[kept]).sum() / (kept.sum() - 1))
  # Single frames scatter by sqrt(2 / 47) = 0.2 and more where few cells are kept.
  assert np.mean(ratios) < 1.35
  # A blur of both densities removes most of the sampling noise.
  counts = np.zeros((96, 128))
  np.add.at(counts, tuple(np.floor(points[:, ::-1]).astype(int).T), 1)
  blurred = [cv2.GaussianBlur(m, (0, 0), 2) for m in (counts, exact[t])]
  assert cc(*blurred) > 0.99


def test_gaze_stays_with_its_object_during_a_fixation():
  drawn = scene(frames=60)
  gaze = observers.observe(drawn, 200, np.random.default_rng(0))
  step = np.linalg.norm(np.diff(gaze, axis=1), axis=-1)
  step = step[~np.isnan(step)]
  # Fixations of 6 to 12 frames: a saccade at most at one frame in six, and where targets change.
  assert np.mean(step > 4) < 0.25
  assert np.mean(step > 4) > 0.05


def test_latency_delays_attention_to_an_onset():
  """Nobody looks at an object before the least latency after its appearance."""
  checked = 0
  for seed in range(40):
    drawn = scene(seed, frames=60)
    sim, density = drawn.simulation, observers.exact_density(drawn)
    for k in range(sim.hidden):
      appears = int(np.argmax(drawn.visible[k])) - sim.lead
      if not 0 < appears < 40:
        continue
      x, y = drawn.position[k, sim.lead + appears].astype(int)
      others = np.delete(drawn.position[:, sim.lead + appears], k, axis=0)
      if np.linalg.norm(others - (x, y), axis=1).min() < 25:
        continue  # another object's share would be counted
      # The peak of a Gaussian gives its share: nothing before the least latency, all of it once
      # the greatest has passed.
      early, late = density[[appears + 2, appears + 7], y, x] * 2 * np.pi * sim.gaze_sigma**2
      assert early < 0.01
      assert late > 0.2
      checked += 1
  assert checked >= 3


def test_what_moves_gets_most_of_the_density():
  shares, moving = [], []
  for seed in range(8):
    drawn = scene(seed, frames=60)
    attention = observers.attention(drawn)
    active = drawn.salience == 1
    shares.append((attention[:-2] * active).sum(axis=0)[active.any(axis=0)])
    moving.append(active.any(axis=0)[drawn.simulation.lead :])
  assert np.concatenate(shares).mean() > 0.75
  assert np.concatenate(moving).mean() > 0.85


def test_only_active_objects_move_and_stay_in_the_frame():
  for seed in range(5):
    drawn = scene(seed, frames=60)
    sim = drawn.simulation
    speed = np.linalg.norm(np.diff(drawn.position, axis=1), axis=-1)
    assert np.all(drawn.salience[:, 1:][speed > 0] == 1)
    np.testing.assert_array_less(speed, sim.speed[1] + 1e-9)
    assert speed[speed > 0].min() >= sim.speed[0] - 1e-9
    assert np.all((drawn.position > 0) & (drawn.position < (sim.width, sim.height)))
    assert np.all(drawn.salience[~drawn.visible] == 0)


def test_neither_the_centre_nor_all_objects_alike_solve_it():
  """A centre prior, and the best that a single frame allows, against the exact density."""
  scores = {"exact": [], "objects": [], "centre": []}
  y, x = np.mgrid[:96, :128] + 0.5
  centre = np.exp(-(((x - 64) / 32) ** 2 + ((y - 48) / 24) ** 2) / 2)
  for seed in range(12):
    drawn = scene(seed)
    sim, exact = drawn.simulation, observers.exact_density(drawn)
    gaze = observers.observe(drawn, sim.observers, np.random.default_rng(seed))
    for t in range(0, 40, 5):
      fixations = gaze[~np.isnan(gaze[:, t, 0]), t]
      density = records.blur_fixations(fixations, sim.size, sim.blur_sigma)
      position = drawn.position[drawn.visible[:, sim.lead + t], sim.lead + t]
      objects = records.blur_fixations(position, sim.size, sim.blur_sigma)
      for name, map_ in (("exact", exact[t]), ("objects", objects), ("centre", centre)):
        scores[name].append(cc(map_, density))
  means = {name: np.mean(values) for name, values in scores.items()}
  assert means["exact"] > 0.8
  assert means["objects"] < 0.5
  assert means["centre"] < 0.25


def test_moving_pixels_stand_out_from_the_noise():
  """The frame difference under a moving object is well above that of the rest."""
  drawn = scene(1)
  images = render(drawn, np.random.default_rng(0)).astype(float).mean(axis=-1)
  difference = np.abs(np.diff(images, axis=0))
  speed = np.linalg.norm(np.diff(drawn.position, axis=1), axis=-1)[:, drawn.simulation.lead :]
  inside = []
  for k, t in zip(*np.nonzero(speed)):
    x, y = drawn.position[k, drawn.simulation.lead + t].astype(int)
    inside.append(difference[t, max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5].mean())
  assert np.mean(inside) > 3 * np.median(difference)


def test_building_needs_neither_tensorflow_nor_jax(tmp_path):
  script = (
    "import sys\n"
    "from tfds_builders.demo.demo_dataset_builder import Builder\n"
    f"builder = Builder(config='tiny', data_dir={str(tmp_path)!r})\n"
    "builder.download_and_prepare()\n"
    "assert builder.as_data_source('test')[0]['image'].shape == (64, 96, 3)\n"
    "assert not {'tensorflow', 'jax'} & set(sys.modules)\n"
  )
  result = subprocess.run(
    [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=120
  )
  assert result.returncode == 0, result.stderr
  assert "Warning" not in result.stderr


def test_records_refuse_what_cannot_be_right():
  kwargs = {"video": 2, "index": 5, "image": b"", "density": b"", "size": (64, 96)}
  assert records.record(fixations=np.zeros((0, 2)), **kwargs)["fixations"].shape == (0, 2)
  for point in ([96, 10], [10, 64], [-1, 5], [np.nan, 5]):
    with pytest.raises(ValueError, match=r"Video 2, frame 5: .*\[0, 96\) x \[0, 64\)"):
      records.record(fixations=[[1, 1], point], **kwargs)


def test_videos_table_counts_records_and_refuses_bad_videos():
  def video(name, frames):
    return records.Video(name=name, frames=frames, height=4, width=6, fps=30)

  rows = records.videos_table([video("a", 3), video("b", 1), video("c", 2)])
  assert [row["first"] for row in rows] == [0, 3, 4]
  assert rows[1] == {"name": "b", "first": 3, "frames": 1, "height": 4, "width": 6, "fps": 30}
  with pytest.raises(ValueError, match="'a' has 0 frames"):
    records.videos_table([video("a", 0)])
  with pytest.raises(ValueError, match="'a'"):
    records.videos_table([video("a", 1), video("a", 1)])


def test_maps_are_scaled_to_the_full_range():
  map_ = np.array([[0, 0.1], [0.2, 0.05]], np.float32)
  for dtype in (np.uint8, np.uint16):
    data = np.frombuffer(records.encode_map(map_, dtype), np.uint8)
    decoded = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    assert decoded.dtype == dtype
    top = np.iinfo(dtype).max
    np.testing.assert_array_equal(decoded, np.rint(map_ / 0.2 * top))
