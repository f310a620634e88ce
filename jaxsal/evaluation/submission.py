"""Writes maps of a split as the DHF1K benchmark takes them: <video>/0001.png, 0002.png, ..."""

import contextlib
import importlib.metadata
import itertools
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from jaxsal import files
from jaxsal.console import Progress, progress, say
from jaxsal.data import sources
from jaxsal.data.sources import Video
from jaxsal.errors import UserError
from jaxsal.evaluation.systems import BATCH, ModelMaps, check_blur, finisher, stack
from jaxsal.models import SaliencyModel
from jaxsal.pictures import to_grey
from jaxsal.prediction import PredictOptions
from jaxsal.prediction.predictor import check_finite


def submit(
  model: SaliencyModel | str | Path,
  dataset: str,
  *,
  split: str,
  out: str | Path,
  data_dir: str | Path = "~/tensorflow_datasets",
  blur_video: float = 0.0,
  overwrite: bool = False,
  options: PredictOptions | None = None,
  **changes: Any,
) -> Path:
  """Writes a map for every frame of a split; a second call continues a run that was stopped.

  `out` gets a folder for each video when the video is complete, with 8-bit grey PNGs of the video's
  size, each scaled to a maximum of 255. `<out>.run.json`, next to `out`, says what was predicted,
  so that maps of two models do not mix.

  Args:
    model: a network, or the path of a model folder or of a training's workdir.
    dataset: name of the data set, `name` or `name/config`.
    split: name of the split, such as `test`.
    out: folder for this run alone.
    data_dir: folder in which data sets were prepared.
    blur_video: standard deviation of a Gaussian that smooths maps after they were resized to the
      video, in pixels of the video; 0 for none.
    overwrite: whether to delete the maps in `out` and start again.
    options: how the network predicts; the defaults of `jaxsal.prediction.PredictOptions` if None.
    **changes: values for single fields of the options, as in `blur=7`.

  Returns:
    The path of `out`.

  Raises:
    UserError: the data or the model are missing or do not fit, an option is out of range, `out`
      belongs to another run, or the network gives values that are not finite.
  """
  options = (options or PredictOptions()).with_(**changes)
  check_blur(blur_video)
  say(f"opening split {split} of {dataset}")
  data = sources.open_split(dataset, split, data_dir)
  for video in data.videos:
    if Path(video.name).name != video.name:
      raise UserError(
        f"{data.where()}: a video is named {video.name!r}, which cannot be the name of a folder."
      )
  maps = ModelMaps(model, data, options)
  out = Path(out).expanduser().resolve()
  signature = {
    "jaxsal": importlib.metadata.version("jaxsal"),
    "dataset": data.dataset,
    "split": split,
    "frames": len(data),
    "blur_video": blur_video,
  }
  names = [video.name for video in data.videos]
  run = out.with_name(f"{out.name}.run.json")
  files.claim(out, run, signature | maps.signature, names, overwrite=overwrite)
  pending = [number for number, name in enumerate(names) if not (out / name).exists()]
  for leftover in out.glob(".*-*"):  # folders of a run that was killed
    shutil.rmtree(leftover, ignore_errors=True)
  if pending:
    maps.compile()
  done = sum(video.frames for video in data.videos if (out / video.name).exists())
  with progress("predicting", len(data), unit="frames", start=done) as bar:
    for number in pending:
      with files.replacing_folder(out / names[number]) as folder:
        _write_video(folder, maps, data.videos[number], number, blur_video, bar)
  return out


def _write_video(
  folder: Path, maps: ModelMaps, video: Video, number: int, blur: float, bar: Progress
) -> None:
  """Writes the maps of a video into its folder."""
  finish = finisher((video.height, video.width), blur)
  digits = max(4, len(str(video.frames)))  # names sort like the frames
  with contextlib.closing(maps.of_video(number, range(video.frames))) as predicted:
    for start in range(0, video.frames, BATCH):
      batch = list(itertools.islice(predicted, BATCH))
      for i, saliency in enumerate(batch, start):
        check_finite(saliency, f"{video.name}, frame {i}")
      for i, saliency in enumerate(np.asarray(finish(stack(batch)))[: len(batch)], start + 1):
        _, encoded = cv2.imencode(".png", to_grey(saliency))
        (folder / f"{i:0{digits}}.png").write_bytes(encoded.tobytes())
      bar.advance(len(batch))
