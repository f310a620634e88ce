"""Compares scores with direct code; tests runs that continue and inputs that do not fit."""

import copy
import dataclasses
import hashlib
import json
import shutil

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from movement import Movement

import jaxsal
from jaxsal import cli, metrics, models
from jaxsal.data import sources, transforms
from jaxsal.errors import UserError
from jaxsal.evaluation import bounds, protocols, scorer
from jaxsal.evaluation.run import evaluate
from jaxsal.evaluation.systems import ModelMaps, finisher, stack
from jaxsal.prediction import PredictOptions

SIZE = (64, 96)  # of the demo set's frames
NAMES = ["auc_judd", "sim", "auc_shuffled", "cc", "nss", "kl", "auc_borji", "information_gain"]


@pytest.fixture(scope="module")
def split(data_dir):
  return sources.open_split("demo/tiny", "validation", data_dir)


@pytest.fixture(scope="module")
def run(data_dir):
  """Evaluates on the demo set's validation split."""

  def run(model, out, **options):
    return evaluate(
      model, "demo/tiny", split="validation", data_dir=data_dir, out=out, batch_size=8, **options
    )

  return run


@pytest.fixture(scope="module")
def finished(run, tmp_path_factory):
  """The folder of a finished evaluation, which tests only read."""
  out = tmp_path_factory.mktemp("scores") / "movement"
  run(Movement(), out)
  return out


def stored(out, number):
  with np.load(out / "videos" / f"{number:05}.npz") as arrays:
    return dict(arrays)


