"""UNISAL: one small network for images and videos, with parts of its own for every domain.

Droste, Jiao and Noble, Unified Image and Video Saliency Modeling, ECCV 2020. Parts are named as in
figure 2. The authors' PyTorch weights load. A domain is one of the four data sets that the network
is trained on at once; it has batch normalisations, prior maps, an adaptation and a smoothing of its
own (section 3.3).
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal import nn
from jaxsal.errors import UserError
from jaxsal.models import _mobilenet as mobilenet
from jaxsal.models._base import SaliencyConfig, SaliencyModel
from jaxsal.models._table import Entry, batch_norm, conv2d, under
from jaxsal.models.s3d import channels
from jaxsal.nn.init import filled

# Domains by the name of their data set, and what the PyTorch weights call them.
DOMAINS = {"dhf1k": "DHF1K", "hollywood2": "Hollywood", "ucf": "UCFSports", "salicon": "SALICON"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class UNISALConfig(SaliencyConfig):
  """Configuration of UNISAL; the defaults are the paper's.

  Attributes:
    length: number of frames in a training sequence (section 4.1).
    size: height and width, multiples of 32. Weights fit every size.
    domain: data set whose own parts are used.
    static: whether every frame is an image by itself, which bypasses the recurrent part.
    width: factor on every channel count.
    batch_norm_momentum: weight of a new batch in the running statistics of the domains.
  """

  length: int = 12
  size: tuple[int, int] = (224, 384)
  domain: Literal["dhf1k", "hollywood2", "ucf", "salicon"] = "dhf1k"
  static: bool = False
  width: float = 1.0
  batch_norm_momentum: float = 0.01


VARIANTS = {
  "base": UNISALConfig(),
  "image": UNISALConfig(domain="salicon", static=True, length=1, size=(288, 384)),
  "small": UNISALConfig(width=0.25),
  "tiny": UNISALConfig(width=0.125, length=4, size=(32, 64)),
}

_GAUSSIANS = 16
_RECURRENT, _DECODED2, _DECODED4 = 256, 128, 64
# Channels within the skip connections, before their reduction.
_SKIP2, _SKIP4 = 320, 128
_SMOOTHING = 41
# Height of a prior map's peak, on the scale of the features that it is concatenated with.
_PRIOR_PEAK = 6.0
_EPSILON = 1e-5
# Sizes and strides at which the authors score the data sets of the domains.
_SIZES = {
  "dhf1k": (224, 384),
  "hollywood2": (224, 416),
  "ucf": (256, 384),
  "salicon": (288, 384),
}
_STRIDES = {"dhf1k": 5, "hollywood2": 4, "ucf": 4, "salicon": 1}


class DomainBatchNorm(nnx.Module):
  """Batch normalisation with parameters and statistics for every domain (section 3.3)."""

  def __init__(self, count: int, config: UNISALConfig) -> None:
    for domain in DOMAINS:
      norm = nn.BatchNorm(count, momentum=config.batch_norm_momentum, epsilon=_EPSILON)
      setattr(self, domain, norm)

  def __call__(self, x: jax.Array, domain: str) -> jax.Array:
    """[..., channels] -> the same shape and dtype."""
    return getattr(self, domain)(x)


class PriorMaps(nnx.Module):
  """Gaussian prior maps of every domain (section 3.3).

  Attributes:
    dhf1k, hollywood2, ucf, salicon: centre and logarithm of the standard deviation of each
      Gaussian, as shares of the map's height and width: [16, (y, x), (centre, log deviation)].
  """

  def __init__(self, rngs: nnx.Rngs) -> None:
    for domain in DOMAINS:
      centre = jax.random.uniform(rngs.params(), (_GAUSSIANS, 2, 1), jnp.float32)
      log_deviation = filled(-1.0, _GAUSSIANS, 2, 1)
      setattr(self, domain, nnx.Param(jnp.concatenate([centre, log_deviation], axis=-1)))

  def __call__(self, size: tuple[int, int], domain: str) -> jax.Array:
    """Height and width -> maps [h, w, 16], float32 in [0, 6]."""
    centre, log_deviation = jnp.moveaxis(getattr(self, domain)[...], -1, 0)

    def profile(axis: int) -> jax.Array:
      position = jnp.linspace(0, 1, size[axis], dtype=jnp.float32)[:, None]
      distance = (position - centre[:, axis]) / jnp.exp(log_deviation[:, axis])
      return jnp.exp(-jnp.square(distance) / 2)

    return _PRIOR_PEAK * profile(0)[:, None] * profile(1)[None]


class SeparableConv(nnx.Module):
  """Depthwise 3 x 3 convolution, domain BN, ReLU6, 1 x 1 convolution: one gate's input."""

  def __init__(self, count: int, config: UNISALConfig, rngs: nnx.Rngs) -> None:
    self.depthwise = nn.DepthwiseConv(count, dtype=config.dtype, rngs=rngs)
    self.bn = DomainBatchNorm(count, config)
    self.pointwise = nn.Conv2d(count, count, 1, use_bias=False, dtype=config.dtype, rngs=rngs)

  def __call__(self, x: jax.Array, domain: str) -> jax.Array:
    """[b, h, w, c] -> the same shape."""
    return self.pointwise(jax.nn.relu6(self.bn(self.depthwise(x), domain)))


