"""The networks as plain PyTorch modules, for comparison with jaxsal's in time and memory.

The names in the state dicts are those of the released checkpoints (for TSFP-Net those of `jaxsal
convert --to-torch`), so that the golden cases verify these modules as well: see
`tests/models/test_peers.py`. Clips are [b, c, t, h, w], maps [b, h, w].
"""

import torch
import torch.nn.functional as F
from torch import nn

# Mixed blocks: a, b -> c, d -> e, f (see jaxsal.models.s3d.MIXED).
_MIXED = {
  "3b": (192, 64, 96, 128, 16, 32, 32),
  "3c": (256, 128, 128, 192, 32, 96, 64),
  "4b": (480, 192, 96, 208, 16, 48, 64),
  "4c": (512, 160, 112, 224, 24, 64, 64),
  "4d": (512, 128, 128, 256, 24, 64, 64),
  "4e": (512, 112, 144, 288, 32, 64, 64),
  "4f": (528, 256, 160, 320, 32, 128, 128),
  "5b": (832, 256, 160, 320, 32, 128, 128),
  "5c": (832, 384, 192, 384, 48, 128, 128),
}


def _norm(channels: int) -> nn.BatchNorm3d:
  return nn.BatchNorm3d(channels, eps=1e-3, momentum=0.001)


class Basic(nn.Module):
  def __init__(self, inputs: int, outputs: int) -> None:
    super().__init__()
    self.conv = nn.Conv3d(inputs, outputs, 1, bias=False)
    self.bn = _norm(outputs)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return F.relu(self.bn(self.conv(x)))


class Sep(nn.Module):
  def __init__(self, inputs: int, outputs: int, k: int, s: int = 1) -> None:
    super().__init__()
    p = k // 2
    self.conv_s = nn.Conv3d(inputs, outputs, (1, k, k), (1, s, s), (0, p, p), bias=False)
    self.bn_s = _norm(outputs)
    self.conv_t = nn.Conv3d(outputs, outputs, (k, 1, 1), (s, 1, 1), (p, 0, 0), bias=False)
    self.bn_t = _norm(outputs)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return F.relu(self.bn_t(self.conv_t(F.relu(self.bn_s(self.conv_s(x))))))


class Mixed(nn.Module):
  def __init__(self, inputs: int, a: int, b: int, c: int, d: int, e: int, f: int) -> None:
    super().__init__()
    self.branch0 = nn.Sequential(Basic(inputs, a))
    self.branch1 = nn.Sequential(Basic(inputs, b), Sep(b, c, 3))
    self.branch2 = nn.Sequential(Basic(inputs, d), Sep(d, e, 3))
    self.branch3 = nn.Sequential(nn.MaxPool3d(3, 1, 1), Basic(inputs, f))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    branches = (self.branch0, self.branch1, self.branch2, self.branch3)
    return torch.cat([branch(x) for branch in branches], dim=1)


class Encoder(nn.Module):
  """The S3D encoder in four stages."""

  def __init__(self) -> None:
    super().__init__()
    pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
    self.base1 = nn.Sequential(Sep(3, 64, 7, 2), pool, Basic(64, 64), Sep(64, 192, 3))
    self.base2 = nn.Sequential(*(Mixed(*_MIXED[name]) for name in ("3b", "3c")))
    self.base3 = nn.Sequential(*(Mixed(*_MIXED[f"4{name}"]) for name in "bcdef"))
    self.base4 = nn.Sequential(*(Mixed(*_MIXED[name]) for name in ("5b", "5c")))

  def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
    base1 = self.base1(x)
    base2 = self.base2(F.max_pool3d(base1, (1, 3, 3), (1, 2, 2), (0, 1, 1)))
    base3 = self.base3(F.max_pool3d(base2, 3, 2, 1))
    return [base1, base2, base3, self.base4(F.max_pool3d(base3, 2, 2))]


