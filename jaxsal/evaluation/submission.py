"""Maps of a split in the layout that the DHF1K benchmark takes: <video>/0001.png, 0002.png, ..."""

import contextlib
import importlib.metadata
import itertools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from jaxsal import files
from jaxsal.console import Progress, progress
from jaxsal.data import sources
from jaxsal.data.sources import Video
from jaxsal.errors import UserError
from jaxsal.evaluation.systems import BATCH, ModelMaps, finisher, stack
from jaxsal.pictures import to_grey

if TYPE_CHECKING:
  from jaxsal.models import SaliencyModel


def submit(
  model: "SaliencyModel | str | Path",
  dataset: str,
  *,
  split: str,
  out: str | Path,
  data_dir: str | Path = "~/tensorflow_datasets",
  blur: float = 0.0,
  blur_video: float = 0.0,
  batch_size: int | None = None,
  flow_from: str | Path | None = None,
  sharing: bool = True,
  overwrite: bool = False,
) -> Path:
  """Writes a map for every frame of a split; called again, it continues.

  `out` gets a folder for each video, when it is whole, with 8-bit grey PNGs of the video's size,
  each map scaled so that its maximum is 255. Beside `out`, `<out>.run.json` says what was
  predicted, so that maps of two models do not mix.

  Args:
    model, dataset, split, data_dir, blur, blur_video, batch_size, flow_from, sharing: as for
      `jaxsal.evaluate`.
    out: a folder for this run alone.
    overwrite: whether to begin anew in a folder that has maps already.

  Returns:
    The folder.

  Raises:
    UserError: the data or the model are missing or unfit, or `out` belongs to another run.
  """
  if not 0 <= blur_video < np.inf:
    raise UserError(f"blur {blur_video}: must be 0 (none) or a standard deviation in pixels.")
  data = sources.open_split(dataset, split, data_dir)
  for video in data.videos:
    if Path(video.name).name != video.name:
      raise UserError(
        f"{data.where()}: a video is named {video.name!r}, which is no folder's name."
      )
  options = {"batch_size": batch_size, "flow_from": flow_from, "sharing": sharing}
  maps = ModelMaps(model, data, blur=blur, **options)
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
  for leftover in out.glob(".*-*"):  # of a run that was killed
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
  finish = finisher((video.height, video.width), blur)
  digits = max(4, len(str(video.frames)))  # names sort as the frames do
  with contextlib.closing(maps.of_video(number, range(video.frames))) as predicted:
    for start in range(0, video.frames, BATCH):
      batch = list(itertools.islice(predicted, BATCH))
      for i, saliency in enumerate(np.asarray(finish(stack(batch)))[: len(batch)], start + 1):
        _, encoded = cv2.imencode(".png", to_grey(saliency))
        (folder / f"{i:0{digits}}.png").write_bytes(encoded)
      bar.advance(len(batch))
