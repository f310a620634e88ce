"""Runs the shipped recipe, made small: a whole training, its outputs, and its errors."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import types

import cv2
import jax
import numpy as np
import pytest
from recipe import flags, make_config

from jaxsal import models
from jaxsal.data.pipeline import TrainBatches
from jaxsal.errors import UserError
from jaxsal.train import log, loop, sharding


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data_dir):
  """Trains once; returns the workdir, the summary and the number of traces of each step."""
  traces = {"make_train_step": 0, "make_eval_step": 0}

  def count_traces(name):
    make = getattr(loop, name)

    def make_counted(*args):
      step = make(*args)

      def counted(*args):
        traces[name] += 1
        return step(*args)

      return counted

    return make_counted

  workdir = tmp_path_factory.mktemp("runs") / "finished"
  with pytest.MonkeyPatch.context() as patch:
    for name in traces:
      patch.setattr(loop, name, count_traces(name))
    summary = loop.train(make_config(data_dir), workdir)
  return types.SimpleNamespace(workdir=workdir, summary=summary, traces=traces)


@pytest.fixture
def workdir(finished, tmp_path) -> pathlib.Path:
  """Returns a copy of the finished training's workdir."""
  return pathlib.Path(shutil.copytree(finished.workdir, tmp_path / "run"))


def test_outputs(finished):
  workdir = finished.workdir
  names = "checkpoints config.json contact_sheet.png curves.png log.jsonl model summary.json"
  assert {p.name for p in workdir.iterdir()} == {*names.split(), "tensorboard"}
  assert json.loads((workdir / "summary.json").read_text()) == finished.summary
  assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == ["2", "4"]
  rows = log.read(workdir)
  assert [r["step"] for r in rows if "train/loss" in r] == [1, 2, 3, 4]
  assert [r["step"] for r in rows if "validation/nss" in r] == [2, 4]
  assert len(list((workdir / "tensorboard").iterdir())) == 1
  for name in ("curves.png", "contact_sheet.png"):
    picture = cv2.imread(str(workdir / name))
    assert picture.shape[1] > 1000 and picture.std() > 10


def test_train_and_eval_step_are_compiled_once(finished):
  assert finished.traces == {"make_train_step": 1, "make_eval_step": 1}


def test_the_best_model_is_kept(finished):
  rows = [r for r in log.read(finished.workdir) if "validation/nss" in r]
  best = max(rows, key=lambda r: r["validation/nss"])
  assert finished.summary["step"] == best["step"]
  scores = finished.summary["scores"]
  # One is summed in float32 on the devices, the other in float64 from the saved weights.
  assert scores["model"]["nss"] == pytest.approx(best["validation/nss"], rel=1e-4, abs=1e-5)
  model = models.load(finished.workdir)
  assert (
    model.length == 8 and model.size == (32, 64) and model.encoder.conv_2b.bn.use_running_average
  )
  origin = json.loads((finished.workdir / "model" / "model.json").read_text())["origin"]
  assert origin["step"] == best["step"] and origin["dataset"].startswith("demo/tiny/")


def test_floor_and_ceiling_enclose_what_can_be_reached(finished):
  scores = finished.summary["scores"]
  floor, exact = scores["mean eye position"], scores["exact density"]
  blurred = scores["exact density, blurred"]
  assert exact["nss"] > 4 * floor["nss"] and exact["nss"] > blurred["nss"]
  assert blurred["cc"] > exact["cc"] > 3 * floor["cc"] and blurred["kl"] < exact["kl"] < floor["kl"]


def test_a_finished_training_only_reports_again(finished, workdir):
  """The weights that it started from may be gone."""
  before = (workdir / "log.jsonl").read_text()
  config = json.loads((workdir / "config.json").read_text())
  (workdir / "config.json").write_text(json.dumps(config | {"init_from": "gone"}))
  summary = loop.train(make_config(config["data"]["data_dir"], init_from="gone"), workdir)
  assert summary == finished.summary
  assert (workdir / "log.jsonl").read_text() == before


def test_a_damaged_checkpoint_falls_back_to_the_one_before(finished, workdir, data_dir, capsys):
  expected = [row.get("train/loss") for row in log.read(workdir)]
  for file in sorted((workdir / "checkpoints" / "4" / "state").rglob("*")):
    if file.is_file():
      file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
  loop.train(make_config(data_dir), workdir)
  assert "checkpoint 4 cannot be read, trying the one before it" in capsys.readouterr().out
  assert (workdir / "damaged-checkpoints" / "4").is_dir()
  assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == ["2", "4"]
  # Steps 3 and 4 were taken again, with the same batches and the same result.
  assert [r.get("train/loss") for r in log.read(workdir)] == expected


