"""The audio-visual sets, built from small folders in the layout of STAViS's authors."""

import cv2
import numpy as np
import pytest
import scipy.io
from trees import annotated, stavis

from jaxsal import cli
from jaxsal.data import sources, transforms
from jaxsal.errors import UserError
from jaxsal.tfds_builders import records, shards, video_builder
from jaxsal.tfds_builders.avad import avad_dataset_builder
from jaxsal.tfds_builders.build import prepare

CLIPS = {"V1_Speech1": 9, "V2_Speech2": 5, "V3_Dog": 7}
FOLDS = {
  f"{part}_{number}": {
    name: n for name, n in CLIPS.items() if (name == left_out) == (part == "test")
  }
  for number, left_out in enumerate(CLIPS, start=1)
  for part in ("train", "test")
}


@pytest.fixture(autouse=True)
def several_shards(monkeypatch):
  monkeypatch.setattr(shards, "_SHARD_FRAMES", 8)


@pytest.fixture
def avad(tmp_path, monkeypatch):
  """Writes the folder of an AVAD for which three clips are complete."""
  monkeypatch.setattr(
    avad_dataset_builder.Builder, "REGISTER", {"full": video_builder.Register(3, None)}
  )
  return stavis.write(tmp_path / "stavis", "AVAD", FOLDS, silent=["V2_Speech2"], unseen=[3])


def test_every_frame_is_stored_once_and_the_folds_are_lists(avad, tmp_path, capsys):
  prepare("avad", tmp_path, avad)
  assert "V2_Speech2: no sound, taken as silence" in capsys.readouterr().out
  split = sources.open_split("avad", "full", tmp_path)
  assert split.names == ("full", *(f"{part}_{n}" for n in (1, 2, 3) for part in ("train", "test")))
  assert [(v.name, v.frames, v.fps) for v in split.videos] == [
    (name, frames, 24.99975) for name, frames in CLIPS.items()
  ]
  assert split.metadata["protocol"] == "stavis" and split.metadata["annotated"] == {"full": True}
  for number, video in enumerate(split.videos, start=1):
    for index, (x, y) in enumerate(annotated.centres(video.frames, stavis.SIZE, number)):
      record = split[video.first + index]
      expected = [] if index == 3 else [[x - 1.5, y + 0.5], [x + 0.5, y + 0.5], [x + 1.5, y + 0.5]]
      assert record["fixations"].tolist() == expected
      density = transforms.decode_density(record["density"], "")
      assert density.any() == (index != 3)
      if index != 3:
        assert np.hypot(*(np.argwhere(density == density.max()).mean(0) - (y, x))) < 2
  train, test = (sources.open_split("avad", fold, tmp_path) for fold in ("train_2", "test_2"))
  assert [v.name for v in train.videos] == ["V1_Speech1", "V3_Dog"]
  assert [v.name for v in test.videos] == ["V2_Speech2"]
  assert train[9]["image"] == split[14]["image"]
  jpeg = (avad / "video_frames/AVAD/V3_Dog/img_00001.jpg").read_bytes()
  assert train[9]["image"] == jpeg  # not encoded again


def test_the_sound_of_a_video_is_stored_with_its_first_record(avad, tmp_path):
  prepare("avad", tmp_path, avad)
  split = sources.open_split("avad", "full", tmp_path)
  first, second, third = (split.sound(video) for video in split.videos)
  assert second.size == 0 and split[1]["audio"].size == 0
  for number, video, sound in ((1, split.videos[0], first), (3, split.videos[2], third)):
    assert sound.dtype == np.int16 and sound.size == round(video.frames / 25 * 22050)
    expected = 16384 * np.sin(2 * np.pi * 200 * number * np.arange(sound.size) / 22050)
    np.testing.assert_allclose(sound, expected, atol=2)


def test_lists_that_promise_more_frames_than_there_are(avad, tmp_path, capsys):
  stavis.write(tmp_path / "longer", "AVAD", FOLDS, longer=4)
  (tmp_path / "longer/video_frames/AVAD/V3_Dog/img_00007.jpg").unlink()
  prepare("avad", tmp_path, tmp_path / "longer")
  split = sources.open_split("avad", "full", tmp_path)
  assert [v.frames for v in split.videos] == [9, 5, 6] and split.metadata["skipped"] == []
  assert (
    "3 of 3 videos are shorter than the fold lists say, by 13 frames" in capsys.readouterr().out
  )


def test_frames_of_another_size_than_their_maps(avad, tmp_path):
  path = avad / "video_frames/AVAD/V2_Speech2/img_00001.jpg"
  cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (32, 18)))
  prepare("avad", tmp_path, avad)
  split = sources.open_split("avad", "test_2", tmp_path)
  assert transforms.decode_frame(split[0]["image"], "").shape == (*stavis.SIZE, 3)


def remove(path):
  return lambda d: (d / path).unlink()


