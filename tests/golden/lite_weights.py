"""Recipe of the pseudo-random weights and images of the EfficientNet-Lite golden file.

Shared by `make_efficientnet_lite.py`, which runs the PyTorch network, and
`tests/backbones/test_efficientnet_lite.py`, so that no weights need be stored. The generators, the
interpolation of the images and the positions are those of `he_weights.py`.

Convolutions of He's scale and variances above 1 keep the activations of the order of 1, so that
rounding is not amplified from block to block; the shifts are so large that ReLU6 cuts 2 % off.
"""

import he_weights
import numpy as np

NETWORKS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
# network: sizes (images, height, width). The first is the size of its training; 97 has odd maps
# (49, 25, 13, 7, 4), where the padding is uneven.
CASES = {
    "efficientnet_lite0": ((1, 224, 224), (1, 112, 112), (2, 97, 97), (2, 64, 96)),
    "efficientnet_lite1": ((1, 240, 240), (2, 97, 97)),
    "efficientnet_lite2": ((1, 260, 260), (2, 97, 97)),
}
TRAIN_CASE = ("efficientnet_lite0", (4, 64, 64))
POSITIONS = 64
LOGITS = 64


def case_name(network, shape):
    """Such as `efficientnet_lite0_97x97`."""
    return f"{network}_{shape[1]}x{shape[2]}"


def weights(network, name, shape):
    """The float32 array of a state-dict name such as `_blocks.0._bn1.running_var`.

    `shape` is the PyTorch shape: OIHW for convolutions, (out, in) for the linear layer.
    """
    shape = tuple(int(n) for n in shape)
    layer, kind = name.rsplit(".", 1)
    rng = he_weights.generator(f"{network}:{name}")
    if "_bn" in layer:
        if kind == "weight":
            values = rng.uniform(0.6, 1.4, shape)
        elif kind == "bias":
            values = 1.5 * rng.standard_normal(shape)
        elif kind == "running_mean":
            values = 0.3 * rng.standard_normal(shape)
        elif kind == "running_var":
            values = rng.uniform(1.0, 3.0, shape)
        else:
            raise ValueError(f"unknown kind of weight: {name}")
    elif kind == "weight":
        values = np.sqrt(2.0 / np.prod(shape[1:])) * rng.standard_normal(shape)
    elif kind == "bias":
        values = 0.2 * rng.standard_normal(shape)
    else:
        raise ValueError(f"unknown kind of weight: {name}")
    return values.astype(np.float32)


def images(network, shape):
    """Smooth colours plus noise, float32 NHWC, RGB in 0..255."""
    bgr = he_weights.images(case_name(network, shape), *shape)
    return (bgr + he_weights.MEAN_BGR)[..., ::-1].astype(np.float32)


def positions(name, shape):
    """`POSITIONS` flat indices into an NHWC tensor, a part of them on its borders."""
    return he_weights.positions(name, shape)[:: he_weights.POSITIONS // POSITIONS]
