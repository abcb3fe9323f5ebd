"""The features of a network that is not trained: computed once, and found again by content.

A file holds the features of some hundred images, and the digests that tell the images apart: what
is in the image file, its box, its size. So a kill costs one file, and another split, loss or folder
of the same images finds what is there.
"""

import contextlib
import dataclasses
import hashlib
import json
import secrets

import numpy as np

from mdl_tf.embedding import embed
from mdl_tf.embedding.parts import feature_model
from mdl_tf.files import data_folder, replacing
from mdl_tf.images import cache as image_cache
from mdl_tf.images import views
from mdl_tf.progress import ProgressLine
from mdl_tf.reading import read_arrays
from mdl_tf.runs.data import ordered_stream

_VERSION = 1  # raise when features change for equal images and weights
_PART = 512  # images of a file


def featurize(config, data, model, stream=None):
    """The data of a config as the features that its frozen network makes of them.

    Args:
        config: the `TrainConfig`.
        data: its `Data` of images.
        model: the embedder; what is before its embedding layer makes the features.
        stream: where progress goes. Defaults to standard output.

    Returns:
        A `Data` of features, of the same classes in the same order.

    Raises:
        ValueError: if a file has been replaced since it was examined.
    """
    network = feature_model(model)
    store = _Store(network)
    sides = {
        name: None if part is None else _with_features(config, part, network, store, stream)
        for name, part in data.sides.items()
    }
    return data._replace(**sides)


def _with_features(config, image_set, network, store, stream):
    view = views.view(config.augment, (config.image_size, config.image_size))
    digests = list(image_cache.digests(image_set, view))
    known = store.find(digests)
    missing = np.array([i for i, digest in enumerate(digests) if digest not in known], np.int64)
    with ProgressLine(f"Embed {image_set.name}", len(digests), stream) as line:
        for start in range(0, len(missing), _PART):
            part = missing[start : start + _PART]
            done = len(digests) - len(missing) + start
            # In their order, classes aside: labels are those of the whole set.
            images = ordered_stream(image_set.unlabelled(part), config, stream)
            features, _ = embed(
                network, images, progress=lambda count, _, done=done: line(done + count)
            )
            names = [digests[i] for i in part]
            if image_set.paths is not None:
                # Kept under a wrong name they would be taken for those of the old file for ever.
                image_cache.check_unchanged(image_set, view, part, names)
            store.add(names, features)
            known.update(zip(names, features, strict=True))
        line(len(digests))
    return dataclasses.replace(
        image_set,
        images=None,
        paths=None,
        boxes=None,
        slow=None,
        digests=None,
        features=np.stack([known[digest] for digest in digests]),
    )


class _Store:
    """Features by digest, in files of a folder that stands for network and weights."""

    def __init__(self, network):
        self._folder = data_folder() / "features" / _digest(network)

    def find(self, digests):
        """The features that are there, a dict from digest to `(F,)` float32."""
        wanted, found = set(digests), {}
        for path in sorted(self._folder.glob("*.npz")):
            # A damaged file is as none.
            with contextlib.suppress(OSError, ValueError, LookupError):
                part = read_arrays(path, ("digests", "features"))
                names, features = part["digests"].tolist(), part["features"]
                fits = features.ndim == 2 and features.dtype == np.float32
                if fits and len(names) == len(features) and np.isfinite(features).all():
                    rows = zip(names, features, strict=True)
                    found.update((name, row) for name, row in rows if name in wanted)
        return found

    def add(self, digests, features):
        """Keep features; where the folder cannot be written they are computed again next time."""
        path = self._folder / f"{secrets.token_hex(8)}.npz"
        with contextlib.suppress(OSError), replacing(path) as temporary:
            with open(temporary, "wb") as file:
                np.savez(file, digests=np.array(digests), features=features)


def _digest(network):
    """What a network makes of an image depends on: its layers, their order and their weights."""
    try:
        text = json.dumps(network.get_config(), default=str, sort_keys=True)
    except NotImplementedError:
        # A network of somebody's own that does not tell: its features are not found again.
        return secrets.token_hex(16)
    # A counter gives names, which are others in another process.
    for i, name in enumerate(_names(network)):
        text = text.replace(f'"{name}"', f'"#{i}"')
    digest = hashlib.sha256(f"{_VERSION} {text}".encode())
    for weight in network.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:32]


def _names(part):
    """The names of a model, of its operations and of those inside them."""
    yield part.name
    for inner in getattr(part, "operations", None) or getattr(part, "layers", ()):
        yield from _names(inner)
