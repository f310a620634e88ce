"""The folder of STAViS's authors, with some videos of its databases."""

import wave

import cv2
import numpy as np
import scipy.io

from jaxsal.tfds_builders import records
from trees import annotated

SIZE = (36, 64)


def write(folder, database, folds, *, size=SIZE, silent=(), unseen=(), longer=0):
  """Adds a database.

  Args:
    folder: of the distribution.
    database: its name there, as in Coutrot_db1.
    folds: name of a list, as in train_1 -> its videos, name -> number of frames.
    size: height and width.
    silent: videos without a WAV file.
    unseen: numbers of frames, from 0, that nobody looked at.
    longer: frames that the lists promise on top.
  """
  videos = {name: frames for rows in folds.values() for name, frames in rows.items()}
  for seed, (name, frames) in enumerate(sorted(videos.items()), start=1):
    write_video(folder, database, name, frames, size, seed, unseen)
    if name not in silent:
      write_tone(folder / "video_audio" / database / name / f"{name}.wav", frames / 25, 200 * seed)
  (folder / "fold_lists").mkdir(exist_ok=True)
  for fold, rows in folds.items():
    lines = [f"{name} {frames + longer} 24.999750\n" for name, frames in rows.items()]
    path = folder / "fold_lists" / f"{database}_list_{fold}_fps.txt"
    path.write_text("\n".join(lines))  # with empty lines, as some of the true lists have
  return folder


def write_video(folder, database, name, frames, size, seed, unseen):
  images = folder / "video_frames" / database / name
  fixations = folder / "annotations" / database / name
  images.mkdir(parents=True)
  (fixations / "maps").mkdir(parents=True)
  pictures, centres = annotated.images(frames, size, seed), annotated.centres(frames, size, seed)
  for i, (image, centre) in enumerate(zip(pictures, centres)):
    number = f"{i + 1:05}"
    cv2.imwrite(str(images / f"img_{number}.jpg"), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    fixated = annotated.fixation_map(centre, size) // 255 * (i not in unseen)
    scipy.io.savemat(fixations / f"fixMap_{number}.mat", {"eyeMap": fixated})
    density = records.blur_fixations(np.argwhere(fixated)[:, ::-1] + 0.5, size, 3.0)
    density = np.rint(density * (255 / max(density.max(), 1e-9))).astype(np.uint8)
    cv2.imwrite(str(fixations / "maps" / f"eyeMap_{number}.jpg"), density)


def write_tone(path, seconds, hertz):
  """Writes a mono WAV file of 16 bits at 22,050 Hz, at half of full scale."""
  path.parent.mkdir(parents=True)
  t = np.arange(round(seconds * 22050)) / 22050
  with wave.open(str(path), "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(22050)
    file.writeframes((16384 * np.sin(2 * np.pi * hertz * t)).astype("<i2").tobytes())


def write_ave(folder, lists):
  """Writes the lists of AVE from rows of database, video and category for each split."""
  for split, rows in lists.items():
    path = folder / "fold_lists" / f"AVE_list_{split}.txt"
    path.write_text("".join(f"{' '.join(row)}\n" for row in rows))
