"""Networks from images to maps, with the units of their input; `build` makes any by name."""

from mdl_tf.backbones.conv4 import Conv4
from mdl_tf.backbones.efficientnet_lite import (
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
)
from mdl_tf.backbones.features import Features
from mdl_tf.backbones.inception_bn import InceptionBN
from mdl_tf.backbones.named import build, native_size

__all__ = [
    "Conv4",
    "EfficientNetLite0",
    "EfficientNetLite1",
    "EfficientNetLite2",
    "Features",
    "InceptionBN",
    "build",
    "native_size",
]
