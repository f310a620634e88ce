"""The few layers that the networks share."""

from jaxsal.nn.conv import Conv, Conv2d, ConvTranspose, conv3d, conv_transpose3d
from jaxsal.nn.depthwise import DepthwiseConv
from jaxsal.nn.norm import BatchNorm
from jaxsal.nn.pool import max_pool3d
from jaxsal.nn.resize import resize, upsample
from jaxsal.nn.smooth import smooth
from jaxsal.nn.unpool import max_pool3d_with_switches, max_unpool3d

__all__ = [
  "BatchNorm",
  "Conv",
  "Conv2d",
  "ConvTranspose",
  "DepthwiseConv",
  "conv3d",
  "conv_transpose3d",
  "max_pool3d",
  "max_pool3d_with_switches",
  "max_unpool3d",
  "resize",
  "smooth",
  "upsample",
]
