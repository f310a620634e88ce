"""A small prepared data set: the pixels of a frame tell its number and its video."""

import cv2
import numpy as np
import tensorflow_datasets as tfds

from jaxsal.tfds_builders import records

# Videos longer and shorter than windows of 8 frames and than 2T - 1, one of them with a single
# frame; in two sizes.
CLIPS = (12, 5, 20, 9, 1, 30, 16)
SIZES = ((24, 32), (20, 48))
UNSEEN = 3  # nobody looked at any frame of this video
SEEN_RARELY = 5  # somebody looked at every third frame only
SPLITS = {"train": CLIPS, "validation": CLIPS[:2]}
LISTS = {
  "fold": {"v5": None, "v1": None, "v2": None},
  "frames": {"v0": [2, 5], "v2": [0, 3, 9, 17], "v1": [4], "v5": [1, 6, 21, 22]},
}


def clip_size(video):
  return SIZES[video % 2]


def clip_frame(video, index):
  """Draws a frame: red tells the video, green the frame, and blue is bright on the right."""
  h, w = clip_size(video)
  image = np.empty((h, w, 3), np.uint8)
  image[:] = (10 * video, 5 * index, 0)
  image[:, w // 2 :, 2] = 200
  return image


def clip_fixations(video, index):
  """Returns a point in the bottom right corner and one that differs from frame to frame."""
  if video == UNSEEN or (video == SEEN_RARELY and index % 3):
    return np.zeros((0, 2), np.float32)
  h, w = clip_size(video)
  return np.float32([(w - 0.5, h - 0.5), (index + 0.5, 2.5)])


class Clips(tfds.core.GeneratorBasedBuilder):
  """Builds a split of seven videos and another one of two."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    videos = {
      split: records.videos_table(
        records.Video(
          name=f"v{i}", frames=n, height=clip_size(i)[0], width=clip_size(i)[1], fps=25.0
        )
        for i, n in enumerate(frames)
      )
      for split, frames in SPLITS.items()
    }
    return tfds.core.DatasetInfo(
      builder=self,
      features=records.features(image_format="png"),
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(videos=videos, lists={"train": LISTS}),
    )

  def _split_generators(self, dl_manager):
    return {split: self._generate_examples(frames) for split, frames in SPLITS.items()}

  def _generate_examples(self, frames):
    key = 0
    for video, num_frames in enumerate(frames):
      for index in range(num_frames):
        size = clip_size(video)
        density = np.zeros(size, np.float32)
        density[-4:, -4:] = 1 + index
        png = cv2.imencode(".png", clip_frame(video, index)[..., ::-1])[1].tobytes()
        yield (
          key,
          records.record(
            video=video,
            index=index,
            image=png,
            density=records.encode_map(density),
            fixations=clip_fixations(video, index),
            size=size,
          ),
        )
        key += 1


def build(directory):
  tfds.disable_progress_bar()
  Clips(data_dir=directory, file_format="array_record").download_and_prepare()
