"""DHF1K's folder."""

import clips

from trees import annotated


def write(folder, videos, size=(36, 64), *, as_frames=False, mat=False, gaze=False, unseen=()):
  """Writes some videos of DHF1K, as AVI files or extracted frames.

  Args:
    folder: to make, or to add to.
    videos: number of the video -> number of its frames; those from 701 on have no annotation.
    size: height and width.
    as_frames: extracted frames instead of videos.
    mat: fixations as MATLAB files.
    gaze: raw gaze records of three observers.
    unseen: numbers of frames that nobody looked at.
  """
  (folder / "video").mkdir(parents=True, exist_ok=True)
  for video, frames in videos.items():
    names = [f"{i:04}" for i in range(1, frames + 1)]
    annotation = folder / "annotation" / f"{video:04}"
    if video <= 700:
      annotated.write_annotation(annotation, names, size, video, mat=mat, unseen=unseen)
    if as_frames:
      place = annotation / "images" if video <= 700 else folder / "video" / f"{video:04}"
      annotated.write_frames(place, names, size, video)
    else:
      clips.write_clip(
        folder / "video" / f"{video:03}.AVI",
        annotated.images(frames, size, video),
        fps=30,
        codec="mpeg4",
        pix_fmt="yuv420p",
        options={"qscale": "2"},
      )
    if gaze:
      write_gaze(folder, video, annotated.centres(frames, size, video), size)
  return folder


def write_gaze(folder, video, centres, size):
  """Writes the gaze of three observers, 250 samples per second; the third observer blinks."""
  scale = 1440 / size[1]  # the frame fills the screen's width
  for observer in (1, 2, 3):
    place = folder / "exportdata_train" / f"P{observer:03}"
    place.mkdir(parents=True, exist_ok=True)
    lines = ["Time\tL POR X\tL POR Y\tEvent"]
    for sample in range(len(centres) * 250 // 30):
      x, y = centres[sample * 30 // 250]
      x, y = (x + observer) * scale, (y + 0.5) * scale + (900 - size[0] * scale) / 2
      event = "Blink" if observer == 3 else "Fixation L"
      lines.append(f"{1_000_000 + sample * 4000}\t{x:.2f}\t{y:.2f}\t{event}")
    (place / f"P{observer:03}_Trail{video:04}.txt").write_text("\n".join(lines) + "\n")
