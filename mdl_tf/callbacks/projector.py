"""Embeddings of some images for TensorBoard's projector, with thumbnails and class names."""

import math
import re
from pathlib import Path

import numpy as np

from mdl_tf.checks import check_integer
from mdl_tf.files import replacing
from mdl_tf.metrics.arguments import as_embeddings
from mdl_tf.pictures import thumbnails

LARGEST_SHEET = 8192  # pixels; the projector shows no larger one
_CONFIG = "projector_config.pbtxt"
_PARTS = "projector"  # the subfolder of what the config names
_CLASSES_AT_LEAST = 10  # large classes are cut so that at least this many are seen


def draw(labels, images=2000, classes=50, seed=0):
    """Images for the projector: whole classes, so that clusters can be seen.

    If they do not all fit, a class of more than a tenth of `images` gives a tenth, evenly drawn (of
    fewer than ten classes, each its share).

    Args:
        labels: class of each image, shape `(N,)`.
        images: how many, at most. Defaults to `2000`.
        classes: how many, at most. Defaults to `50`: the projector colours no more by name.
        seed: of the draw. Defaults to `0`.

    Returns:
        Indices, int64, rising. The same labels and seed give the same ones.
    """
    rng = np.random.default_rng(seed)
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    drawn = rng.permutation(len(sizes))[:classes]
    most = images
    if sizes[drawn].sum() > images:
        most = max(1, images // min(_CLASSES_AT_LEAST, len(drawn)))
    # Its place among the images of its class, at random, decides who stays of a large one.
    order = rng.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    place = np.empty(len(codes), np.int64)
    place[order] = np.arange(len(codes)) - (np.cumsum(sizes) - sizes)[codes[order]]

    total = np.cumsum(np.minimum(sizes[drawn], most))
    return np.flatnonzero(np.isin(codes, drawn[total <= images]) & (place < most))


def write(folder, name, embeddings, image_set, *, images=2000, classes=50, side=48, seed=0):
    """Add embeddings of a set to what the projector shows of a run of TensorBoard.

    Called again with the same set and another name, such as "untrained" and "trained", also by
    another process, it adds the same images in another space; the last one is listed first. Each
    file is written whole or not at all, and the list of them last. An open TensorBoard shows them
    after a restart.

    Args:
        folder: of the run, such as `logs/test`.
        name: of these embeddings; letters, digits, `-` and `_`.
        embeddings: of the whole set, shape `(N, D)`.
        image_set: an `ImageSet`; one of features is shown as points.
        images: how many, at most, of whole classes as `draw` chooses them. Defaults to `2000`.
        classes: how many, at most. Defaults to `50`.
        side: pixels of a thumbnail, in proportion on white. Defaults to `48`.
        seed: of the draw. Defaults to `0`.

    Raises:
        ValueError: if an argument is not one of the above, the thumbnails do not fit a sheet of
            8192 x 8192 pixels, or the folder cannot be written.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"`name` must be letters, digits, `-` and `_`. Received: name={name!r}")
    images = check_integer("images", images, least=1)
    classes = check_integer("classes", classes, least=1)
    side = check_integer("side", side, least=1)
    seed = check_integer("seed", seed, least=0)
    if _cells(images) * side > LARGEST_SHEET:
        raise ValueError(
            "`images` thumbnails of `side` pixels must fit a square sheet of "
            f"{LARGEST_SHEET} x {LARGEST_SHEET}, {(LARGEST_SHEET // side) ** 2:,} of this side. "
            f"Received: images={images}, side={side}"
        )
    embeddings = as_embeddings(embeddings, "embeddings")
    if len(embeddings) != len(image_set):
        raise ValueError(
            "`embeddings` must be as many as the images of `image_set`. "
            f"Received: {len(embeddings)} and {len(image_set)}"
        )
    drawn = draw(image_set.labels, images, classes, seed)
    try:
        _write_all(Path(folder), name, embeddings[drawn], image_set, drawn, side)
    except OSError as error:
        raise ValueError(
            f"`folder` must be a folder that can be written. Received: folder={folder}, and "
            f"{error.strerror or error}"
        ) from error


def _write_all(folder, name, vectors, image_set, drawn, side):
    parts, metadata = folder / _PARTS, _describe_images(image_set, drawn)
    has_pictures = image_set.features is None
    same_images = _read(parts / "metadata.tsv") == metadata
    if not same_images:
        # What is there belongs to other images.
        (folder / _CONFIG).unlink(missing_ok=True)
    if has_pictures and not (same_images and _is_sheet(parts / "sprite.png", len(drawn), side)):
        tiles = thumbnails.tiles(image_set, drawn.tolist(), side)
        with replacing(parts / "sprite.png") as path:
            _make_sheet(tiles).save(path, "PNG")
    _write(parts / "metadata.tsv", metadata)
    _write(parts / f"{name}.tsv", "".join(map(_line, vectors.tolist())))
    _write(folder / _CONFIG, _list_embeddings(folder, name, side if has_pictures else None))


def _describe_images(image_set, drawn):
    """A row for each image; TensorBoard takes the first for headings, as it has a tab."""
    queries = image_set.queries
    has_gallery = queries is not None and not queries.all()
    rows = [["class", "image"]]
    for i in drawn.tolist():
        name = str(i) if image_set.paths is None else Path(image_set.paths[i]).name
        rows.append([image_set.class_names[image_set.labels[i]], name])
    if has_gallery:
        rows[0].append("role")
        for row, i in zip(rows[1:], drawn, strict=True):
            row.append("query" if queries[i] else "gallery")
    return "".join("\t".join(map(_escape, row)) + "\n" for row in rows)


def _escape(text):
    """A text without the tabs and line ends that separate metadata, nor anything invisible."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    # An empty field would be shown as none.
    return text if text.strip() else repr(text)


def _line(vector):
    return "\t".join(f"{number:.6g}" for number in vector) + "\n"


def _cells(count):
    """Thumbnails in a row, and as many rows: the projector finds none in another rectangle."""
    return math.ceil(math.sqrt(count))


def _make_sheet(tiles):
    from PIL import Image

    side, cells = tiles.shape[1], _cells(len(tiles))
    sheet = np.full((cells, cells, side, side, 3), 255, np.uint8)
    sheet.reshape(-1, side, side, 3)[: len(tiles)] = tiles
    return Image.fromarray(sheet.swapaxes(1, 2).reshape(cells * side, cells * side, 3))


def _is_sheet(path, count, side):
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size == (_cells(count) * side,) * 2
    except OSError:
        return False


def _list_embeddings(folder, name, side):
    """The list of embeddings: this one, then those that are there already."""
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    before, config = ProjectorConfig(), ProjectorConfig()
    text_format.Parse(_read(folder / _CONFIG) or "", before)
    # Each name once, in order.
    names = dict.fromkeys([name, *(embedding.tensor_name for embedding in before.embeddings)])
    for listed in names:
        embedding = config.embeddings.add(tensor_name=listed)
        embedding.tensor_path = f"{_PARTS}/{listed}.tsv"
        embedding.metadata_path = f"{_PARTS}/metadata.tsv"
        if side is not None:
            embedding.sprite.image_path = f"{_PARTS}/sprite.png"
            embedding.sprite.single_image_dim.extend([side, side])
    return text_format.MessageToString(config)


def _read(path):
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None


def _write(path, text):
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())
