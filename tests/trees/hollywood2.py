"""Hollywood-2's folder: one sub-folder per shot."""

from trees import annotated


def write(folder, train=(5, 40), test=(1, 3), size=(36, 64), *, mat=False):
  """Writes shots with these numbers of frames; file numbers begin at 17."""
  for split, short, lengths in (("training", "train", train), ("testing", "test", test)):
    for number, frames in enumerate(lengths, start=1):
      name = f"actionclip{short}{number:05}"
      names = [f"{name}_{i:05}" for i in range(17, 17 + frames)]
      shot = folder / split / f"{name}_1"
      annotated.write_annotation(shot, names, size, number, mat=mat)
      annotated.write_frames(shot / "images", names, size, number)
  return folder
