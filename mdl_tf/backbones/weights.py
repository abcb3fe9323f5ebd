"""Weight files of Inception-BN: the published one fetched, any one recognised, checked, loaded."""

import contextlib
import hashlib
import os
import re
from pathlib import Path

import keras
import numpy as np

from mdl_tf.backbones import look_alikes, torch_file
from mdl_tf.backbones.fitting import load_weights
from mdl_tf.files import data_folder, replacing, temporary_folder
from mdl_tf.words import clean, first_few

# Trained by Y. Xiong on ILSVRC 2012 with Caffe, ported by R. Cadene to PyTorch.
URL = "http://data.lip6.fr/cadene/pretrainedmodels/bn_inception-52deb4733.pth"
SHA256 = "52deb473314542a5c2f87e9e6f26f4ca42fe863d15f986414dbae8c2dfdd2353"
CLASSES = 1000

TOP = "last_linear"
KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")
ORDER = 1  # of the layers, by which Keras's files go; another number if it ever changes


def load(model, weights):
    """Set all weights of an Inception-BN.

    Args:
        model: what `InceptionBN` builds, with or without top.
        weights: `"imagenet"`, or the path of a `.weights.h5` file or of a PyTorch file.

    Raises:
        ValueError: if the file is missing, is none of the two, is one of another network, or does
            not fit; if `"imagenet"` cannot be fetched. After a `.weights.h5` that does not fit the
            model may hold a part of it.
    """
    if weights == "imagenet":
        _load_published(model)
        return
    path = Path(weights).expanduser() if isinstance(weights, str | os.PathLike) else None
    if path is None or not path.is_file():
        raise ValueError(
            "`weights` must be None, 'imagenet', or a file that exists. "
            f"Received: weights={weights if path is None else str(weights)!r}"
        )
    if path.name.endswith(".weights.h5"):
        load_weights(model, path, "inception_bn")
    elif path.suffix in KERAS_SUFFIXES:
        raise ValueError(
            "`weights` must be a PyTorch file, or a file of Keras that is named NAME.weights.h5. "
            f"Received: weights={str(path)!r}"
        )
    else:
        assign(model, read(path), path)


def read(path):
    """The arrays of a PyTorch file, without running anything that is in it.

    Both forms of `torch.save`. The older variant, whose batch normalisations are `[1, C]`, becomes
    `[C]`; counters of batches, which the network does not use, are left out.

    Args:
        path: of a file that holds a state dict.

    Returns:
        A dict from names such as `inception_3a_1x1.weight` to arrays in PyTorch's order of axes.

    Raises:
        ValueError: if it is no such file, or one of a look-alike network.
    """
    try:
        alike = look_alikes.of_file(path)
        arrays = {} if alike else torch_file.read(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"`weights`: {error}") from error
    alike = alike or look_alikes.of_names(arrays)
    if alike:
        raise _another_network(path, alike)
    known = {}
    for name, array in arrays.items():
        if name.endswith(".num_batches_tracked"):
            continue
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            what = f"{array.dtype} array" if isinstance(array, np.ndarray) else type(array).__name__
            hint = "; save that alone" if isinstance(array, dict) else ""
            raise ValueError(
                "`weights` must be a file of a state dict: names of layers and arrays of floats "
                f"alone. Received: {path}, with the {what} {clean(name, 100)!r}{hint}"
            )
        is_norm = re.search(r"_bn\.\w+$", name)
        known[name] = array[0] if is_norm and array.ndim == 2 and len(array) == 1 else array
    return known