class Term(nnx.Module):
  """A separable convolution, normalised and scaled by channel: one of a gate's two terms."""

  def __init__(self, count: int, config: UNISALConfig, rngs: nnx.Rngs) -> None:
    self.conv = SeparableConv(count, config, rngs)
    self.norm = DomainBatchNorm(count, config)
    self.scale = nnx.Param(filled(1, 1, 1, count))

  def __call__(self, x: jax.Array, domain: str) -> jax.Array:
    """[b, h, w, c] -> the same shape."""
    return self.norm(self.conv(x, domain), domain) * self.scale[...].astype(x.dtype)


class ConvGRU(nnx.Module):
  """Convolutional gated recurrent unit (section 3.2, "Bypass-RNN")."""

  def __init__(self, count: int, config: UNISALConfig, rngs: nnx.Rngs) -> None:
    self.reset_x, self.reset_h = Term(count, config, rngs), Term(count, config, rngs)
    self.update_x, self.update_h = Term(count, config, rngs), Term(count, config, rngs)
    self.new_x, self.new_h = Term(count, config, rngs), Term(count, config, rngs)
    self.reset_bias = nnx.Param(filled(0, 1, 1, count))
    self.update_bias = nnx.Param(filled(0, 1, 1, count))
    self.new_bias = nnx.Param(filled(0, 1, 1, count))
    # The authors' training left a dropout mask in their files. Nothing reads it; it is kept with
    # the weights, so that converting them back gives the file that they came from.
    self.drop_mask = nnx.BatchStat(filled(0, 3, count))

  def __call__(self, x: jax.Array, state: jax.Array, domain: str) -> tuple[jax.Array, jax.Array]:
    """Runs over time.

    Args:
      x: [b, t, h, w, c].
      state: float32 [b, h, w, c], zeros before the first frame.
      domain: name of the domain.

    Returns:
      The states after every frame, [b, t, h, w, c], and the last of them.
    """
    b, t, *shape = x.shape
    frames = x.reshape(b * t, *shape)

    def of_frames(term: Term) -> jax.Array:
      return jnp.moveaxis(term(frames, domain).reshape(b, t, *shape), 1, 0)

    # The terms of x need no state: they are computed for all frames at once.
    inputs = of_frames(self.reset_x), of_frames(self.update_x), of_frames(self.new_x)
    states = []
    for step in range(t):
      reset_x, update_x, new_x = (term[step] for term in inputs)
      reset = jax.nn.sigmoid(reset_x + self.reset_h(state, domain) + self.reset_bias[...])
      update = jax.nn.sigmoid(update_x + self.update_h(state, domain) + self.update_bias[...])
      new = jnp.tanh(new_x + reset * self.new_h(state, domain) + self.new_bias[...])
      state = (1 - update) * state + update * new
      states.append(state)
    return jnp.stack(states, axis=1), state