class S3D(nn.Module):
  """The S3D classifier, with the names of the Kinetics-400 file."""

  def __init__(self) -> None:
    super().__init__()
    pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
    self.base = nn.Sequential(
      Sep(3, 64, 7, 2),
      pool,
      Basic(64, 64),
      Sep(64, 192, 3),
      pool,
      *(Mixed(*_MIXED[name]) for name in ("3b", "3c")),
      nn.MaxPool3d(3, 2, 1),
      *(Mixed(*_MIXED[f"4{name}"]) for name in "bcdef"),
      nn.MaxPool3d(2, 2),
      *(Mixed(*_MIXED[name]) for name in ("5b", "5c")),
    )
    self.fc = nn.Sequential(nn.Conv3d(1024, 400, 1))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = self.base(x)
    return self.fc(F.avg_pool3d(x, (2, *x.shape[3:]), 1)).flatten(2).mean(2)


class TASEDNet(Encoder):
  def __init__(self) -> None:
    super().__init__()

    def up(inputs: int, outputs: int) -> list[nn.Module]:
      conv = nn.ConvTranspose3d(inputs, outputs, (1, 3, 3), padding=(0, 1, 1), bias=False)
      return [conv, _norm(outputs), nn.ReLU()]

    def double(inputs: int, outputs: int) -> nn.Module:
      return nn.ConvTranspose3d(inputs, outputs, (1, 4, 4), (1, 2, 2), (0, 1, 1), bias=False)

    def shorten(channels: int) -> nn.Module:
      return nn.Conv3d(channels, channels, (2, 1, 1), (2, 1, 1), bias=False)

    first = [nn.Conv3d(1024, 1024, 1, bias=False), _norm(1024), nn.ReLU()]
    self.convtsp1 = nn.Sequential(*first, *up(1024, 832))
    self.convtsp2 = nn.Sequential(*up(832, 480))
    self.convtsp3 = nn.Sequential(*up(480, 192))
    self.convtsp4 = nn.Sequential(
      *(double(192, 64), _norm(64), nn.ReLU()),
      *(shorten(64), _norm(64), nn.ReLU()),
      *(nn.ConvTranspose3d(64, 4, 1, bias=False), _norm(4), nn.ReLU()),
      *(shorten(4), _norm(4), nn.ReLU()),
      double(4, 4),
      nn.Conv3d(4, 1, 1),
    )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    wide, exact = ((1, 3, 3), (1, 2, 2), (0, 1, 1)), ((1, 2, 2), (1, 2, 2))

    def switches(x: torch.Tensor) -> torch.Tensor:
      return F.max_pool3d(F.max_pool3d(x, (4, 1, 1)), *wide, return_indices=True)[1]

    base1 = self.base1(x)
    base2 = self.base2(F.max_pool3d(base1, *wide))
    base3 = self.base3(F.max_pool3d(base2, 3, 2, 1))
    pooled = F.max_pool3d(base3, (2, 1, 1))
    pooled, switches3 = F.max_pool3d(pooled, *exact, return_indices=True)
    x = F.max_unpool3d(self.convtsp1(self.base4(pooled)), switches3, *exact)
    size = (*x.shape[:1], 480, x.shape[2], *base2.shape[3:])
    x = F.max_unpool3d(self.convtsp2(x), switches(base2), *wide, output_size=size)
    size = (*x.shape[:1], 192, x.shape[2], *base1.shape[3:])
    x = F.max_unpool3d(self.convtsp3(x), switches(base1), *wide, output_size=size)
    return torch.sigmoid(self.convtsp4(x))[:, 0, 0]


