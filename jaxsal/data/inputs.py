"""What a user wants predicted: videos, images, or numbered images that are one video's frames.

Only names of files and headers of numbered images are read here, so this is quick.
"""

import collections
import dataclasses
import glob
import itertools
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jaxsal.console import say
from jaxsal.data import naming
from jaxsal.errors import UserError

if TYPE_CHECKING:
  from jaxsal.data.video import VideoInfo

Kind = Literal["video", "images", "frames"]

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
VIDEOS = (
  *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv"),
  *(".ts", ".mts", ".m2ts", ".3gp", ".ogv", ".gif"),
)
# Fewer numbered images are taken one by one.
_FEWEST_FRAMES = 5
# Of numbered frames, at most one in ten may be missing.
_MISSING = 0.1


@dataclasses.dataclass(frozen=True)
class Input:
  """A video, the frames of a video in image files, or images that are predicted one by one.

  Attributes:
    name: name for a folder of its output.
    path: path of the video or of the only image, or the folder of the images.
    kind: what it is.
    files: the images, in natural order; none for a video file.
    fps: frames per second of frames.
  """

  name: str
  path: Path
  kind: Kind
  files: tuple[Path, ...] = ()
  fps: Fraction = Fraction(25)

  def probe(self) -> "VideoInfo":
    """Returns the facts of a video or of frames; raises UserError if it cannot be read."""
    from jaxsal.data import video  # brings FFmpeg and NumPy

    return video.probe_frames(self.files, self.fps) if self.files else video.probe(self.path)


def find(
  paths: Sequence[str | Path], kind: Kind | None = None, fps: float | Fraction = 25
) -> list[Input]:
  """Finds what paths mean, and says in a line what was understood if a path is no single file.

  A path is a file, a folder, or a pattern with `*`, `?` or `[` that the shell has left. Images are
  taken together, folder by folder. They are the frames of one video if `kind` says so or, by
  default, if at least five images of one size have names that differ only in a number and the
  numbers have hardly a gap.

  Args:
    paths: paths of files and folders, and patterns.
    kind: what to take them for; None to decide by names.
    fps: frames per second of a video whose frames are images.

  Returns:
    Inputs in the order of the paths; images that were named one by one come last.

  Raises:
    UserError: a folder has neither videos nor images, or both; a pattern fits nothing.
  """
  fps = Fraction(fps).limit_denominator(1_000_000)
  if fps <= 0:
    raise UserError(f"fps {float(fps):g}: frames per second must be a number above 0.")
  found: list[Input] = []
  loose: dict[Path, list[Path]] = {}  # images by their folder
  for path in itertools.chain.from_iterable(map(_expanded, paths)):
    if path.is_dir():
      found += _in_folder(path, kind, fps)
    elif kind in ("images", "frames") or (kind is None and path.suffix.lower() in IMAGES):
      loose.setdefault(path.parent, []).append(path)
    else:
      found.append(Input(path.stem, path, "video"))
  return found + [_images(folder, images, kind, fps) for folder, images in loose.items()]


def _split(name: str) -> tuple[list[str], list[int]]:
  """Splits a name into texts and the numbers between them."""
  parts = re.split(r"(\d+)", name)
  return parts[::2], [int(part) for part in parts[1::2]]


def _expanded(path: str | Path) -> list[Path]:
  """Returns the files and folders that a pattern fits; a path that is no pattern is returned."""
  if Path(path).exists() or not glob.has_magic(str(path)):
    return [Path(path).expanduser()]
  matches = naming.in_order(map(Path, glob.glob(str(Path(path).expanduser()), recursive=True)))
  if not matches:
    raise UserError(f"{path}: no file or folder fits this pattern.")
  return matches


def _in_folder(folder: Path, kind: Kind | None, fps: Fraction) -> list[Input]:
  """Finds the videos, or the images, that are directly in a folder."""
  entries = naming.in_order(entry for entry in folder.iterdir() if not entry.name.startswith("."))
  files = [entry for entry in entries if entry.is_file()]
  videos = [file for file in files if file.suffix.lower() in VIDEOS]
  images = [file for file in files if file.suffix.lower() in IMAGES]
  if kind is None and videos and images:
    raise UserError(
      f"{folder}/: holds {_count(videos, 'video')} and {_count(images, 'image')}. Pass --as=video, "
      "--as=images or --as=frames to say which are meant."
    )
  if videos and kind in (None, "video"):
    say(f"{folder}/: {_count(videos, 'video')}")
    return [Input(path.stem, path, "video") for path in videos]
  if images and kind != "video":
    return [_images(folder, images, kind, fps)]
  endings = collections.Counter(file.suffix.lower() or "no ending" for file in files)
  there = [f"{_count(range(n), 'file')} with {ending}" for ending, n in endings.items()]
  if folders := [entry for entry in entries if entry.is_dir()]:
    there.append(f"{_count(folders, 'folder')} (name one, or all by {folder}/*)")
  wanted = {None: "videos or images", "video": "videos"}.get(kind, "images")
  raise UserError(
    f"{folder}/: holds no {wanted}, but {', '.join(there) or 'nothing'}. Videos are files such as "
    f".mp4, .mkv, .mov, .avi and .webm; images are {', '.join(IMAGES)}."
  )


def _images(folder: Path, images: Iterable[Path], kind: Kind | None, fps: Fraction) -> Input:
  """Returns images of one folder as an input, and says what they are unless it is one image."""
  files = tuple(naming.in_order(dict.fromkeys(images)))
  name = folder.resolve().name
  if kind == "frames" or (kind is None and _are_frames(files)):
    numbered = "" if kind else "numbered "
    other = "" if kind else " (--as=images takes them one by one)"
    what = f"{len(files)} {numbered}frames, read as one video at {float(fps):g} frames/s{other}"
    say(f"{folder}/: {what}")
    return Input(name, folder, "frames", files, fps)
  if len(files) == 1:
    return Input(name, files[0], "images", files)
  other = "" if kind else " (--as=frames reads them as one video)"
  say(f"{folder}/: {len(files)} images{other}")
  return Input(name, folder, "images", files)


def _are_frames(files: Sequence[Path]) -> bool:
  """Returns whether images look like the frames of one video: by their names and sizes."""
  if len(files) < _FEWEST_FRAMES:
    return False
  texts, numbers = zip(*(_split(file.name) for file in files))
  if any(other != texts[0] for other in texts):
    return False
  # The texts are equal, so all names have the same count of numbers; one of these differs.
  varying = [column for column in zip(*numbers) if len(set(column)) > 1]
  if len(varying) != 1:
    return False
  (column,) = varying
  steps = [after - before for before, after in itertools.pairwise(sorted(column))]
  step = min(steps)  # of every fifth frame, it is 5
  if step == 0 or sum(steps) / step + 1 > len(files) * (1 + _MISSING):
    return False
  from jaxsal.data import images

  sizes = set()
  for file in files:
    try:
      sizes.add(images.size(file))
    except UserError:
      continue  # reported when it is read
  return len(sizes) <= 1


def _count(items: Sequence[object], noun: str) -> str:
  return f"{len(items)} {noun}" if len(items) == 1 else f"{len(items)} {noun}s"
