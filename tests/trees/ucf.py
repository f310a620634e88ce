"""UCF-Sports' folder: one sub-folder per video; sizes vary."""

from trees import annotated

SIZES = ((40, 72), (36, 48))


def write(folder, train=(6, 12), test=(4, 5), *, mat=False):
  """Writes videos with these numbers of frames, in two sizes."""
  for split, lengths in (("training", train), ("testing", test)):
    for number, frames in enumerate(lengths, start=1):
      names = [f"Diving-Side_{number:03}_{i:03}" for i in range(1, frames + 1)]
      video, size = folder / split / f"Diving-Side-{number:03}", SIZES[number % 2]
      annotated.write_annotation(video, names, size, number, mat=mat)
      annotated.write_frames(video / "images", names, size, number)
  return folder