class ViNet(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.backbone = Encoder()
    self.decoder = ViNetDecoder()

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return self.decoder(*self.backbone.stages(x))


class ViNetDecoder(nn.Module):
  def __init__(self) -> None:
    super().__init__()

    def conv(inputs: int, outputs: int, t: int, k: int = 3) -> nn.Module:
      p = k // 2
      return nn.Conv3d(inputs, outputs, (t, k, k), (t, 1, 1), (0, p, p), bias=False)

    def layer(inputs: int, outputs: int, t: int) -> list[nn.Module]:
      return [conv(inputs, outputs, t), nn.ReLU(), nn.Upsample(None, (1, 2, 2), "trilinear")]

    self.convtsp1 = nn.Sequential(*layer(1024, 832, 1))
    self.convtsp2 = nn.Sequential(*layer(832, 480, 3))
    self.convtsp3 = nn.Sequential(*layer(480, 192, 5))
    self.convtsp4 = nn.Sequential(
      *layer(192, 64, 5),
      *layer(64, 32, 2),
      *(conv(32, 32, 2, 1), nn.ReLU()),
      nn.Conv3d(32, 1, 1),
    )

  def forward(self, base1, base2, base3, base4) -> torch.Tensor:
    x = self.convtsp1(base4)
    x = self.convtsp2(torch.cat([x, base3], dim=2))
    x = self.convtsp3(torch.cat([x, base2], dim=2))
    x = self.convtsp4(torch.cat([x, base1], dim=2))
    return torch.sigmoid(x)[:, 0, 0]


class STSANet(Encoder):
  _SIZES = ((56, 96), (28, 48), (14, 24), (7, 12))
  branch3_beh_0: nn.Module
  readout_1: nn.Module
  readout_2: nn.Module

  def __init__(self) -> None:
    super().__init__()
    inputs, outputs = (192, 480, 832, 1024), (192, 240, 416, 512)
    embeddings = ((96, 96), (224, 128), (416, 208), (512, 256))
    for level, k in enumerate((4, 4, 2)):
      c = inputs[level]
      self._add(f"branch{level}_pre", nn.Conv3d(c, c, (k, 1, 1), (k, 1, 1)), nn.ReLU())
    for level, (c, d) in enumerate(zip(inputs, outputs)):
      self._add(f"branch{level}_mid", _space(c, d), nn.ReLU())
      for part in (0, 1, 2):
        channels, e = (d, embeddings[level][1]) if part == 2 else (c, embeddings[level][0])
        for side in "ab":
          name = f"branch{level}_{part}_{side}"
          for kind in "qk":
            first = nn.Conv3d(channels, e, 1)
            self._add(f"{name}_{kind}", first, nn.ReLU(), _space(e, e), nn.ReLU())
          rows = nn.Conv3d(channels, channels, (1, 3, 1), padding=(0, 1, 0))
          columns = nn.Conv3d(channels, channels, (1, 1, 3), padding=(0, 0, 1))
          self._add(f"{name}_v", rows, nn.ReLU(), columns, nn.ReLU())
      for layer, channels in enumerate((c, d)):
        setattr(self, f"ln_{level}_{layer}", nn.LayerNorm([channels, 4, *self._SIZES[level]]))
    self._add("branch3_beh_0", _space(512, 416), nn.ReLU(), _double())
    for i, (c, d) in enumerate(((416, 240), (240, 192), (192, 192))):
      self._add(f"SA_{i}", nn.Conv3d(2 * c, 1, 1), nn.Sigmoid())
      squeeze, excite = nn.Conv3d(2 * c, c // 2, 1), nn.Conv3d(c // 2, 2 * c, 1)
      norm = nn.LayerNorm([c // 2, 4, 1, 1])
      pool = nn.AdaptiveAvgPool3d((4, 1, 1))
      self._add(f"CA_{i}", pool, squeeze, norm, nn.ReLU(), excite, nn.Sigmoid())
      self._add(f"inc_{i}_0", nn.Conv3d(c, d, 1))
      for branch, k in ((1, 3), (2, 5)):
        time = nn.Conv3d(c, d, (3, 1, 1), padding=(1, 0, 0))
        self._add(f"inc_{i}_{branch}", time, nn.ReLU(), _space(d, d, k))
      self._add(f"inc_{i}_3", nn.MaxPool3d(3, 1, 1), nn.Conv3d(c, d, 1))
    self._add("readout_1", _space(192, 64), nn.ReLU(), _double())
    self._add(
      "readout_2",
      *(nn.Conv3d(64, 32, (2, 3, 3), (2, 1, 1), (0, 1, 1)), nn.ReLU()),
      *(nn.Conv3d(32, 32, (2, 1, 1), (2, 1, 1), bias=False), nn.ReLU()),
      *(_space(32, 1), nn.Sigmoid()),
    )

  def _add(self, name: str, *modules: nn.Module) -> None:
    setattr(self, name, nn.Sequential(*modules))

  def _attend(self, level: int, part: int, a: torch.Tensor, b: torch.Tensor):
    def embed(x: torch.Tensor, side: str) -> list[torch.Tensor]:
      name = f"branch{level}_{part}_{side}"
      return [getattr(self, f"{name}_{kind}")(x).flatten(2).transpose(1, 2) for kind in "qkv"]

    (query_a, key_a, value_a), (query_b, key_b, value_b) = embed(a, "a"), embed(b, "b")
    new_a = torch.softmax(query_b @ key_a.transpose(1, 2), dim=-1) @ value_a
    new_b = torch.softmax(query_a @ key_b.transpose(1, 2), dim=-1) @ value_b
    return [x.transpose(1, 2).reshape(a.shape) for x in (new_a, new_b)]

  def _layer(self, level: int, layer: int, x: torch.Tensor) -> torch.Tensor:
    if level == 0:
      y, switches = F.max_pool3d(x, (1, 2, 2), (1, 2, 2), return_indices=True)
      y = F.max_unpool3d(self._attend_all(level, layer, y), switches, (1, 2, 2), (1, 2, 2))
    else:
      y = self._attend_all(level, layer, x)
    return x + getattr(self, f"ln_{level}_{layer}")(y)

  def _attend_all(self, level: int, layer: int, x: torch.Tensor) -> torch.Tensor:
    if layer == 0:
      a, b, c, d = x.split(1, dim=2)
      return torch.cat([*self._attend(level, 0, a, b), *self._attend(level, 1, c, d)], dim=2)
    a, b = x.split(2, dim=2)
    return torch.cat(self._attend(level, 2, a, b), dim=2)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    levels = self.stages(x)
    for level, x in enumerate(levels):
      if level < 3:
        x = getattr(self, f"branch{level}_pre")(x)
      x = getattr(self, f"branch{level}_mid")(self._layer(level, 0, x))
      levels[level] = self._layer(level, 1, x)
    x = self.branch3_beh_0(levels[3])
    for i, low in enumerate(levels[2::-1]):
      both = torch.cat([x, low], dim=1)
      weights = getattr(self, f"CA_{i}")(both * getattr(self, f"SA_{i}")(both))
      weight_high, weight_low = weights.chunk(2, dim=1)
      x = x * weight_high + low * weight_low
      a, b, c, d = (getattr(self, f"inc_{i}_{branch}")(x) for branch in range(4))
      x = F.relu(a + b + c + d)
      x = F.interpolate(x, scale_factor=(1, 2, 2), mode="trilinear")
    return self.readout_2(self.readout_1(x))[:, 0, 0]


class TSFPNet(nn.Module):
  def __init__(self) -> None:
    super().__init__()
    self.backbone = Encoder()
    self.pyramid = nn.Module()
    for level, (c, k) in enumerate(zip((192, 480, 832, 1024), (4, 4, 2, 1)), start=1):
      setattr(self.pyramid, f"lateral{level}", nn.Conv3d(c, 192, (k, 1, 1), (k, 1, 1)))
      decoder = nn.Module()
      convs = max(level - 1, 1)
      for i in range(1, convs + 1):
        conv = nn.Conv3d(192, 128 if i == convs else 192, 3, padding=1)
        setattr(decoder, f"conv{i}", conv)
      setattr(self, f"decoder{level}", decoder)
    self.output = nn.Conv3d(128, 1, (4, 3, 3), padding=(0, 1, 1))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    stages = self.backbone.stages(x)
    levels = [getattr(self.pyramid, f"lateral{i + 1}")(stage) for i, stage in enumerate(stages)]
    for i in (2, 1, 0):
      levels[i] = levels[i] + _doubled(levels[i + 1])
    decoded = []
    for level, x in enumerate(levels, start=1):
      for i in range(1, max(level, 2)):
        x = F.relu(getattr(getattr(self, f"decoder{level}"), f"conv{i}")(x))
        x = _doubled(x) if level > 1 else x
      decoded.append(x)
    logits = self.output(sum(decoded))[:, :, 0]
    logits = F.interpolate(logits, scale_factor=4, mode="bilinear")
    return torch.sigmoid(logits)[:, 0]


def _space(inputs: int, outputs: int, k: int = 3) -> nn.Conv3d:
  return nn.Conv3d(inputs, outputs, (1, k, k), padding=(0, k // 2, k // 2))


def _double() -> nn.Upsample:
  return nn.Upsample(None, (1, 2, 2), "trilinear")


def _doubled(x: torch.Tensor) -> torch.Tensor:
  return F.interpolate(x, scale_factor=(1, 2, 2), mode="trilinear")


PEERS = {
  "s3d": S3D,
  "tased": TASEDNet,
  "vinet": ViNet,
  "stsanet": STSANet,
  "tsfp": TSFPNet,
}
