"""The demo set with sound: the tone tells which object is looked at, the frames do not."""

import numpy as np
import pytest

from jaxsal.data import sources, transforms
from jaxsal.data.pipeline import eval_batches
from jaxsal.data.waveforms import SAMPLE_RATE
from jaxsal.tfds_builders.build import prepare
from jaxsal.tfds_builders.demo.scene import Simulation
from jaxsal.tfds_builders.demo_sound import speakers

SIMULATION = Simulation(objects=(2, 2), hidden=0, identical=True, episode=(12, 24), gap=(0, 3))


@pytest.fixture(scope="module")
def split(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data")
  prepare("demo_sound/tiny", folder)
  return sources.open_split("demo_sound/tiny", "train", folder)


def pitch(sound):
  """Returns the strongest tone in Hz."""
  spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
  return spectrum.argmax() * SAMPLE_RATE / len(sound)


def test_one_is_heard_at_a_time_and_both_in_turn():
  for seed in range(5):
    scene, heard = speakers.make_scene(SIMULATION, 60, np.random.default_rng(seed))
    assert not heard.all(axis=0).any() and heard.any(axis=1).all()
    assert (scene.position[0, :, 1] < 48).all() and (scene.position[1, :, 1] > 48).all()
    assert (scene.salience[heard] == 1).all()


def test_the_upper_one_has_the_higher_tone():
  heard = np.zeros((2, 50), bool)
  heard[0, :20] = heard[1, 30:] = True
  sound = speakers.sound(heard, 25.0, np.random.default_rng(0))
  assert len(sound) == 2 * SAMPLE_RATE
  second = SAMPLE_RATE
  high, between, low = (
    sound[round(s * second) : round(e * second)]
    for s, e in [(0.1, 0.7), (0.85, 1.15), (1.25, 1.95)]
  )
  assert pitch(high) == pytest.approx(1200, abs=5) and pitch(low) == pytest.approx(300, abs=5)
  assert np.abs(between).max() < 0.1 * np.abs(low).max()


def test_gaze_follows_the_tone(split):
  agree = []
  for video in split.videos:
    sound = split.sound(video)
    assert len(sound) == round(video.frames / video.fps * SAMPLE_RATE)
    for index in range(12, video.frames):
      record = split[video.first + index]
      assert index == 0 or not len(record["audio"])
      # The gaze follows the tone of five frames before, the usual latency.
      start, end = (round((index - 5 + k) / video.fps * SAMPLE_RATE) for k in (-1, 2))
      if np.abs(sound[start:end].astype(float)).mean() < 1000:
        continue
      upper = np.mean(record["fixations"][:, 1] < 32)
      agree.append(upper if pitch(sound[start:end]) > 700 else 1 - upper)
  assert np.mean(agree) > 0.75


def test_clips_come_with_their_sound(split):
  batches = eval_batches(
    split,
    length=8,
    size=(32, 48),
    target="last",
    padding="repeat",
    batch_size=4,
    samples=17640,
    stride=9,
  )
  for batch in batches:
    assert batch["waveform"].shape == (4, 17640) and batch["waveform"].dtype == np.float32
    for waveform, mask in zip(batch["waveform"], batch["mask"]):
      assert (np.abs(waveform).max() > 10) == mask


def test_both_objects_look_the_same(split):
  video = split.videos[0]
  exact = transforms.decode_density(split[video.first + 20]["exact"], "")
  image = transforms.decode_frame(split[video.first + 20]["image"], "").astype(float)
  # The objects are where gaze is likely in the upper and in the lower half.
  patches = []
  for half, offset in ((exact[:32], 0), (exact[32:], 32)):
    y, x = np.unravel_index(half.argmax(), half.shape)
    y += offset
    patches.append(image[y - 3 : y + 4, x - 3 : x + 4].mean((0, 1)))
  assert np.abs(patches[0] - patches[1]).max() < 25
