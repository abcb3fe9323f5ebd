"""A PyTorch file of Inception-BN becomes a `.weights.h5` file of Keras."""

from pathlib import Path
from typing import NamedTuple

from mdl_tf.backbones import state_dict, weights
from mdl_tf.backbones.inception_bn import InceptionBN
from mdl_tf.files import replacing


class Converted(NamedTuple):
    """What was converted.

    arrays: how many arrays the file has. classes: size of its top, `None` if it has none. sha256:
    of the file, hexadecimal. published: whether that is the one of the published weights.
    """

    arrays: int
    classes: int | None
    sha256: str
    published: bool


def convert_weights(source, destination):
    """Convert a PyTorch file of Inception-BN, without PyTorch.

    Args:
        source: path of a file that `InceptionBN(weights=...)` takes, not of Keras.
        destination: path to write, ending in `.weights.h5`; it must not exist yet. With the top,
            if the source has one; `InceptionBN(weights=destination)` takes it with and without.

    Returns:
        A `Converted`.

    Raises:
        ValueError: if the source is no such file or the destination cannot be written.
    """
    source, destination = Path(source).expanduser(), Path(destination).expanduser()
    if not source.is_file():
        raise ValueError(f"`source` must be a file that exists. Received: source={source}")
    if source.suffix in state_dict.KERAS_SUFFIXES:
        raise ValueError(
            "`source` must be a PyTorch file of Inception-BN, and comes before `destination`. "
            f"Received: source={source}, a file of Keras"
        )
    if not destination.name.endswith(".weights.h5"):
        raise ValueError(
            f"`destination` must end in .weights.h5. Received: destination={destination}"
        )
    if destination.exists():
        raise ValueError(
            f"`destination` must not exist yet. Received: destination={destination}, which does"
        )
    arrays = weights.read(source)
    top = arrays.get(f"{weights.TOP}.weight")
    classes = len(top) if top is not None and top.ndim == 2 else None
    network = InceptionBN(
        include_top=top is not None, input_shape=(None, None, 3), classes=classes or 1
    )
    weights.assign(network, arrays, source)
    try:
        with replacing(destination) as temporary:
            network.save_weights(str(temporary))
    except OSError as error:
        raise ValueError(
            f"`destination` must be in a folder that can be written. Received: {error}"
        ) from error
    sha256 = state_dict.sha256(source)
    return Converted(len(arrays), classes, sha256, sha256 == weights.SHA256)