def assign(model, arrays, path):
    """Set all weights of an Inception-BN from the arrays of a PyTorch file.

    Args:
        model: what `InceptionBN` builds; without top, arrays of the top are passed over.
        arrays: what `read` returns.
        path: of the file, for messages.

    Raises:
        ValueError: if names are missing or superfluous, if a shape is wrong, or a number not
            finite. The model is then as it was.
    """
    wanted = {layer.name: _names(layer) for layer in model.layers if layer.weights}
    names = [name for group in wanted.values() for name in group]
    missing = [name for name in names if name not in arrays]
    known = {*names, f"{TOP}.weight", f"{TOP}.bias"}
    extra = [name for name in arrays if name not in known]
    if missing or extra:
        parts = [
            f"{how} {first_few([clean(name, 100) for name in some], 3)}"
            for how, some in (("without", missing), ("with", extra))
            if some
        ]
        raise ValueError(
            f"`weights` must hold the weights of Inception-BN and nothing else. Received: {path}, "
            f"{' and '.join(parts)}"
        )
    values = {}
    for layer_name, group in wanted.items():
        shapes = [tuple(w.shape) for w in model.get_layer(layer_name).weights]
        values[layer_name] = [
            _fitting(arrays[name], name, shape, path)
            for name, shape in zip(group, shapes, strict=True)
        ]
    for layer_name, arrays_of_layer in values.items():
        model.get_layer(layer_name).set_weights(arrays_of_layer)


def _names(layer):
    """The published names of a layer's weights, in Keras's order."""
    kinds = ["weight", "bias"]
    if isinstance(layer, keras.layers.BatchNormalization):
        kinds += ["running_mean", "running_var"]
    return [f"{layer.name}.{kind}" for kind in kinds]


def _fitting(array, name, shape, path):
    # PyTorch keeps kernels as (out, in, height, width) and (out, in).
    value = np.transpose(array, {4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim))
    if value.shape != shape:
        order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(shape), range(len(shape)))
        expected = tuple(shape[axis] for axis in order)
        raise ValueError(
            f"`weights` must hold {name} in the shape {expected}. "
            f"Received: {path}, with the shape {array.shape}"
        )
    if not np.isfinite(value).all():
        raise ValueError(f"`weights` must be finite. Received: {path}, NaN or infinity in {name}")
    return value


def _load_published(model):
    """Load ImageNet weights; the file is fetched and converted the first time."""
    top = model.layers[-1].name == TOP
    folder = data_folder() / "models"
    part = "" if top else "_notop"
    converted = folder / f"{Path(URL).stem}{part}-{ORDER}.weights.h5"
    if converted.is_file():
        # Else it is damaged, and converted again.
        with contextlib.suppress(ValueError):
            load_weights(model, converted, "inception_bn")
            return
    path = _fetch(folder)
    assign(model, read(path), path)
    # Where the folder can only be read, the file is converted again next time.
    with contextlib.suppress(OSError), replacing(converted) as temporary:
        model.save_weights(str(temporary))


def _fetch(folder):
    path = folder / Path(URL).name
    if path.is_file():
        digest = sha256(path)
        if digest != SHA256:
            raise ValueError(
                f"`weights` 'imagenet' needs the file {path} to have the sha256 {SHA256}: move "
                f"this one away, and it is fetched. Received: a file with sha256 {digest}"
            )
        return path
    try:
        # Apart until it is whole: another process may want it too, and Keras writes it in place.
        with temporary_folder(folder, path.name) as apart:
            fetched = keras.utils.get_file(
                path.name,
                URL,
                file_hash=SHA256,
                hash_algorithm="sha256",
                cache_dir=str(apart),
                cache_subdir="",
            )
            os.replace(fetched, path)
    except Exception as error:  # Keras raises it bare
        raise ValueError(
            f"`weights` 'imagenet' needs {path.name} (45 MB, sha256 {SHA256}), which could not be "
            f"fetched. Try again later, or put the file into {folder}, or give its path as "
            f"weights. Received: {error}"
        ) from error
    return path


def sha256(path):
    """The SHA-256 of a file, hexadecimal.

    Args:
        path: of the file.
    """
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _another_network(path, alike):
    return ValueError(
        "`weights` must be of the Caffe layout of Inception-BN, as published in "
        f"{Path(URL).name}. Received: {path}, which is {alike}"
    )