class DomainInvertedResidual(nnx.Module):
  """Inverted residual of expansion 2 with domain BN, without a skip connection."""

  def __init__(self, inputs: int, outputs: int, config: UNISALConfig, rngs: nnx.Rngs) -> None:
    options = {"use_bias": False, "dtype": config.dtype, "rngs": rngs}
    inner = 2 * inputs
    self.expand = nn.Conv2d(inputs, inner, 1, **options)
    self.expand_bn = DomainBatchNorm(inner, config)
    self.depthwise = nn.DepthwiseConv(inner, dtype=config.dtype, rngs=rngs)
    self.depthwise_bn = DomainBatchNorm(inner, config)
    self.project = nn.Conv2d(inner, outputs, 1, **options)
    self.project_bn = DomainBatchNorm(outputs, config)

  def __call__(self, x: jax.Array, domain: str) -> jax.Array:
    """[b, h, w, inputs] -> [b, h, w, outputs]."""
    x = jax.nn.relu6(self.expand_bn(self.expand(x), domain))
    x = jax.nn.relu6(self.depthwise_bn(self.depthwise(x), domain))
    return self.project_bn(self.project(x), domain)


class Skip(nnx.Module):
  """Skip connection from the encoder to the decoder: expansion and reduction by 1 x 1."""

  def __init__(
    self, inputs: int, inner: int, outputs: int, config: UNISALConfig, rngs: nnx.Rngs
  ) -> None:
    self.expand = nn.Conv2d(inputs, inner, 1, use_bias=False, dtype=config.dtype, rngs=rngs)
    self.expand_bn = DomainBatchNorm(inner, config)
    self.reduce = nn.Conv2d(inner, outputs, 1, dtype=config.dtype, rngs=rngs)
    self.reduce_bn = DomainBatchNorm(outputs, config)

  def __call__(self, x: jax.Array, domain: str) -> jax.Array:
    """[b, h, w, inputs] -> [b, h, w, outputs]."""
    x = jax.nn.relu6(self.expand_bn(self.expand(x), domain))
    return self.reduce_bn(self.reduce(x), domain)


