"""The few layers that the networks share."""

from jaxsal.nn.conv import Conv, conv3d
from jaxsal.nn.norm import BatchNorm
from jaxsal.nn.pool import max_pool3d
from jaxsal.nn.resize import resize, upsample

__all__ = ["BatchNorm", "Conv", "conv3d", "max_pool3d", "resize", "upsample"]
