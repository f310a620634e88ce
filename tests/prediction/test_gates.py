"""GFSalNet from video alone: its maps, its gate over the frames of a video and over time."""

import re

import clips
import cv2
import jax
import numpy as np
import pytest
from flax import nnx

from jaxsal import cli, models
from jaxsal.data import flow
from jaxsal.data.video import read_frames
from jaxsal.errors import UserError
from jaxsal.prediction.files import predict_file
from jaxsal.prediction.gates import Region
from jaxsal.prediction.predictor import Predictor, predict

SIZE = (32, 48)


@pytest.fixture(scope="module")
def model():
  model = models.create("gfsal", "tiny", size=SIZE)
  model.fusion.conv.kernel[...] = model.fusion.conv.kernel[...] * 0 + 9.0  # a gate that varies
  model.eval()
  return model


def test_maps_are_those_of_frames_and_their_flow(model):
  """For a video of several frames, and of one."""
  graph, state = nnx.split(model)
  maps_of = jax.jit(lambda state, batch: nnx.merge(graph, state).maps_from_batch(batch))
  gates = Predictor(model, gates=True)
  for count in (7, 1):
    frames = clips.moving_square(count, *SIZE)
    images = np.stack([flow.motion_image(pair) for pair in flow.with_neighbours(frames)])
    assert (images.min() < 200) == (count > 1)
    padding = [(0, 8 - count), (0, 0), (0, 0), (0, 0)]
    batch = {"frames": np.pad(frames, padding)[:, None], "flow": np.pad(images, padding)}
    maps = maps_of(state, batch)
    found = np.stack(list(gates.maps(frames)))
    assert np.ptp(found[..., 1]) > 1e-4
    for i, wanted in enumerate((maps.saliency, maps.gate)):
      np.testing.assert_allclose(found[..., i], wanted[:count], rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(predict(model, frames), found[..., 0], rtol=1e-5)


def test_the_command(model, tmp_path, capsys):
  folder = models.save(model, tmp_path / "model", {})
  clip = clips.write_clip(tmp_path / "square.mp4", clips.moving_square(6, 135, 201))
  out = tmp_path / "out"
  command = ["predict", f"--model={folder}", str(clip), f"--out={out}", "--no-overlay"]
  regions = ["--region=0,0,90,135", "--region=90,0,201,135"]
  assert cli.main([*command, "--show-gates", *regions]) == 0
  assert {path.name for path in out.iterdir()} == {"maps", "gates.mp4", "gates.png"}
  assert cv2.imread(str(out / "gates.png")).std() > 10
  shown = list(read_frames(out / "gates.mp4"))
  assert len(shown) == 6 and shown[0].shape == (136, 202, 3)
  small = cv2.resize(next(read_frames(clip)), (101, 68), interpolation=cv2.INTER_AREA)
  assert np.abs(shown[0][20:68, :101].astype(int) - small[20:]).mean() < 5  # below the text
  assert np.abs(shown[0][90:, :101].astype(int) - shown[0][90:, 101:]).mean() > 10  # P and 1 - P

  for more, message in (
    (["--show-gates", "--region=0,0,210,20"], "region 0,0,210,20: .* 201 wide and 135 high"),
    (["--show-gates", "--region=0,0,5"], "region '0,0,5': it must be x0,y0,x1,y1"),
    (regions, "--region needs --show-gates"),
    (["--flow-from=" + str(folder)], "holds a GFSalNet: flow is computed by a PWC-Net"),
  ):
    assert cli.main([*command, "--overwrite", *more]) == 2
    assert re.search(message, capsys.readouterr().err)
  assert (out / "gates.png").exists()


@pytest.mark.parametrize("blur", [0.0, 2.0])
def test_maps_and_overlay_are_those_without_gates(model, tmp_path, blur):
  clip = clips.write_clip(tmp_path / "square.mp4", clips.moving_square(9, 50, 70))
  for gates in (False, True):
    predictor = Predictor(model, batch_size=8, blur=blur, gates=gates)
    predict_file(predictor, clip, tmp_path / str(gates), maps="both")
  plain, gated = tmp_path / "False", tmp_path / "True"
  archives = [np.load(folder / "maps.npz") for folder in (plain, gated)]
  assert archives[0]["maps"].std() > 1e-3
  for name in ("maps", "times"):
    np.testing.assert_array_equal(archives[0][name], archives[1][name])
  names = {path.relative_to(plain) for path in plain.rglob("*") if path.suffix in (".png", ".mp4")}
  assert len(names) == 9 + 1
  for name in names:
    assert (gated / name).read_bytes() == (plain / name).read_bytes(), name
  extra = {path.name for path in gated.iterdir()} - {path.name for path in plain.iterdir()}
  assert extra == {"gates.mp4", "gates.png"}


def test_blur_leaves_the_gate(model):
  frames = clips.moving_square(3, *SIZE)
  plain, blurred = (
    np.stack(list(Predictor(model, batch_size=8, blur=blur, gates=True).maps(frames)))
    for blur in (0.0, 2.0)
  )
  np.testing.assert_array_equal(plain[..., 1], blurred[..., 1])
  for before, after in zip(plain[..., 0], blurred[..., 0]):
    np.testing.assert_allclose(after, cv2.GaussianBlur(before.copy(), (0, 0), 2.0), rtol=1e-6)


def test_regions_need_gates_and_lie_in_the_video(model, tmp_path):
  clip = clips.write_clip(tmp_path / "square.mp4", clips.moving_square(3, 50, 70))
  for gates, message in ((False, "need a Predictor with gates"), (True, "70 wide and 50 high")):
    predictor = Predictor(model, batch_size=8, gates=gates)
    with pytest.raises(UserError, match=message):
      predict_file(predictor, clip, tmp_path / "out", regions=[Region(0, 0, 80, 20)])
  assert not (tmp_path / "out").exists()


def test_means_of_regions():
  saliency = np.arange(12, dtype=np.float32).reshape(3, 4)
  assert Region(0, 0, 80, 60).mean(saliency, (60, 80)) == saliency.mean()
  assert Region(20, 20, 60, 60).mean(saliency, (60, 80)) == saliency[1:, 1:3].mean()
  assert Region(79, 0, 80, 1).mean(saliency, (60, 80)) == saliency[0, 3]


@pytest.mark.parametrize("changes", [{"streams": "temporal"}, {"fusion": "convolution"}])
def test_no_gate(changes):
  model = nnx.eval_shape(lambda: models.create("gfsal", "tiny", **changes))
  with pytest.raises(UserError, match="only a GFSalNet of two streams with gated fusion"):
    Predictor(model, gates=True)
