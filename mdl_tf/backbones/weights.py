"""Weight files of Inception-BN: the published one fetched, any one recognised, checked, loaded."""

import contextlib
import http.client
import os
import re
import shutil
import urllib.request
from pathlib import Path

from mdl_tf.backbones import look_alikes, state_dict
from mdl_tf.backbones.fitting import load_weights
from mdl_tf.backbones.state_dict import sha256
from mdl_tf.files import data_folder, replacing, temporary_folder

# Trained by Y. Xiong on ILSVRC 2012 with Caffe, ported by R. Cadene to PyTorch.
FILE = "bn_inception-52deb4733.pth"
SHA256 = "52deb473314542a5c2f87e9e6f26f4ca42fe863d15f986414dbae8c2dfdd2353"
# Tried in this order; whatever comes is checked. None was downloaded where this was written, which
# reaches no such host. The first is named by nearly all public code, and its server is known to be
# down for weeks. The second is the Internet Archive's copy of it; of two other files of that folder
# somebody found whole copies there. The third is named by two public repositories.
SOURCES = (
    f"http://data.lip6.fr/cadene/pretrainedmodels/{FILE}",
    f"https://web.archive.org/web/2020id_/http://data.lip6.fr/cadene/pretrainedmodels/{FILE}",
    "https://drive.google.com/uc?export=download&id=1qDBfquYrfM9Msl2q57jxzl9w0y7qwnn0",
)
TIMEOUT = 30  # seconds without a byte, after which the next source is tried

TOP = "last_linear"
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
    else:
        state_dict.load(
            model, weights, "inception_bn", lambda path: assign(model, read(path), path)
        )


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
    except OSError as error:
        raise ValueError(f"`weights`: {error}") from error
    arrays = {} if alike else state_dict.read(path)
    alike = alike or look_alikes.of_names(arrays)
    if alike:
        raise ValueError(
            f"`weights` must be of the Caffe layout of Inception-BN, as published in {FILE}. "
            f"Received: {path}, which is {alike}"
        )
    return {
        name: array[0] if _is_norm(name) and array.ndim == 2 and len(array) == 1 else array
        for name, array in arrays.items()
    }


def _is_norm(name):
    return re.search(r"_bn\.\w+$", name)


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
    state_dict.assign(
        model, arrays, path, network="Inception-BN", published=lambda layer: layer, top=TOP
    )


def _load_published(model):
    """Load ImageNet weights; the file is fetched and converted the first time."""
    top = model.layers[-1].name == TOP
    folder = data_folder() / "models"
    part = "" if top else "_notop"
    converted = folder / f"{Path(FILE).stem}{part}-{ORDER}.weights.h5"
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
    path = folder / FILE
    if path.is_file():
        digest = sha256(path)
        if digest != SHA256:
            raise ValueError(
                f"`weights` 'imagenet' needs the file {path} to have the sha256 {SHA256}: move "
                f"this one away, and it is fetched. Received: a file with sha256 {digest}"
            )
        return path
    answers = []
    for source in SOURCES:
        try:
            # Apart until it is whole: another process may want it too.
            with temporary_folder(folder, FILE) as apart:
                os.replace(_download(source, Path(apart) / FILE), path)
            return path
        except (OSError, ValueError, http.client.HTTPException) as error:
            answers.append(f"{source}: {error or type(error).__name__}")
    raise ValueError(
        f"`weights` 'imagenet' needs {FILE} (45 MB, sha256 {SHA256}), which could not be fetched. "
        f"Try again later, or put the file into {folder}, or give its path as weights "
        "(--weights FILE), or take backbone='efficientnet_lite0', whose weights come with pip. "
        f"Received: {'; '.join(answers)}"
    )


def _download(source, path):
    with urllib.request.urlopen(source, timeout=TIMEOUT) as response, open(path, "wb") as file:
        print(f"Fetching {FILE} (45 MB) from {source}")
        shutil.copyfileobj(response, file)
    digest = sha256(path)
    if digest != SHA256:
        raise ValueError(f"{path.stat().st_size:,} bytes that have sha256 {digest}")
    return path
