"""`jaxsal convert` makes a model folder from a checkpoint and back, or writes nothing."""

import hashlib
import json

import numpy as np
import pytest
import safetensors.numpy

from jaxsal import cli, convert, models

TINY = ["--set", "length=8", "--set", "size=(32, 32)", "--variant", "tiny"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
  """Writes a ViNet checkpoint as DataParallel saves it."""
  model = models.create("vinet", "tiny", size=(32, 32))
  path = tmp_path_factory.mktemp("weights") / "vinet.safetensors"
  state_dict = {f"module.{k}": v for k, v in convert.to_torch(model).items()}
  safetensors.numpy.save_file(state_dict, path)
  return path


def test_there_and_back(checkpoint, tmp_path, capsys):
  arguments = ["convert", "--model=vinet", f"--from={checkpoint}", f"--out={tmp_path / 'vinet'}"]
  assert cli.main(arguments + TINY) == 0
  digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
  output = capsys.readouterr().out
  assert digest in output and "entries mapped to ViNet" in output
  description = json.loads((tmp_path / "vinet" / "model.json").read_text())
  assert description["model"] == "vinet" and description["config"]["length"] == 8
  assert description["origin"] == {"file": "vinet.safetensors", "sha256": digest}

  back = tmp_path / "back.safetensors"
  assert cli.main(["convert", f"--to-torch={tmp_path / 'vinet'}", f"--out={back}"]) == 0
  before, after = (safetensors.numpy.load_file(path) for path in (checkpoint, back))
  assert {k.removeprefix("module.") for k in before} == after.keys()
  for name, value in after.items():
    np.testing.assert_array_equal(value, before[f"module.{name}"])


def test_entries_that_are_not_used_are_named(tmp_path, capsys):
  state_dict = convert.to_torch(models.create("soundnet", "tiny"))
  safetensors.numpy.save_file(state_dict, tmp_path / "soundnet.safetensors")
  source, out = (tmp_path / name for name in ("soundnet.safetensors", "soundnet"))
  arguments = ["--model=soundnet", "--variant=tiny", f"--from={source}", f"--out={out}"]
  assert cli.main(["convert", *arguments]) == 0
  output = capsys.readouterr().out
  assert "7 counts of BatchNorm's batches are not needed" in output
  heads = [f"conv8_{head}.{leaf}" for head in ("objs", "scns") for leaf in ("weight", "bias")]
  assert f"not used by the network: {', '.join(heads)}\n" in output


def test_to_a_pytorch_file(checkpoint, tmp_path):
  torch = pytest.importorskip("torch", reason="writes with PyTorch: pip install 'jaxsal[torch]'")
  model = convert.from_torch("vinet", checkpoint, variant="tiny", size=(32, 32))
  models.save(model, tmp_path / "vinet", {})
  out = tmp_path / "vinet.pt"
  assert cli.main(["convert", f"--to-torch={tmp_path / 'vinet'}", f"--out={out}"]) == 0
  state_dict = torch.load(out, weights_only=True)
  assert {k: tuple(v.shape) for k, v in state_dict.items()} == {
    k: v.shape for k, v in convert.to_torch(model).items()
  }


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--model=tased", "--variant=tiny"], "it looks like vinet"),
    (["--model=vinet"], "backbone.base1.0.conv_s.weight is"),
    (["--model=vignette"], "did you mean 'vinet'?"),
    (["--model=vinet", "--set", "levels"], "FIELD=VALUE"),
    (["--model=vinet", "--set", "depth=3"], "'depth' is not a field"),
    ([], "--from needs --model"),
  ],
)
def test_what_does_not_fit_writes_nothing(checkpoint, tmp_path, arguments, message, capsys):
  out = tmp_path / "out"
  assert cli.main(["convert", f"--from={checkpoint}", f"--out={out}", *arguments]) == 2
  assert message in capsys.readouterr().err
  assert list(tmp_path.iterdir()) == []


def test_nothing_else_is_overwritten(checkpoint, tmp_path, capsys):
  (tmp_path / "thesis.tex").write_text("years of work")
  arguments = ["convert", "--model=vinet", f"--from={checkpoint}", f"--out={tmp_path}", *TINY]
  assert cli.main(arguments) == 2
  assert "is no model folder" in capsys.readouterr().err
  assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
  out = tmp_path / "thesis.tex"
  assert cli.main(["convert", f"--to-torch={tmp_path}", f"--out={out}"]) == 2
  assert out.read_text() == "years of work"