def test_all_checkpoints_damaged(workdir, data_dir):
  for step in ("2", "4"):
    shutil.rmtree(workdir / "checkpoints" / step / "state")
  with pytest.raises(UserError, match=r"All checkpoints .* are damaged.*new --workdir"):
    loop.train(make_config(data_dir), workdir)


def test_another_configuration_is_refused(workdir, data_dir):
  before = (workdir / "config.json").read_text()
  with pytest.raises(UserError, match=r"(?s)another configuration.*loss.kl: 1.0 there, 2.0 now"):
    loop.train(make_config(data_dir, loss__kl=2.0), workdir)
  assert (workdir / "config.json").read_text() == before


def test_what_does_not_change_the_result_may_change(finished, workdir, data_dir):
  loop.train(make_config(data_dir, data__workers=1, log_every=3), workdir)


def test_a_folder_of_something_else_is_refused(tmp_path, data_dir):
  (tmp_path / "holiday.jpg").touch()
  with pytest.raises(UserError, match="no training's workdir"):
    loop.train(make_config(data_dir), tmp_path)
  assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"data__batch_size": 0}, r"data.batch_size is 0: it must be a positive multiple"),
    ({"data__batch_size": 12}, r"data.batch_size is 12: it must be a positive multiple of 8"),
    ({"eval__batch_size": 4}, r"eval.batch_size is 4"),
    ({"model__name": "tsfpnet"}, r"'tsfpnet' is not a model; did you mean 'tsfp'\?"),
    ({"model__variant": "huge"}, r"'huge' is not a variant of tsfp"),
    ({"model__size": (100, 64)}, r"size is 100 x 64: .* multiples of 32, such as 96 x 64"),
    ({"model__length": 12}, r"length is 12: .* multiple of 8"),
    ({"data__dataset": "dhf2k"}, r"'dhf2k' is unknown"),
    ({"data__mixture": (("dhf2k", 1.0),)}, r"'dhf2k' is unknown"),
    ({"data__mixture": (("demo/tiny", 0.0),)}, r"'demo/tiny', 0.0.*a weight above 0"),
    ({"data__validation_split": "val"}, r"'val'.*validation"),
    ({"optimizer__name": "lion"}, r"optimizer.name is 'lion'"),
    ({"encoder_weights": "missing.pt"}, r"missing.pt does not exist"),
    ({"init_from": "runs/missing"}, r"runs/missing does not exist"),
    ({"init_from": "a", "encoder_weights": "b"}, r"both set"),
  ],
)
def test_wrong_configurations_leave_nothing_behind(tmp_path, data_dir, changes, message):
  with pytest.raises(UserError, match=message):
    loop.train(make_config(data_dir, **changes), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_missing_data_says_how_to_build_it(tmp_path, data_dir, monkeypatch):
  monkeypatch.setattr(loop.build, "prepare", lambda *_: None)
  config = make_config(tmp_path / "nowhere")
  with pytest.raises(UserError, match=r"nowhere.*jaxsal prepare demo/tiny --data-dir="):
    loop.train(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, data_dir, monkeypatch):
  to_devices = sharding.to_devices

  def poisoned(batches, *args):
    for i, batch in enumerate(to_devices(batches, *args)):
      if i == 2 and isinstance(batches, TrainBatches):
        with jax.transfer_guard("allow"):
          batch["density"] *= np.float32(np.nan)
      yield batch

  monkeypatch.setattr(sharding, "to_devices", poisoned)
  message = r"at step 3; the checkpoint of step 2 is kept.*learning_rate"
  with pytest.raises(UserError, match=message):
    loop.train(make_config(data_dir, log_every=4), tmp_path / "nan")
  assert [p.name for p in (tmp_path / "nan" / "checkpoints").iterdir()] == ["2"]
  models.load(tmp_path / "nan")


def test_a_validation_that_is_nan_does_not_stay_the_best(tmp_path, data_dir, monkeypatch):
  means, validations = loop.means, []

  def first_is_nan(totals):
    validations.append(means(totals))
    return dict.fromkeys(means(totals), np.nan) if len(validations) == 1 else means(totals)

  monkeypatch.setattr(loop, "means", first_is_nan)
  workdir = tmp_path / "run"
  summary = loop.train(make_config(data_dir, eval__every=1, checkpoint__every=1, steps=2), workdir)
  assert len(validations) == 2 and summary["step"] == 2
  origin = json.loads((workdir / "model" / "model.json").read_text())["origin"]
  assert origin["step"] == 2 and np.isfinite(origin["validation"]["nss"])


@pytest.mark.parametrize(
  ("score", "best", "better"),
  [
    *[(1, 2, False), (2, 1, True), (1, 1, False), (1, np.nan, True), (np.nan, 1, False)],
    *[(np.nan, np.nan, False), (-1, np.nan, True)],
  ],
)
def test_which_score_is_better(score, best, better):
  assert loop._better(score, best) == better


def test_a_step_too_large_for_the_devices(tmp_path, data_dir, monkeypatch):
  def step(state, batch):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

  monkeypatch.setattr(loop, "make_train_step", lambda *_: step)
  with pytest.raises(UserError, match=r"memory of 8 x cpu .*accumulate \(it was 1\).*bfloat16"):
    loop.train(make_config(data_dir), tmp_path / "run")


def test_no_transfer_between_host_and_devices_goes_unnoticed(tmp_path, data_dir, monkeypatch):
  """Batches left on the host would be sent implicitly by the step: the guard must object."""
  monkeypatch.setattr(sharding, "to_devices", lambda batches, *_: batches)
  step = lambda state, batch: (state, {"loss": batch["mask"].sum()})  # noqa: E731
  monkeypatch.setattr(loop, "make_train_step", lambda *_: step)
  with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
    loop.train(make_config(data_dir), tmp_path / "run")


def test_fine_tuning_starts_from_the_weights_given(finished, tmp_path, data_dir):
  config = make_config(data_dir, init_from=str(finished.workdir), seed=1)
  model = loop._make_model(config)
  expected = models.load(finished.workdir)
  np.testing.assert_array_equal(model.output.kernel[...], expected.output.kernel[...])
  np.testing.assert_array_equal(
    model.encoder.conv_1a.bn_s.mean[...], expected.encoder.conv_1a.bn_s.mean[...]
  )


def test_the_log_has_the_rates_of_step_and_loader(finished):
  rows = [row for row in log.read(finished.workdir) if "train/data_wait" in row]
  for row in rows:
    wait, clips = row["train/data_wait"], row["train/clips_per_second"]
    assert 0 <= wait < 1
    assert row["train/step_clips_per_second"] == pytest.approx(clips / (1 - wait))
    assert row["train/loader_clips_per_second"] > 0
  assert len(rows) == 4


def test_a_loader_that_is_too_slow_is_named():
  row = {"data_wait": 0.75, "clips_per_second": 10.0, "step_clips_per_second": 40.0}
  text = loop._starvation(row, 2, (192, 352))
  assert "loader gives 10 clips/s, the step could take 40" in text
  assert "config.data.workers, now 2" in text and "192x352" in text


def test_two_processes_train_as_one(finished, tmp_path, data_dir):
  """Each process loads half of every batch; the losses are those of one process."""
  with socket.socket() as s:
    s.bind(("localhost", 0))
    port = s.getsockname()[1]
  workdir = tmp_path / "run"
  program = (
    "import sys, jax\n"
    "from jaxsal import main\n"
    f"jax.distributed.initialize('localhost:{port}', 2, int(sys.argv[1]))\n"
    "sys.exit(main.run(sys.argv[2:]))"
  )
  xla_flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=4")
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", program, str(i), *flags(data_dir, workdir)],
      env=os.environ | {"XLA_FLAGS": xla_flags},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for i in range(2)
  ]
  outputs = [process.communicate(timeout=400)[0] for process in processes]
  assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
  losses = [
    [r["train/loss"] for r in log.read(w) if "train/loss" in r] for w in (finished.workdir, workdir)
  ]
  # Sums are computed in another order, and Adam turns the noise of tiny gradients into steps.
  np.testing.assert_allclose(losses[1][:2], losses[0][:2], rtol=1e-4)
  assert len(losses[1]) == 4
  summary = json.loads((workdir / "summary.json").read_text())
  assert summary["frames"] == finished.summary["frames"]
  for bound in ("mean eye position", "exact density"):
    for name, score in finished.summary["scores"][bound].items():
      assert summary["scores"][bound][name] == pytest.approx(score, rel=1e-6)
