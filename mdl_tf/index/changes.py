"""Changes of an index: what is new or changed is embedded and kept, what is gone goes."""

from typing import NamedTuple

import numpy as np

from mdl_tf.index.rows import Row
from mdl_tf.index.store import as_vectors
from mdl_tf.index.where import check_columns

_PART = 2048  # images that are embedded and kept at a time
_FEATURES = 2**16  # the same of vectors


class Changes(NamedTuple):
    """What `add` or `sync` has changed: numbers of images."""

    added: int
    changed: int  # of the same name, with other content
    unchanged: int  # not embedded again
    removed: int
    left_out: tuple  # `Problem`s, files that cannot be used


def put(store, embedder, contents, columns=None, progress=None, *, drop_others=False):
    """Make a store have some contents, and embed what it has not.

    Args:
        store: a `Store`, or another of the same calls.
        embedder: an `Embedder`, or `None` for vectors as they are.
        contents: `sources.Contents`.
        columns: as for `Index.add`. Defaults to `None`, none.
        progress: a function of (images done, images). Defaults to `None`.
        drop_others: whether what else is there of the same root goes. Defaults to `False`.

    Returns:
        `Changes`.

    Raises:
        ValueError: as `Index.add`.
    """
    if contents.model is not None and store.model not in (None, contents.model):
        raise ValueError(
            "`source` must have vectors of the model of the index: embed its images again. "
            f"Received: vectors of another model, of {contents.root}"
        )
    embedder = None if contents.model is not None else embedder
    columns = _columns_of_each(columns, contents)
    before = store.of_root(contents.root, None if drop_others else contents.names)
    new = [
        i
        for i, name in enumerate(contents.names)
        if name not in before or before[name].digest != contents.digests[i]
    ]
    if contents.features is not None:
        # Seen whole before anything is added.
        as_vectors(contents.features, None if embedder else store.width)
    # Of files that were moved or copied.
    known = store.vectors_of([contents.digests[i] for i in new])
    missing = [i for i in new if contents.digests[i] not in known]
    size = _PART if contents.features is None else _FEATURES
    for start in range(0, len(missing), size):
        part = missing[start : start + size]
        vectors = embed_contents(embedder, contents, part, start, len(missing), progress)
        _keep(store, contents, columns, part, vectors)
    moved = [i for i in new if contents.digests[i] in known]
    _keep(store, contents, columns, moved, [known[contents.digests[i]] for i in moved])
    _update(store, contents, columns, before, set(new))
    gone = []
    if drop_others:
        left = set(contents.names)
        gone = [row for name, row in before.items() if name not in left]
        if gone:
            store.remove(gone)
    changed = sum(contents.names[i] in before for i in new)
    return Changes(
        added=len(new) - changed,
        changed=changed,
        unchanged=len(contents.names) - len(new),
        removed=len(gone),
        left_out=tuple(contents.problems),
    )


def embed_contents(embedder, contents, part=None, done=0, count=None, progress=None):
    """Vectors of some contents.

    Args:
        embedder: an `Embedder`, or `None` for vectors as they are.
        contents: `sources.Contents`.
        part: which of them, a list of numbers. Defaults to `None`: all.
        done: how many were embedded before, for the progress. Defaults to `0`.
        count: how many there are to embed. Defaults to `None`: all.
        progress: a function of (images done, images). Defaults to `None`.

    Returns:
        `(n, D)` floats.

    Raises:
        ValueError: if images have no embedder, or do not fit it.
    """
    part = list(range(len(contents.names))) if part is None else part
    count = len(contents.names) if count is None else count
    if contents.features is not None:
        features = contents.features[part]
        return embedder.embed_features(features) if embedder else features
    if embedder is None:
        raise ValueError(
            "`source` must be vectors: the index has no model for images. Received: a folder"
        )
    told = progress and (lambda number, _: progress(done + number, count))
    return embedder.embed_images(contents.images.unlabelled(np.array(part)), told)


def _keep(store, contents, columns, part, vectors):
    if not part:
        return
    rows = [
        Row(
            *(-1, contents.root, contents.names[i], contents.labels[i], contents.digests[i]),
            columns[i],
        )
        for i in part
    ]
    store.add(rows, as_vectors(vectors, store.width))


def _update(store, contents, columns, before, new):
    """Give rows whose content has not changed the labels and columns of now."""
    updated = []
    for i, name in enumerate(contents.names):
        if i in new:
            continue
        row = before[name]._replace(label=contents.labels[i])
        # Columns that are not given stay.
        row = row._replace(columns={**row.columns, **columns[i]})
        if row != before[name]:
            updated.append(row)
    if updated:
        store.update(updated)


def _columns_of_each(columns, contents):
    """The columns of each row, n dicts."""
    count = len(contents.names)
    if columns is None:
        return [{}] * count
    if contents.root:
        given = {name: values for name, values in columns.items() if isinstance(values, dict)}
        known = set(contents.names)
        for name, values in given.items():
            wrong = [path for path in values if path not in known]
            if wrong:
                raise ValueError(
                    "`columns` must have paths below the folder. "
                    f"Received: {name!r} of {wrong[0]!r}, which is not there"
                )
        columns = {
            name: [given[name].get(path) for path in contents.names] if name in given else values
            for name, values in columns.items()
        }
    return check_columns(columns, count)
