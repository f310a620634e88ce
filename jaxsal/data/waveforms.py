"""Cuts the excerpt of a video's sound that belongs to a clip."""

import numpy as np

SAMPLE_RATE = 22050  # samples per second that SoundNet takes

# SoundNet was trained on waveforms in [-256, 256].
_FULL_SCALE = 256
# Sound has 16 bits, half the memory of floats: 2.6 MB per minute.
_INT16_SCALE = 32768


def waveform(
  sound: np.ndarray | None,
  times: np.ndarray,
  fps: float,
  length: int,
  target: float | None = None,
) -> np.ndarray:
  """Returns the sound of a clip as SoundNet takes it.

  The excerpt lasts from half a frame before the clip's first frame to half a frame after its last
  frame. It is multiplied by a Hann window and padded with zeros on both sides (as in STAViS, which
  ViNet and TSFP-Net follow). It is zero before the sound begins and after it ends. If the clip runs
  backwards, as at the beginning of a video, the waveform does, too.

  Args:
    sound: int16 [n], from `jaxsal.data.sound.read_sound`; None for silence.
    times: float [T], times of the clip's frames in seconds, in the order of the clip.
    fps: frames per second.
    length: number of samples that the network takes. A longer excerpt (at fewer than 10 frames per
      second, for the networks of this package, or where a variable rate is that low) is replaced by
      `length` samples around the target frame.
    target: time of the target frame in seconds; the middle of the clip by default.

  Returns:
    float32 [length] in [-256, 256].
  """
  result = np.zeros(length, np.float32)
  if sound is None:
    return result
  first = round((float(np.min(times)) - 0.5 / fps) * SAMPLE_RATE)
  last = round((float(np.max(times)) + 0.5 / fps) * SAMPLE_RATE)
  if last - first > length:
    middle = (first + last) / 2 if target is None else target * SAMPLE_RATE
    first = round(middle - length / 2)
    last = first + length

  begin, end = np.clip((first, last), 0, len(sound))
  excerpt = np.zeros(last - first, np.float32)
  excerpt[begin - first : end - first] = sound[begin:end]
  excerpt *= np.hanning(len(excerpt)).astype(np.float32) * np.float32(_FULL_SCALE / _INT16_SCALE)
  start = (length - len(excerpt)) // 2
  result[start : start + len(excerpt)] = excerpt if times[0] <= times[-1] else excerpt[::-1]
  return result
