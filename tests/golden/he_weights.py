"""Recipe of the pseudo-random weights, images and positions of the Inception-BN golden file.

Shared by `make_inception_bn.py` (which runs the PyTorch reference and writes the numbers) and
`tests/test_inception_bn_golden.py` (which builds the same arrays and compares the Keras network),
so that 45 MB of weights need not be stored. Only NumPy is used. Every array has its own generator,
`Generator(PCG64(crc32(name)))`, so the order in which arrays are made does not matter.

The values are chosen so that each of them matters: He-scaled convolutions keep the activations of
the order of 1 after the first layer, and against that the biases, the scales and shifts and the
running statistics are large enough to be seen in every block.
"""

import zlib

import numpy as np

# Order of the tensors that are compared, in the names of the network.
TENSORS = (
    "pool1_3x3_s2",
    "pool2_3x3_s2",
    "inception_3a_output",
    "inception_3b_output",
    "inception_3c_output",
    "inception_4a_output",
    "inception_4b_output",
    "inception_4c_output",
    "inception_4d_output",
    "inception_4e_output",
    "inception_5a_output",
    "inception_5b_output",
)

# key: (number of images, height, width), evaluation mode. 227 gives odd maps (114, 57, 28, ...).
CASES = {
    "224": (1, 224, 224),
    "227": (1, 227, 227),
    "64": (2, 64, 64),
    "96x160": (2, 96, 160),
}
TRAIN_CASE = (4, 64, 64)
TRAIN_BNS = ("conv1_7x7_s2_bn", "inception_5b_3x3_bn")
POSITIONS = 256
LOGITS = 256

MEAN_BGR = np.array([104.0, 117.0, 128.0], dtype=np.float32)


def generator(name):
    """A random generator that depends on the name only."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode("ascii"))))


def weights(name, shape):
    """The float32 array of a state-dict name such as `inception_3a_1x1_bn.running_var`.

    `shape` is the PyTorch shape: OIHW for convolutions, (out, in) for the linear layer.
    """
    shape = tuple(int(n) for n in shape)
    layer, kind = name.rsplit(".", 1)
    rng = generator(name)
    # The first layer sees pixels, whose mean square is a few thousand, all others see order 1.
    scale = 80.0 if layer == "conv1_7x7_s2_bn" else 1.0
    if layer.endswith("_bn"):
        if kind == "weight":
            values = rng.uniform(0.6, 1.4, shape)
        elif kind == "bias":
            values = 0.2 * rng.standard_normal(shape)
        elif kind == "running_mean":
            values = 0.3 * scale * rng.standard_normal(shape)
        elif kind == "running_var":
            values = scale**2 * rng.uniform(0.4, 2.0, shape)
        else:
            raise ValueError(f"unknown kind of weight: {name}")
    elif kind == "weight":
        fan_in = int(np.prod(shape[1:]))
        values = np.sqrt(2.0 / fan_in) * rng.standard_normal(shape)
    elif kind == "bias":
        # Larger in the first layer, or it would vanish beside the pixels.
        values = (10.0 if layer == "conv1_7x7_s2" else 0.2) * rng.standard_normal(shape)
    else:
        raise ValueError(f"unknown kind of weight: {name}")
    return values.astype(np.float32)


def digest(array):
    """A position-dependent float64 sum, which tells whether two arrays are the same recipe."""
    flat = np.asarray(array, dtype=np.float64).ravel()
    return float(np.sum(flat * (1.0 + np.arange(flat.size) % 97)))


def _upsample(coarse, size, axis):
    """Linear interpolation of an axis to `size` points, end points included."""
    n = coarse.shape[axis]
    at = np.arange(size) * (n - 1) / (size - 1)
    low = np.minimum(at.astype(np.int64), n - 2)
    shape = [1] * coarse.ndim
    shape[axis] = size
    t = (at - low).reshape(shape)
    return np.take(coarse, low, axis) * (1 - t) + np.take(coarse, low + 1, axis) * t


def images(name, batch, height, width):
    """Smooth colours plus noise, as the network takes them: float32 NHWC, BGR minus the mean."""
    rng = generator(f"images:{name}")
    smooth = rng.uniform(-40.0, 295.0, (batch, 7, 6, 3))
    smooth = _upsample(_upsample(smooth, height, 1), width, 2)
    noise = 25.0 * rng.standard_normal((batch, height, width, 3))
    pixels = np.clip(np.rint(smooth + noise), 0, 255).astype(np.float32)
    return pixels - MEAN_BGR


def positions(name, shape):
    """`POSITIONS` flat indices into an NHWC tensor: half anywhere, half on its four borders.

    The borders are where a wrong padding shows first.
    """
    n, height, width, channels = (int(s) for s in shape)
    rng = generator(f"positions:{name}")
    image = rng.integers(0, n, POSITIONS)
    row = rng.integers(0, height, POSITIONS)
    column = rng.integers(0, width, POSITIONS)
    channel = rng.integers(0, channels, POSITIONS)
    eighth = POSITIONS // 8
    row[:eighth] = 0
    row[eighth : 2 * eighth] = height - 1
    column[2 * eighth : 3 * eighth] = 0
    column[3 * eighth : 4 * eighth] = width - 1
    return ((image * height + row) * width + column) * channels + channel
