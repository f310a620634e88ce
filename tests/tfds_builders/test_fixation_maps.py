"""Fixation maps as people have them are read rightly, or refused by name."""

import pathlib

import cv2
import numpy as np
import PIL.Image
import pytest
import scipy.io
import scipy.sparse
from trees import annotated, dhf1k, stavis

from jaxsal.data import sources
from jaxsal.errors import UserError
from jaxsal.tfds_builders import annotations
from jaxsal.tfds_builders.avad import avad_dataset_builder
from jaxsal.tfds_builders.build import prepare
from jaxsal.tfds_builders.video_builder import Register

SIZE = (36, 64)
BINARY = annotated.fixation_map((20, 10), SIZE)
POINTS = [[18.5, 10.5], [20.5, 10.5], [21.5, 10.5]]


def colour(value):
  return np.where(BINARY[..., None] > 0, np.array(value, np.uint8), np.uint8(0))


def palette(path, colours):
  """Writes an indexed PNG: index 1 at the fixations, else 0."""
  image = PIL.Image.fromarray(BINARY // 255).convert("P")
  image.putpalette([value for entry in colours for value in entry])
  image.save(path)


READABLE = {
  "255": BINARY,
  "1": BINARY // 255,
  "1 in 16 bits": (BINARY // 255).astype(np.uint16),
  "65535": BINARY.astype(np.uint16) * 257,
  "three equal channels": colour((255, 255, 255)),
  "a dark blue": colour((1, 0, 0)),
  "red": colour((0, 0, 200)),
  "opaque": np.dstack([colour((255, 255, 255)), np.full(SIZE, 255, np.uint8)]),
  "numbers of observers": BINARY // 255 * np.uint8(3) + np.eye(*SIZE, 30, dtype=np.uint8),
}


@pytest.mark.parametrize("kind", READABLE)
def test_images_that_are_fixation_maps(tmp_path, kind):
  path = tmp_path / "0001.png"
  cv2.imwrite(str(path), READABLE[kind])
  expected = POINTS
  if kind == "numbers of observers":
    expected = sorted(POINTS + [[30.5 + i, 0.5 + i] for i in range(34)], key=lambda p: p[::-1])
  assert annotations._read_fixations(path, SIZE).tolist() == expected


@pytest.mark.parametrize("colours", [[(0, 0, 0), (1, 0, 0)], [(0, 0, 0), (255, 255, 255)]])
def test_palettes(tmp_path, colours):
  palette(tmp_path / "0001.png", colours)
  assert annotations._read_fixations(tmp_path / "0001.png", SIZE).tolist() == POINTS


def test_a_palette_whose_background_is_not_black(tmp_path):
  palette(tmp_path / "0001.png", [(255, 255, 255), (0, 0, 0)])
  with pytest.raises(UserError, match=r"0001\.png is no .*a background that is not black"):
    annotations._read_fixations(tmp_path / "0001.png", SIZE)


def jpeg(quality):
  _, data = cv2.imencode(".jpg", BINARY, [cv2.IMWRITE_JPEG_QUALITY, quality])
  return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


def density():
  return cv2.GaussianBlur(BINARY.astype(np.float32), (0, 0), 3.0)


GREY = np.rint(density() * 255 / density().max()).astype(np.uint8)
ALPHA = np.dstack([colour((255, 255, 255)), BINARY])
WRONG = {
  "JPEG noise": (jpeg(95), "stored as JPEG"),
  "much JPEG noise": (jpeg(30), "stored as JPEG"),
  "antialiasing": (
    cv2.circle(np.zeros(SIZE, np.uint8), (20, 10), 2, 255, -1, cv2.LINE_AA),
    "smoot",
  ),
  "a map of twice the size, resized": (
    cv2.resize(
      annotated.fixation_map((40, 20), (72, 128)), SIZE[::-1], interpolation=cv2.INTER_AREA
    ),
    "smoothed, resized",
  ),
  "a density": (GREY, "looks like a density"),
  "a density in 16 bits": (GREY.astype(np.uint16) * 257, "looks like a density"),
  "a density in colour": (cv2.applyColorMap(GREY, cv2.COLORMAP_HOT), "looks like a density"),
  "a thresholded density": ((GREY > 2).astype(np.uint8) * 255, "looks like a mask"),
  "a white background": (255 - BINARY, "a background that is not black"),
  "a grey background": (np.maximum(BINARY, 1), "a background that is not black"),
  "all white": (np.full(SIZE, 255, np.uint8), "100.0% of its pixels are not 0, with one value"),
  "a thresholded density of usual size": (
    np.pad(np.uint8(GREY > 100), ((0, 36), (0, 64))).repeat(10, 0).repeat(10, 1),
    "looks like a mask",
  ),
  "a half": (np.repeat([[0], [255]], 18, 0).astype(np.uint8) * np.ones(64, np.uint8), "a mask"),
  "marks on glass": (ALPHA, "is transparent in places"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_images_that_are_none(tmp_path, kind):
  path = tmp_path / "0001.png"
  image, message = WRONG[kind]
  cv2.imwrite(str(path), image)
  with pytest.raises(UserError, match=rf"0001\.png .*{message}.*A fixation map is 0 every.*\.$"):
    annotations._read_fixations(path, image.shape[:2])


def double(**marks):
  values = BINARY / 255.0
  for name, value in marks.items():
    row, column = (int(number) for number in name[1:].split("_"))
    values[row, column] = value
  return values


MAT = {
  "double": (double(), None),
  "logical": (BINARY > 0, None),
  "sparse": (scipy.sparse.csc_matrix(double()), None),
  "NaN": (double(p3_4=np.nan), "holds NaN or infinite values"),
  "only NaN": (np.full(SIZE, np.nan), "holds NaN or infinite values"),
  "infinite": (double(p3_4=np.inf), "holds NaN or infinite values"),
  "a density": (density(), "looks like a density"),
  "a density of small values": (density() / 255 * 20, "looks like a density"),
  "fractions": (double(p3_4=0.25, p5_6=0.5), "smoothed"),
  "negative": (double(p3_4=-1), "0.2% of its pixels are not 0, with 2 different values"),
  "text": ("fixations", "is 1|no numbers|is , "),
}


@pytest.mark.parametrize("kind", MAT)
@pytest.mark.parametrize("variable", ["I", "eyeMap"])
def test_matlab_files(tmp_path, kind, variable):
  path = tmp_path / "0001.mat"
  values, message = MAT[kind]
  scipy.io.savemat(path, {variable: values})

  def read():
    return annotations.read_fixation_mat(path, variable, SIZE, "its frame").tolist()

  if message is None:
    assert read() == POINTS
  else:
    with pytest.raises(UserError, match=rf"0001\.mat .*({message})"):
      read()


def test_a_build_names_the_file(tmp_path, monkeypatch):
  source = dhf1k.write(tmp_path / "d", {1: 3, 2: 3})
  path = source / "annotation/0001/fixation/0002.png"
  cv2.imwrite(str(path), GREY)
  prepare("dhf1k", tmp_path, source, skip_bad=True)
  split = sources.open_split("dhf1k", "train", tmp_path)
  assert [video.name for video in split.videos] == ["0002"]
  assert any("0002.png is no fixation map" in line for line in split.metadata["skipped"])

  monkeypatch.setattr(avad_dataset_builder.Builder, "REGISTER", {"full": Register(2, None)})
  rows = {f"{part}_{n}": {"V1": 3, "V2": 2} for part in ("train", "test") for n in (1, 2, 3)}
  source = stavis.write(tmp_path / "s", "AVAD", rows)
  path = source / "annotations/AVAD/V1/fixMap_00002.mat"
  scipy.io.savemat(path, {"eyeMap": density()})
  with pytest.raises(UserError, match=r"fixMap_00002\.mat is no fixation map"):
    prepare("avad", tmp_path, source)


# --- Raw gaze of DHF1K.


def gaze(tmp_path, lines, encoding="utf-8"):
  path = tmp_path / "P003_Trail0001.txt"
  path.write_text("\n".join(lines) + "\n", encoding)
  rows = annotations.read_gaze((path,), frames=5, fps=30)
  return {i: row.tolist() for i, row in enumerate(rows) if len(row)}


HEADING = "Time\tL POR X\tL POR Y\tEvent"
# The screen's place of the pixel (320, 180), shown at frame 3.
LOOK = "1101000\t720.0\t450.0\tFixation L"


@pytest.mark.parametrize(
  "blink", ["1000000\t-\t-\tBlink", "1000000\t.\t.\tBlink L", "1000000", "1000000\tnan\tnan\tBlink"]
)
def test_a_record_that_begins_with_a_blink_keeps_its_clock(tmp_path, blink):
  assert gaze(tmp_path, [HEADING, blink, LOOK]) == {3: [[320, 180, 3]]}


def test_samples_before_the_first_line_or_without_a_place_are_left_out(tmp_path):
  early, lost = LOOK.replace("1101000", "900000"), LOOK.replace("720.0", "nan")
  lines = [HEADING, "1000000\t0\t0\tBlink", early, lost, LOOK]
  assert gaze(tmp_path, lines) == {3: [[320, 180, 3]]}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("heading", [[HEADING], []])
def test_encodings_of_gaze(tmp_path, encoding, heading):
  lines = [*heading, "1000000\t0\t0\tBlink", LOOK]
  assert gaze(tmp_path, lines, encoding) == {3: [[320, 180, 3]]}


def test_decimal_commas_of_gaze(tmp_path):
  lines = [HEADING, "1000000\t0\t0\tBlink", LOOK.replace(".", ",")]
  assert gaze(tmp_path, lines) == {3: [[320, 180, 3]]}


def test_gaze_in_another_form_is_named(tmp_path):
  with pytest.raises(UserError, match=r"P003_Trail0001\.txt: no line has the time in microsec"):
    gaze(tmp_path, [HEADING.replace("\t", ";"), LOOK.replace("\t", ";")])
  path = tmp_path / "P003_Trail0001.txt"
  path.write_bytes("Zeit\nBlinzeln läuft\n".encode("latin-1"))
  with pytest.raises(UserError, match=r"Trail0001\.txt is neither UTF-8 nor UTF-16 text .*UTF-8\."):
    annotations.read_gaze((pathlib.Path(path),), frames=5, fps=30)
