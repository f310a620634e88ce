"""Someone's own folder: videos, a table of gaze, and optionally a table of splits."""

import clips

from trees import annotated

FPS = 25
SIZE = (48, 64)
VIDEOS = {"bench": 9, "park": 12, "street": 10}
OBSERVERS = ("anna", "ben")


def write(folder, videos=VIDEOS, *, size=SIZE, gaze=None, splits=None, sound=()):
  """Writes the folder.

  Args:
    folder: to make.
    videos: name of a video -> number of its frames.
    size: height and width.
    gaze: lines of gaze.csv; by default both observers look at the moving square in every frame.
    splits: lines of splits.csv, if it shall exist.
    sound: names of the videos with a sound track.
  """
  (folder / "videos").mkdir(parents=True)
  for seed, (name, frames) in enumerate(videos.items(), start=1):
    clips.write_clip(
      folder / "videos" / f"{name}.mp4",
      annotated.images(frames, size, seed),
      fps=FPS,
      sound="aac" if name in sound else None,
    )
  lines = gaze_lines(videos, size) if gaze is None else gaze
  (folder / "gaze.csv").write_text("\n".join(lines) + "\n")
  if splits is not None:
    (folder / "splits.csv").write_text("\n".join(splits) + "\n")
  return folder


def gaze_lines(videos=VIDEOS, size=SIZE, by_frame=False):
  """Lines of gaze.csv: three samples of each observer while a frame is shown, at the square.

  Only the first one is at its middle; the observers are a pixel apart.
  """
  lines = [f"video,observer,{'frame' if by_frame else 'time'},x,y"]
  for seed, (name, frames) in enumerate(videos.items(), start=1):
    for i, (x, y) in enumerate(annotated.centres(frames, size, seed)):
      for sample in range(3):
        when = i if by_frame else f"{(i + 0.1 + 0.3 * sample) / FPS:.4f}"
        lines += [
          f"{name},{observer},{when},{x + sample + number},{y}"
          for number, observer in enumerate(OBSERVERS)
        ]
  return lines
