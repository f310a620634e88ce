"""The excerpt of a sound track that goes with a clip."""

import numpy as np

SAMPLE_RATE = 22050  # SoundNet's, in samples a second


# SoundNet was trained on waveforms in [-256, 256].
_FULL_SCALE = 256


# A track is decoded to 16 bits, half the memory of floats: 2.6 MB a minute.
_INT16_SCALE = 32768


def waveform(sound: np.ndarray | None, times: np.ndarray, fps: float, length: int) -> np.ndarray:
  """What is heard during a clip, as SoundNet takes it.

  The excerpt lasts from half a frame before the clip's first frame to half a frame after its last
  one. It is weighted with a Hann window and stands in the middle of zeros (STAViS, which ViNet and
  TSFP-Net follow). Where the track is silent, has not begun or has ended, it is zero. If the clip
  runs backwards, as at the beginning of a video, so does its sound.

  Args:
    sound: int16 [n], from `read_sound`; None is silence.
    times: float [T], when the clip's frames are shown, in seconds, in the order of the clip.
    fps: frames per second.
    length: number of samples that the network takes. Of a longer excerpt (fewer than 10 frames a
      second, for the networks here) the middle is taken.

  Returns:
    float32 [length] in [-256, 256].
  """
  result = np.zeros(length, np.float32)
  if sound is None:
    return result
  first = round((float(np.min(times)) - 0.5 / fps) * SAMPLE_RATE)
  last = round((float(np.max(times)) + 0.5 / fps) * SAMPLE_RATE)
  excess = max(0, last - first - length)
  first, last = first + excess // 2, last - (excess - excess // 2)

  begin, end = np.clip((first, last), 0, len(sound))
  excerpt = np.zeros(last - first, np.float32)
  excerpt[begin - first : end - first] = sound[begin:end]
  excerpt *= np.hanning(len(excerpt)).astype(np.float32) * np.float32(_FULL_SCALE / _INT16_SCALE)
  start = (length - len(excerpt)) // 2
  result[start : start + len(excerpt)] = excerpt if times[0] <= times[-1] else excerpt[::-1]
  return result