class UNISAL(SaliencyModel[UNISALConfig]):
  """UNISAL (figure 2).

  The network is causal and recurrent: `densities` predicts every frame of a sequence from that
  frame and those before it, and returns the state with which the sequence goes on.
  """

  recurrent = True
  resampling = "lanczos"

  def __init__(self, config: UNISALConfig, *, rngs: nnx.Rngs) -> None:
    """Raises UserError for a size that the backbone cannot halve five times."""
    h, w = config.size
    if h % 32 or w % 32 or min(h, w) < 32:
      raise UserError(
        f"size is {h} x {w}: height and width must be multiples of 32, such as "
        f"{max(32, round(h / 32) * 32)} x {max(32, round(w / 32) * 32)}."
      )
    self.config = config
    c = lambda count: channels(count, config.width)  # noqa: E731
    kept4, kept2, last = mobilenet.output_channels(config.width)
    recurrent = c(_RECURRENT)
    self.encoder = mobilenet.Encoder(config.width, config.dtype, rngs)
    self.priors = PriorMaps(rngs)
    self.post_cnn = mobilenet.InvertedResidual(
      last + _GAUSSIANS, recurrent, 1, 1, config.dtype, rngs, skip=False
    )
    self.rnn = ConvGRU(recurrent, config, rngs)
    self.post_rnn = nn.Conv2d(
      recurrent, recurrent, 1, use_bias=False, dtype=config.dtype, rngs=rngs
    )
    self.post_rnn_bn = DomainBatchNorm(recurrent, config)
    self.skip2 = Skip(kept2, c(_SKIP2), c(_DECODED2), config, rngs)
    self.upsampling2 = DomainInvertedResidual(recurrent + c(_DECODED2), c(_DECODED2), config, rngs)
    self.skip4 = Skip(kept4, c(_SKIP4), c(_DECODED4), config, rngs)
    self.post_upsampling2 = DomainInvertedResidual(
      c(_DECODED2) + c(_DECODED4), c(_DECODED4), config, rngs
    )
    for domain in DOMAINS:
      adaptation = nn.Conv2d(c(_DECODED4), 1, 1, dtype=config.dtype, rngs=rngs)
      setattr(self, f"adaptation_{domain}", adaptation)
      # Starts as the mean over its window.
      kernel = filled(1 / _SMOOTHING**2, _SMOOTHING, _SMOOTHING, 1, 1)
      setattr(self, f"smoothing_{domain}", nnx.Param(kernel))

  @property
  def stride(self) -> int:
    """Every how many frames a sequence takes one, in the authors' scores (section 4.1)."""
    return 1 if self.config.static else _STRIDES[self.config.domain]

  def for_dataset(self, dataset: str) -> "UNISAL":
    """Returns the network with the domain of a data set, at the size that the authors score it."""
    if dataset not in DOMAINS:
      return self
    fields = {"domain": dataset, "size": _SIZES[dataset], "static": dataset == "salicon"}
    return self._with(dataclasses.replace(self.config, **fields))

  def for_size(self, height: int, width: int) -> "UNISAL":
    """Returns the network with the size that the authors take for frames of this size.

    Height and width are multiples of 32, r and c of them with r and c in 7 .. 13 and r c in 100 ..
    120, in the closest ratio to the frame's; 224 x 384 serves frames of 360 x 640.
    """
    if (height, width) == (360, 640):
      size = (224, 384)
    else:
      fits = [(r, c) for r in range(7, 14) for c in range(7, 14) if 100 <= r * c <= 120]
      r, c = min(fits, key=lambda fit: abs(math.log(fit[0] / fit[1] * width / height)))
      size = (32 * r, 32 * c)
    return self._with(dataclasses.replace(self.config, size=size))

  def for_images(self) -> "UNISAL":
    """Returns the network for images: the domain of SALICON, without the recurrent part."""
    return self._with(dataclasses.replace(self.config, domain="salicon", static=True))

  def _with(self, config: UNISALConfig) -> "UNISAL":
    """Returns a network of the same weights with another configuration."""
    network = nnx.merge(*nnx.split(self))
    network.config = config
    return network

  def initial_state(self, sequences: int, size: tuple[int, int]) -> jax.Array:
    """The state before the first frame: zeros, float32 [sequences, h / 32, w / 32, c]."""
    return jnp.zeros((sequences, size[0] // 32, size[1] // 32, self.rnn.drop_mask.shape[-1]))

  def __call__(self, frames: jax.Array) -> jax.Array:
    """Normalised frames [b, t, h, w, 3] -> map of the last frame [b, h, w], float32 in [0, 1]."""
    log_densities, _ = self.densities(frames)
    last = log_densities[:, -1]
    return jnp.exp(last - last.max(axis=(-2, -1), keepdims=True))

  def densities(
    self, frames: jax.Array, state: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array]:
    """Predicts every frame of some sequences.

    Args:
      frames: normalised frames [b, t, h, w, 3], h and w multiples of 32.
      state: the state after the frames before these, from an earlier call; zeros by default.

    Returns:
      Logarithms of the probabilities that a pixel is looked at, float32 [b, t, h, w], whose
      exponentials sum to 1 over a frame; and the state after the last frame.

    Raises:
      UserError: the frames' height or width is no multiple of 32.
    """
    b, t, h, w, _ = frames.shape
    if h % 32 or w % 32:
      raise UserError(f"Frames are {h} x {w}: height and width must be multiples of 32.")
    domain = self.config.domain
    features = self.encoder(frames.reshape(b * t, h, w, 3))
    n, rows, columns, _ = features.x1.shape
    priors = self.priors((rows, columns), domain).astype(features.x1.dtype)
    priors = jnp.broadcast_to(priors, (n, rows, columns, _GAUSSIANS))
    x = self.post_cnn(jnp.concatenate([features.x1, priors], axis=-1))
    state = self.initial_state(b, (h, w)) if state is None else state
    if not self.config.static:
      sequences = x.astype(jnp.float32).reshape(b, t, *x.shape[1:])
      states, state = self.rnn(sequences, state, domain)
      y = self.post_rnn(states.reshape(x.shape))
      x += jax.nn.relu6(self.post_rnn_bn(y, domain)).astype(x.dtype)
    return self.decode(x, features, (h, w)).reshape(b, t, h, w), state

  def decode(self, x: jax.Array, features: mobilenet.Features, size: tuple[int, int]) -> jax.Array:
    """Features of frames at 1/32 and the encoder's outputs -> log-densities [n, h, w], float32."""
    domain = self.config.domain
    x = nn.resize(x, features.x2.shape[1:3])
    x = jnp.concatenate([x, self.skip2(features.x2, domain)], axis=-1)
    x = nn.resize(self.upsampling2(x, domain), features.x4.shape[1:3])
    x = jnp.concatenate([x, self.skip4(features.x4, domain)], axis=-1)
    x = self.post_upsampling2(x, domain)
    logits = getattr(self, f"adaptation_{domain}")(x)[..., 0].astype(jnp.float32)
    # Nearest neighbour, by a whole factor.
    factors = [n // m for n, m in zip(size, logits.shape[1:])]
    logits = logits.repeat(factors[0], axis=1).repeat(factors[1], axis=2)
    logits = nn.smooth(logits, getattr(self, f"smoothing_{domain}")[..., 0, 0])
    return logits - jax.nn.logsumexp(logits, axis=(-2, -1), keepdims=True)

  @staticmethod
  def table(config: UNISALConfig) -> Iterator[Entry]:
    """Names of the authors' weights."""
    for domain, name in DOMAINS.items():
      path = ("priors", domain)
      yield Entry(f"coarse_gaussians_{name.lower()}", path, (0, 1, 2))
    yield from under("cnn", "encoder", mobilenet.encoder_table("features"))
    yield from mobilenet.inverted_residual_table("post_cnn.inv_res.conv", ("post_cnn",), 1)
    yield from _gru_table("rnn.cell_list.0", ("rnn",))
    yield from conv2d("post_rnn.0", ("post_rnn",), bias=False)
    yield from _domain_batch_norm("post_rnn.1", ("post_rnn_bn",))
    for name, path in (("skip_2x", "skip2"), ("skip_4x", "skip4")):
      yield from conv2d(f"{name}.expansion.0", (path, "expand"), bias=False)
      yield from _domain_batch_norm(f"{name}.expansion.1", (path, "expand_bn"))
      yield from conv2d(f"{name}.reduction.0", (path, "reduce"))
      yield from _domain_batch_norm(f"{name}.reduction.1", (path, "reduce_bn"))
    for name in ("upsampling_2", "post_upsampling_2"):
      path = (name.replace("_2", "2"),)
      yield from _inverted_residual(f"{name}.inv_res.conv", path)
    for domain, name in DOMAINS.items():
      yield from conv2d(f"adaptation_{name.lower()}.0", (f"adaptation_{domain}",))
      yield Entry(f"smoothing_{name.lower()}.weight", (f"smoothing_{domain}",), (2, 3, 1, 0))


def _domain_batch_norm(name: str, path: tuple[str, ...]) -> Iterator[Entry]:
  for domain, there in DOMAINS.items():
    yield from batch_norm(f"{name}.bn_{there}", (*path, domain))


def _gru_table(name: str, path: tuple[str, ...]) -> Iterator[Entry]:
  yield Entry(f"{name}.drop_mask_1", (*path, "drop_mask"), (0, 1))
  for gate, letter, norm in (("reset", "r", "r"), ("update", "z", "z"), ("new", "h", "out")):
    yield Entry(f"{name}.b_{letter}", (*path, f"{gate}_bias"), (1, 2, 0))
    for side, conv in (("x", "w"), ("h", "u")):
      there = f"{name}.{conv}" if gate == "new" else f"{name}.{conv}_{letter}"
      here = (*path, f"{gate}_{side}")
      yield Entry(f"{name}.a_{letter}_{side}", (*here, "scale"), (1, 2, 0))
      yield from _domain_batch_norm(f"{name}.norm_{norm}_{side}", (*here, "norm"))
      yield from mobilenet.depthwise(f"{there}.conv_dw", (*here, "conv", "depthwise"))
      yield from _domain_batch_norm(f"{there}.sep_bn", (*here, "conv", "bn"))
      yield from conv2d(f"{there}.conv_sep", (*here, "conv", "pointwise"), bias=False)


def _inverted_residual(name: str, path: tuple[str, ...]) -> Iterator[Entry]:
  yield from conv2d(f"{name}.0", (*path, "expand"), bias=False)
  yield from _domain_batch_norm(f"{name}.1", (*path, "expand_bn"))
  yield from mobilenet.depthwise(f"{name}.3", (*path, "depthwise"))
  yield from _domain_batch_norm(f"{name}.4", (*path, "depthwise_bn"))
  yield from conv2d(f"{name}.6", (*path, "project"), bias=False)
  yield from _domain_batch_norm(f"{name}.7", (*path, "project_bn"))
