"""What tensorflow-datasets gives: a prepared builder, its features, its examples as files."""

import difflib
import io
import warnings
from typing import NamedTuple

from mdl_tf.datasets.own.index import Example
from mdl_tf.words import clean

# What takes the place of `supervised_keys` in a builder that has none.
LABELS = {"stanford_online_products": "class_id"}


class Features(NamedTuple):
    """The names of the features to export; `box` may be `None`."""

    image: str
    label: str
    box: str | None


def prepared(name, data_dir=None, instead=None):
    """A builder of tensorflow-datasets, its data on disk; downloaded if they are not.

    Args:
        name: as for `tensorflow_datasets.builder`.
        data_dir: where its data may be, before tensorflow-datasets' own folder. Defaults to `None`.
        instead: the data set of `mdl_tf` that reads the original files. Defaults to `None`.

    Returns:
        A `tensorflow_datasets.core.DatasetBuilder`.

    Raises:
        ValueError: if it is unknown or cannot be prepared.
    """
    tfds = _tensorflow_datasets()
    # Code, the network, a disk and a manual download can all fail in it, each in its own way.
    try:
        places = [data_dir, None] if data_dir else [None]
        builders = [tfds.builder(name, data_dir=place and str(place)) for place in places]
        for builder in builders:
            if builder.is_prepared():
                return builder
        builders[0].download_and_prepare()
        return builders[0]
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(_unknown(tfds, name)) from error
    except Exception as error:
        raise ValueError(
            "`name` must be a builder of tensorflow-datasets that can be prepared. "
            f"{_advice(error, instead)}. Received: {name}, {_in_one_line(error)}"
        ) from error


def features(builder, label=None):
    """Which features of a builder are the image, its class and its box.

    Args:
        builder: of tensorflow-datasets.
        label: the feature that is the class. Defaults to `None`: the label of `supervised_keys`,
            or `label`, or the only class label.

    Returns:
        `Features`.

    Raises:
        ValueError: if there is not exactly one image, or not one class label.
    """
    tfds = _tensorflow_datasets()
    all_features = builder.info.features

    def of_kind(kind):
        named_features = all_features.items() if hasattr(all_features, "items") else ()
        return [name for name, feature in named_features if isinstance(feature, kind)]

    supervised = builder.info.supervised_keys or ()
    images = of_kind(tfds.features.Image)
    image = _one("image", images, ("image", *supervised[:1]))
    labels = of_kind(tfds.features.ClassLabel)
    if label is not None and label not in labels:
        raise ValueError(
            f"`name` must end in @ and a class label. Received: @{label}; "
            f"{builder.name} has {', '.join(sorted(labels)) or 'none'}"
        )
    usual = (*supervised[1:2], LABELS.get(builder.name), "label")
    label = label or _one("class label", labels, usual, " (choose one by NAME@LABEL)")
    boxes = of_kind(tfds.features.BBoxFeature)
    return Features(image, label, boxes[0] if len(boxes) == 1 else None)


def examples(builder, features, progress=None):
    """All images of a prepared builder as files: encoded as they are stored.

    Args:
        builder: of tensorflow-datasets.
        features: the `Features` to take.
        progress: a function of (done, total) in images. Defaults to `None`.

    Yields:
        `Example`s. Images without a label are left out, and boxes that are empty or not in 0..1,
        both with a warning.
    """
    tfds = _tensorflow_datasets()
    names = builder.info.features[features.label].names
    wanted = tfds.decode.PartialDecoding(
        {name: True for name in features if name},
        decoders={features.image: tfds.decode.SkipDecoding()},
    )
    splits = {name: split for name, split in builder.info.splits.items() if split.num_examples}
    total = sum(split.num_examples for split in splits.values())
    done = unlabelled = unboxed = 0
    for split in sorted(splits):
        dataset = builder.as_dataset(split=split, decoders=wanted, shuffle_files=False)
        for example in dataset.as_numpy_iterator():
            label, content = int(example[features.label]), example[features.image]
            done += 1
            if label < 0:  # hidden by the authors, as of the test of a competition
                unlabelled += 1
            else:
                path = f"{split}/{done - 1:07d}{_suffix(content)}"
                box = _pixels(example[features.box], content) if features.box else None
                unboxed += bool(features.box) and box is None
                yield Example(path, content, str(label), names[label], box)
            if progress:
                progress(done, total)
    for count, what in ((unlabelled, "images have no label"), (unboxed, "boxes are no boxes")):
        if count:
            warnings.warn(
                f"Left out of {builder.name}: {count:,} of {total:,} {what}.", stacklevel=2
            )


def _tensorflow_datasets():
    try:
        import tensorflow_datasets
    except ModuleNotFoundError as error:
        raise ValueError(
            "`name` must be a data set that can be read with the packages installed. "
            f"{_advice(error)}. Received: tfds, {_in_one_line(error)}"
        ) from error
    return tensorflow_datasets


def _advice(error, instead=None):
    cause = error
    while cause:
        # Such as importlib_resources, which tensorflow-datasets 4.9.10 imports when it first needs
        # it, and does not require.
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            return f"Install a package that is missing: pip install {cause.name.split('.')[0]}"
        cause = cause.__cause__ or cause.__context__
    if instead:
        return f"Use the data set {instead!r} with the original files instead"
    return "Prepare it by tensorflow-datasets alone, or give the images as 'folder' or 'csv'"


def _unknown(tfds, name):
    builder = name.split("/")[0].split(":")[0]
    known = tfds.list_builders(with_community_datasets=False)
    near = difflib.get_close_matches(builder, known, n=5)
    meant = f", near {', '.join(near)}" if near else ""
    return f"`name` must be a builder of tensorflow-datasets. Received: {builder}{meant}"


def _in_one_line(error):
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {clean(lines[0], 200)}"


def _one(what, names, usual, how=""):
    """The only one, else the first usual one."""
    if len(names) == 1:
        return names[0]
    for name in usual:
        if name in names:
            return name
    raise ValueError(
        f"`name` must be a builder with one {what}{how}. "
        f"Received: {', '.join(sorted(names)) or 'none'}"
    )


def _suffix(content):
    if content.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    return ".png" if content.startswith(b"\x89PNG") else ".img"


def _pixels(box, content):
    """Top, left, bottom, right in 0..1 as left, top, right, bottom in pixels, or `None`."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
    except Exception:  # broken: found when all files are looked into
        return None
    top, left, bottom, right = (float(edge) for edge in box)
    if not (0 <= min(left, top) and max(right, bottom) <= 1):
        return None
    # float32 holds whole pixels to two digits after the point, and more.
    edges = (left * width, top * height, right * width, bottom * height)
    left, top, right, bottom = (round(edge, 2) for edge in edges)
    return (left, top, right, bottom) if left < right and top < bottom else None
