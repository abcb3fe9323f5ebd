"""Networks from images to maps; each file ends with the units of its input, `preprocess_input`."""

from mdl_tf.backbones.conv4 import Conv4
from mdl_tf.backbones.features import Features
from mdl_tf.backbones.inception_bn import InceptionBN

__all__ = ["Conv4", "Features", "InceptionBN"]