DAMAGE = {
  "no fold list": (
    remove("fold_lists/AVAD_list_test_3_fps.txt"),
    "AVAD_list_test_3_fps.txt is missing",
  ),
  "an odd line": (
    lambda d: (d / "fold_lists/AVAD_list_test_3_fps.txt").write_text("V1_Speech1 9\n"),
    r'AVAD_list_test_3_fps.txt, line 1: .V1_Speech1 9. must be "name frames fps"',
  ),
  "no frames": (
    lambda d: [p.unlink() for p in (d / "video_frames/AVAD/V1_Speech1").iterdir()],
    "V1_Speech1: no files in .*video_frames",
  ),
  "a gap": (
    remove("annotations/AVAD/V1_Speech1/maps/eyeMap_00004.jpg"),
    "V1_Speech1: image, density or fixations are missing of frame 00004",
  ),
  "an unreadable map": (
    lambda d: (d / "annotations/AVAD/V1_Speech1/maps/eyeMap_00004.jpg").write_bytes(b"\xff\xd8"),
    r"eyeMap_00004.jpg cannot be decoded \(2 bytes\)",
  ),
  "another variable": (
    lambda d: scipy.io.savemat(d / "annotations/AVAD/V1_Speech1/fixMap_00004.mat", {"I": [1]}),
    "fixMap_00004.mat has no variable eyeMap; it has I",
  ),
  "fixations of another size": (
    lambda d: scipy.io.savemat(
      d / "annotations/AVAD/V1_Speech1/fixMap_00004.mat", {"eyeMap": np.eye(5)}
    ),
    "fixMap_00004.mat is 5 x 5, its density is 36 x 64",
  ),
  "an unreadable sound": (
    lambda d: (d / "video_audio/AVAD/V1_Speech1/V1_Speech1.wav").write_bytes(b"RIFF oops"),
    r"V1_Speech1\.wav",
  ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_downloads(avad, tmp_path, damage):
  hurt, message = DAMAGE[damage]
  hurt(avad)
  with pytest.raises(UserError, match=message):
    prepare("avad", tmp_path, avad)
  prepare("avad", tmp_path, avad, skip_bad=True)
  names = [v.name for v in sources.open_split("avad", "full", tmp_path).videos]
  assert names == [name for name in CLIPS if "list" in message or name != "V1_Speech1"]
  assert len(sources.open_split("avad", "train_2", tmp_path).videos) == len(names) - 1


def test_the_register_counts_videos(tmp_path):
  stavis.write(tmp_path / "d", "ETMD_av", FOLDS)
  with pytest.raises(UserError, match="full: 3 videos with 21 frames; the complete set has 12\n"):
    prepare("etmd", tmp_path, tmp_path / "d")


def test_one_split_of_diem_and_all_sets_in_one_folder(tmp_path):
  folder = tmp_path / "d"
  stavis.write(folder, "DIEM", {"train": {"advert_720x576": 3}, "test": {"news_720x576": 4}})
  stavis.write(folder, "Coutrot_db1", {"train_1": {"clip1": 3}, "test_1": {"clip2": 2}})
  stavis.write(folder, "Coutrot_db2", {"train_1": {"clip1": 2}, "test_1": {"clip3": 5}})
  prepare("diem/224x384", tmp_path, folder, skip_bad=True)
  split = sources.open_split("diem/224x384", "test", tmp_path)
  assert [(v.name, v.frames, v.height) for v in split.videos] == [("news_720x576", 4, 224)]
  third = sources.open_split("diem/224x384", "test_3", tmp_path)  # in each fold of the six sets
  assert third.videos == split.videos

  stavis.write_ave(
    folder,
    {
      "train": [("DIEM", "advert_720x576", "Social Events"), ("Coutrot_db1", "clip1", "nature")],
      "validation": [("Coutrot_db2", "clip1", "nature")],
      "test": [("Coutrot_db2", "clip3", "miscellaneous"), ("Coutrot_db1", "clip3", "nature")],
    },
  )
  arguments = ["prepare", "ave", f"--from={folder}", f"--data-dir={tmp_path}"]
  assert cli.main([*arguments, "--skip-bad"]) == 0
  train, test = (sources.open_split("ave", name, tmp_path) for name in ("train", "test"))
  assert [v.name for v in train.videos] == ["DIEM_advert_720x576", "Coutrot_db1_clip1"]
  assert [v.name for v in test.videos] == ["Coutrot_db2_clip3"]
  assert train.metadata["categories"] == {
    "DIEM_advert_720x576": "social events",
    "Coutrot_db1_clip1": "nature",
    "Coutrot_db2_clip1": "nature",
    "Coutrot_db2_clip3": "miscellaneous",
  }
  assert any("AVE_list_test.txt, line 2: 'Coutrot_db1 clip3" in s for s in test.metadata["skipped"])
  assert train.sound(train.videos[1]).size == round(3 / 25 * 22050)


def test_lists_name_stored_videos_and_their_frames():
  videos = [
    records.Video(name=name, frames=n, height=4, width=6, fps=25.0) for name, n in CLIPS.items()
  ]
  lists = {"some": {"V1_Speech1": [0, 8], "elsewhere": [99], "V3_Dog": None}, "none": {"x": None}}
  assert records.lists_table(lists, videos) == {"some": {"V1_Speech1": [0, 8], "V3_Dog": None}}
  for frames in ([0, 9], [-1], [3, 2], [2, 2], []):
    with pytest.raises(ValueError, match=r"list 'some': the frames of 'V1_Speech1' must ascend"):
      records.lists_table({"some": {"V1_Speech1": frames}}, videos)