def contents(out):
  return {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_files(finished, split):
  summary = json.loads((finished / "scores.json").read_text())
  assert summary["format"] == 1
  assert summary["metrics"] == NAMES
  assert (summary["dataset"], summary["split"]) == ("demo/tiny/1.1.0", "validation")
  assert summary["source"]["name"] == "Movement"
  assert summary["frames"] == summary["scored_frames"] == len(split)
  assert [row["name"] for row in summary["videos"]] == [video.name for video in split.videos]
  assert summary["protocol"]["name"] == "dhf1k" and summary["protocol"]["nan_policy"]
  assert (finished / "report.html").stat().st_size > 1000
  assert len((finished / "frames.csv").read_text().splitlines()) == 1 + len(split)
  assert len((finished / "videos.csv").read_text().splitlines()) == 1 + len(split.videos)


def test_scores_are_those_of_direct_code(finished, split, data_dir):
  """The definitions in float64, frame by frame on identical maps, give the same scores."""
  train = sources.open_split("demo/tiny", "train", data_dir)
  resize = finisher(SIZE, 0.0)
  mean = np.float64(resize(bounds.MeanEyePosition(train).map))
  fixations = protocols.Fixations(split, protocols.find("dhf1k"))
  for number, video in enumerate(split.videos):
    given = stored(finished, number)
    records = [split[video.first + i] for i in range(video.frames)]
    frames = np.stack([transforms.decode_frame(record["image"], "") for record in records])
    small = np.stack([transforms.resize(frame, (32, 48)) for frame in frames])
    maps = stack(list(jaxsal.predict(Movement(), small, batch_size=8)[[0, 1, 17, -1]]))
    for p, i in zip(np.float64(resize(maps)), (0, 1, 17, video.frames - 1)):
      g = transforms.decode_density(records[i]["density"], "")
      f = transforms.fixation_map(records[i]["fixations"], SIZE, SIZE)
      other = fixations.other_map(video.first + i)
      expected = {
        "auc_judd": metrics.auc_judd(p, f),
        "sim": metrics.sim(p, g),
        "auc_shuffled": metrics.auc_shuffled(p, f, other),
        "cc": metrics.cc(p, g),
        "nss": metrics.nss(p, f),
        "kl": metrics.kl(p, g),
        "auc_borji": metrics.auc_borji(p, f),
        "information_gain": metrics.information_gain(p, f, mean),
      }
      for name, value in expected.items():
        np.testing.assert_allclose(given[name][i], value, rtol=1e-4, atol=1e-4, err_msg=name)


def test_means_are_those_of_the_frames(finished, split):
  summary = json.loads((finished / "scores.json").read_text())
  for name in NAMES:
    values = np.concatenate([stored(finished, i)[name] for i in range(len(split.videos))])
    score = summary["scores"][name]
    assert score["mean"] == pytest.approx(np.nanmean(values.astype(np.float64)))
    assert score["dropped"] == np.isnan(values).sum() and score["count"] + score["dropped"] == 64
  assert summary["scores"]["nss"]["dropped"] > 0  # frames that nobody looked at


def test_the_example_of_a_video(finished, split):
  arrays = stored(finished, 0)
  frame = arrays["frame"][arrays["example"]]
  image, density, prediction = (
    cv2.imdecode(arrays[f"example_{name}"], cv2.IMREAD_UNCHANGED)
    for name in ("frame", "density", "prediction")
  )
  assert image.shape == (*SIZE, 3) and density.shape == prediction.shape == SIZE
  truth = transforms.decode_frame(split[frame]["image"], "")
  assert np.abs(image[..., ::-1].astype(int) - truth).mean() < 4
  given = {tuple(point) for point in np.floor(arrays["example_fixations"])}
  assert given == {tuple(point) for point in np.floor(split.fixations(frame))}


def test_pictures_are_at_most_320_wide():
  record = {"image": cv2.imencode(".jpg", np.zeros((400, 640, 3), np.uint8))[1].tobytes()}
  fixations = np.zeros((400, 640), np.uint8)
  fixations[100, 300] = 1
  video = sources.Video("v", 0, 1, 400, 640, 25.0)
  frame = bounds.Frame(0, video, record, np.ones((400, 640), np.float32), fixations)
  pictures = scorer._pictures(frame, np.ones((400, 640), np.float32))
  assert cv2.imdecode(pictures["example_prediction"], cv2.IMREAD_UNCHANGED).shape == (200, 320)
  np.testing.assert_allclose(pictures["example_fixations"], [(150.25, 50.25)])


def test_a_run_that_was_stopped_continues_to_the_same_files(finished, run, tmp_path, monkeypatch):
  scored = []
  video = scorer.Scorer.video

  def until_the_second(self, number, *args):
    scored.append(number)
    if scored == [0, 1]:
      raise KeyboardInterrupt
    return video(self, number, *args)

  monkeypatch.setattr(scorer.Scorer, "video", until_the_second)
  out = tmp_path / "out"
  with pytest.raises(KeyboardInterrupt):
    run(Movement(), out)
  assert {path.name for path in out.iterdir()} == {"run.json", "videos"}
  run(Movement(), out)
  assert scored == [0, 1, 1]
  assert contents(out) == contents(finished)
  run(Movement(), out)  # nothing is left to score: only the reports are written again
  assert scored == [0, 1, 1]
  assert contents(out) == contents(finished)


def test_another_run_is_not_mixed_in(finished, run, tmp_path):
  out = tmp_path / "out"
  shutil.copytree(finished, out)
  with pytest.raises(
    UserError, match=r"(?s)another run:.*protocol: 'dhf1k' there, 'mit' now.*--out"
  ):
    run(Movement(), out, protocol="mit")
  other = Movement()
  other.factor[...] = jnp.asarray(2.0)
  with pytest.raises(UserError, match=r"weights: '\w{64}' there, '\w{64}' now"):
    run(other, out)
  (out / "thesis.tex").touch()
  for overwrite in (False, True):
    with pytest.raises(UserError, match=r"holds 'thesis\.tex', which this command has not written"):
      run(Movement(), out, overwrite=overwrite)
  (out / "thesis.tex").unlink()
  assert contents(out) == contents(finished)
  summary = run("mean-eye-position", out, overwrite=True, bounds=False)
  assert summary["source"]["kind"] == "bound"
  with pytest.raises(UserError, match="a file is in the way"):
    run(Movement(), out / "run.json")


def test_bounds_enclose_the_model(finished, run, tmp_path):
  summary = json.loads((finished / "scores.json").read_text())
  floor, ceiling = summary["bounds"]["mean eye position"], summary["bounds"]["exact density"]
  assert floor["nss"] < summary["scores"]["nss"]["mean"] < ceiling["nss"]
  assert floor["information_gain"] == pytest.approx(0, abs=1e-5)
  alone = run("mean-eye-position", tmp_path / "floor", bounds=False)
  assert alone["bounds"] == {}
  for name, score in alone["scores"].items():
    assert score["mean"] == pytest.approx(floor[name])


@pytest.fixture
def gaze(monkeypatch):
  """A switch: if True, `open_split` gives splits with gaze, each fixation by its own observer."""
  open_split, get = sources.open_split, sources.Split.__getitem__

  def with_gaze(split, record):
    fixations = get(split, record)["fixations"]
    return get(split, record) | {
      "gaze": np.column_stack([fixations, np.arange(len(fixations), dtype=np.float32)])
    }

  def switch(known):
    def opened(*args):
      split = open_split(*args)
      split.features = split.features - {"gaze"} | ({"gaze"} if known else set())
      return split

    monkeypatch.setattr(sources, "open_split", opened)
    monkeypatch.setattr(sources.Split, "__getitem__", with_gaze)

  return switch


def test_half_of_the_observers_against_the_other_half(run, tmp_path, gaze):
  gaze(True)
  human = run("human-infinite", tmp_path / "human")
  scores = {name: score["mean"] for name, score in human["scores"].items()}
  assert human["source"]["name"] == "human infinite" and "human infinite" not in human["bounds"]
  assert human["bounds"]["mean eye position"]["cc"] < scores["cc"] < 1
  floor = run("mean-eye-position", tmp_path / "floor")
  assert floor["bounds"]["human infinite"] == pytest.approx(scores)
  gaze(False)
  with pytest.raises(UserError, match=r"human-infinite is not known .* gaze of each observer"):
    run("human-infinite", tmp_path / "out")


def test_stavis_has_other_negatives_and_another_mean(run, tmp_path, split, data_dir):
  summary = run("mean-eye-position", tmp_path / "out", protocol="stavis", bounds=False)
  values = [stored(tmp_path / "out", i)["nss"].astype(float) for i in range(len(split.videos))]
  expected = np.mean([np.nanmean(of_video) for of_video in values])
  assert summary["scores"]["nss"]["mean"] == pytest.approx(expected)
  train = sources.open_split("demo/tiny", "train", data_dir)
  mean = np.float64(finisher(SIZE, 0.0)(bounds.MeanEyePosition(train).map))
  fixations = protocols.Fixations(split, protocols.find("stavis"))
  direct = metrics.auc_shuffled(mean, fixations.map(5), fixations.other_map(5))
  assert stored(tmp_path / "out", 0)["auc_shuffled"][5] == pytest.approx(direct, abs=1e-4)


def test_only_the_frames_of_the_protocol_are_scored(finished, run, tmp_path, monkeypatch):
  few = {"dhf1k": protocols.Protocol(**vars(protocols.find("dhf1k")) | {"most_frames": 5})}
  monkeypatch.setattr(protocols, "PROTOCOLS", few)
  summary = run(Movement(), tmp_path / "out", bounds=False)
  assert (summary["frames"], summary["scored_frames"]) == (64, 5)
  for number in range(2):
    few, all_frames = stored(tmp_path / "out", number), stored(finished, number)
    assert len(few["frame"]) in (1, 2, 3, 4)
    np.testing.assert_allclose(few["nss"], all_frames["nss"][few["frame"]], rtol=1e-5)


def test_a_blur_at_the_videos_size_is_opencvs():
  maps = np.random.default_rng(0).random((16, 20, 30), np.float32)
  plain = np.asarray(finisher((40, 60), 0.0)(maps))
  blurred = np.asarray(finisher((40, 60), 2.0)(maps))
  assert plain.min() >= 0
  for given, saliency in zip(blurred, plain):
    np.testing.assert_allclose(given, cv2.GaussianBlur(saliency, (11, 11), 2.0), atol=1e-5)


def write_maps(folder, split, make):
  for video in split.videos:
    (folder / video.name).mkdir(parents=True)
    for i in range(video.frames):
      # The names have no leading zeros, and 10.png still comes after 9.png.
      cv2.imwrite(str(folder / video.name / f"{i + 1}.png"), make(video, i))


def test_maps_of_another_system(run, split, tmp_path):
  """The ground truth's own densities, at half their size, score nearly perfectly."""

  def density(video, i):
    truth = transforms.decode_density(split[video.first + i]["density"], "")
    return transforms.resize(truth, (32, 48)).astype(np.uint8)

  write_maps(tmp_path / "maps", split, density)
  summary = run(tmp_path / "maps", tmp_path / "out", maps=True, bounds=False)
  assert summary["source"] == {
    "kind": "maps", "name": "maps", "path": str(tmp_path / "maps"), "weights_sha256": None,
  }  # fmt: skip
  assert summary["scores"]["cc"]["mean"] > 0.97
  image = tmp_path / "maps" / split.videos[1].name / "10.png"
  cv2.imwrite(str(image), np.zeros((8, 8), np.uint8))
  with pytest.raises(UserError, match=r"maps: '\w+' there"):  # the image was rewritten
    run(tmp_path / "maps", tmp_path / "out", maps=True, bounds=False)
  with pytest.raises(UserError, match=r"10\.png: 8 x 8 pixels, after images of 32 x 48"):
    run(tmp_path / "maps", tmp_path / "out2", maps=True, bounds=False)
  image.write_bytes(b"no image")
  with pytest.raises(UserError, match=r"10\.png: the image cannot be decoded"):
    run(tmp_path / "maps", tmp_path / "out3", maps=True, bounds=False)


def test_all_that_is_wrong_with_maps_is_one_error(run, split, tmp_path):
  first, second = (video.name for video in split.videos)
  (tmp_path / "maps" / first).mkdir(parents=True)
  (tmp_path / "maps" / first / "0001.png").touch()
  frames = split.videos[0].frames
  message = rf"(?s){first}: 1 images for {frames} frames\n.*{second}: missing"
  with pytest.raises(UserError, match=message):
    run(tmp_path / "maps", tmp_path / "out", maps=True)
  with pytest.raises(UserError, match="no such folder"):
    run(tmp_path / "nowhere", tmp_path / "out", maps=True)
  assert not (tmp_path / "out").exists()


def test_a_map_that_is_not_finite_stops(run, tmp_path):
  model = Movement()
  model.factor[...] = jnp.asarray(jnp.nan)
  with pytest.raises(UserError, match="validation_000, frame 0: the map is not finite"):
    run(model, tmp_path / "out", bounds=False)


def test_only_the_listed_frames_are_scored(run, split, finished, tmp_path, monkeypatch):
  open_split, some = sources.open_split, copy.copy(split)
  some.videos = tuple(dataclasses.replace(video, listed=(4, 5, 9)) for video in split.videos)
  monkeypatch.setattr(
    sources, "open_split", lambda *a: some if a[1] == "validation" else open_split(*a)
  )
  summary = run(Movement(), tmp_path / "out", protocol="stavis", bounds=False)
  assert summary["frames"] == summary["scored_frames"] == 6
  for number in (0, 1):
    given, whole = stored(tmp_path / "out", number), stored(finished, number)
    assert given["frame"].tolist() == [4, 5, 9]
    np.testing.assert_allclose(given["nss"], whole["nss"][[4, 5, 9]], rtol=1e-5)


def test_options_are_given_whole_or_one_by_one(run, tmp_path):
  by_name = run(Movement(), tmp_path / "a", bounds=False, blur=1.0)
  options = PredictOptions(blur=1.0, mute=True)
  whole = run(Movement(), tmp_path / "b", bounds=False, options=options, mute=False)
  assert whole["scores"] == by_name["scores"]
  records = [json.loads((tmp_path / name / "run.json").read_text()) for name in "ab"]
  assert records[0] == records[1] and (records[0]["blur"], records[0]["mute"]) == (1.0, False)


def test_what_cannot_be_evaluated(run, split, tmp_path, monkeypatch):
  for options, message in (
    ({"protocol": "mot"}, "Protocol 'mot' is unknown"),
    ({"blur_video": -1.0}, r"blur -1\.0"),
    ({"model": "mean-eye-position", "blur": 2.0}, "only a network"),
    ({"maps": True}, "the folder of the maps"),
    ({"blurr": 2.0}, "'blurr' is not an option of prediction"),
  ):
    with pytest.raises(UserError, match=message):
      run(options.pop("model", Movement()), tmp_path / "out", **options)
  split = sources.open_split("demo/tiny", "validation", split._directory.parents[2])
  split.metadata["annotated"] = {"validation": False}
  monkeypatch.setattr(sources, "open_split", lambda *_: split)
  with pytest.raises(UserError, match=r"no annotation .* `jaxsal submit`"):
    run(Movement(), tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_a_models_digest_is_that_of_a_model_folders_weights(split, tmp_path):
  model = Movement()
  safetensors.numpy.save_file(models.arrays(model), tmp_path / "model.safetensors")
  digest = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
  assert ModelMaps(model, split, PredictOptions()).about["weights_sha256"] == digest


def test_the_command(data_dir, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(models, "load", lambda path: Movement())
  command = ["evaluate", "--dataset=demo/tiny", "--split=validation", f"--data-dir={data_dir}"]
  out = tmp_path / "out"
  assert cli.main([*command, "--model=m", f"--out={out}", "--no-bounds", "--blur=1"]) == 0
  printed = capsys.readouterr().out
  assert "Movement" in printed and "sAUC" in printed and "Protocol dhf1k" in printed
  assert "report.html" in printed
  summary = json.loads((out / "scores.json").read_text())
  assert summary["protocol"]["post_processing"] == "blurred with sigma 1 at 32 x 48"
  assert summary["source"]["path"] == "m"
  assert cli.main([*command, f"--maps={tmp_path}", f"--out={out}"]) == 2
  assert "validation_000: missing" in capsys.readouterr().err
  with pytest.raises(SystemExit):
    cli.main([*command, f"--out={out}"])
  assert "one of the arguments --model --maps is required" in capsys.readouterr().err
