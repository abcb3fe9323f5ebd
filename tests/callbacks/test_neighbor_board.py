"""What TensorBoard shows in pictures, read back from its files."""

import dataclasses
import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from mdl_tf.callbacks import NeighborBoard, RetrievalMetrics, projector
from mdl_tf.callbacks.summaries import write_test
from mdl_tf.datasets import ImageSet
from mdl_tf.losses import MarginDiscriminateLoss
from mdl_tf.pictures import mosaic, thumbnails
from mdl_tf.pictures.mosaic import FRAME, SIDE, NeighborMosaic

RNG = np.random.default_rng(0)
# Each image is of one colour that no other has.
COLOURS = RNG.permutation(np.arange(0, 240, 8))[:30, None] // [1, 2, 3] + [8, 90, 160]
LABELS = np.repeat(np.arange(5), [8, 8, 8, 5, 1])
NAMES = ("bird", "a long name of several words", "tab\tand\nend", "5", "alone")
PIXELS = np.broadcast_to(COLOURS[:, None, None], (30, 4, 4, 3)).astype(np.uint8)
IMAGES = ImageSet("set", LABELS, NAMES, images=PIXELS)
EMBEDDINGS = (RNG.normal(size=(5, 3))[LABELS] + RNG.normal(size=(30, 3))).astype(np.float32)
BLUE, ORANGE = (0, 114, 178), (213, 94, 0)


def summaries(folder):
    """For each tag its steps and tensors."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return {
        tag: {event.step: tf.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
    }


def picture(summary):
    return np.asarray(Image.open(io.BytesIO(summary[2])))


def cell(pixels, shown, row, column):
    y, x = shown.place(row, column)
    return pixels[y : y + SIDE + 2 * FRAME, x : x + SIDE + 2 * FRAME]


def image_in(cell):
    """Which image is shown in a cell."""
    return np.flatnonzero((COLOURS == cell[len(cell) // 2, len(cell) // 2]).all(axis=1)).item()


def brute_force(embeddings, query, gallery, k):
    far = np.linalg.norm(embeddings[gallery].astype(float) - embeddings[query], axis=1)
    return [i for i in gallery[np.argsort(far, kind="stable")] if i != query][:k]


def assert_shows(pixels, shown, embeddings, gallery, k):
    """The true neighbours, and hits and misses as what they are, in colour and in grey."""
    corners = {True: set(), False: set()}
    for row, query in enumerate(shown.queries):
        assert image_in(cell(pixels, shown, row, 0)) == query
        nearest = brute_force(embeddings, query, gallery, k)
        found = [cell(pixels, shown, row, column) for column in range(1, k + 1)]
        assert [image_in(c) for c in found] == nearest
        for c, i in zip(found, nearest, strict=True):
            hit = LABELS[i] == LABELS[query]
            assert tuple(c[-2, 2]) == (BLUE if hit else ORANGE)
            corners[hit].add((c[:16, -16:] == 255).all(axis=-1).sum().item())
    assert corners[True] == {0}, "no cross"
    assert len(corners[False]) == 1 and min(corners[False]) > 24, "a white cross"


def model():
    embedder = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(4, kernel_initializer=keras.initializers.RandomNormal(seed=1)),
        ]
    )
    embedder.compile(keras.optimizers.SGD(0.5), loss=MarginDiscriminateLoss())
    return embedder


def fit(callbacks, epochs=1):
    pixels = PIXELS.astype(np.float32)
    model().fit(pixels, LABELS, batch_size=30, epochs=epochs, callbacks=callbacks, verbose=0)


def test_the_same_queries_with_their_true_neighbours_after_each_evaluation(tmp_path):
    retrieval = RetrievalMetrics((PIXELS, LABELS), every=2)
    seen = {}
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.setdefault(epoch, retrieval.embeddings)
    )
    # The metrics do not know of queries, and the picture shows what they measure.
    split = dataclasses.replace(IMAGES, queries=LABELS == 0)
    board = NeighborBoard(retrieval, split, tmp_path, queries=6, neighbors=3, seed=1)
    fit([retrieval, keep, board], epochs=4)
    assert seen[0] is seen[1] and not np.array_equal(seen[0], seen[2])
    np.testing.assert_array_equal(retrieval.labels, LABELS)

    pictures = summaries(tmp_path / "validation")["neighbors"]
    assert list(pictures) == [0, 2]
    shown = NeighborMosaic(IMAGES, 6, 3, seed=1)
    for epoch, summary in pictures.items():
        assert_shows(picture(summary), shown, seen[epoch], np.arange(30), 3)


def test_queries_are_of_distinct_classes_and_have_something_to_find():
    drawn = mosaic.draw_queries(LABELS, 4, seed=0)
    assert sorted(LABELS[drawn]) == [0, 1, 2, 3], "an image alone in its class finds nothing"
    np.testing.assert_array_equal(mosaic.draw_queries(LABELS, 4, seed=0), drawn)
    assert list(mosaic.draw_queries(LABELS, 4, seed=1)) != list(drawn)
    more = mosaic.draw_queries(LABELS, 99, seed=0)
    assert list(more[:4]) == list(drawn) and sorted(more) == list(range(29))
    assert len(mosaic.draw_queries(np.arange(9), 4)) == 0


def test_the_descriptions_name_the_classes():
    text = NeighborMosaic(IMAGES, 4).description
    assert all(repr(name) in text for name in NAMES[:4])


def test_a_duplicate_of_the_query_is_a_neighbour():
    embeddings = np.concatenate([np.zeros((8, 3)), EMBEDDINGS[8:] + 9])
    shown = NeighborMosaic(IMAGES, 29, 7)
    for query, found in zip(shown.queries, shown.find(embeddings), strict=True):
        if query < 8:
            assert list(found) == [i for i in range(8) if i != query]


def test_a_test_set_before_and_after_training(tmp_path):
    """Half of it are queries, which search the other half only."""
    queries = np.arange(30) % 2 == 0
    images = ImageSet("set", LABELS, NAMES, images=PIXELS, queries=queries)
    after = EMBEDDINGS[::-1]
    for step, name, vectors in ((0, "untrained", EMBEDDINGS), (3, "trained", after)):
        report = {"recall_at_1": step / 10, "nmi": 0.5, "gap_p50": -0.5, "queries": 15}
        distances = np.arange(1.0, 5 + step), np.array([])
        write_test(tmp_path, step, name, report, distances, images, vectors, neighbors=4)
    found = summaries(tmp_path / "test")
    assert set(found) == {"test/recall_at_1", "test/nmi", "distances/positive", "neighbors"}
    assert {step: float(v) for step, v in found["test/recall_at_1"].items()} == pytest.approx(
        {0: 0.0, 3: 0.3}
    )
    assert {s: v[:, 2].sum() for s, v in found["distances/positive"].items()} == {0: 4, 3: 7}
    shown = NeighborMosaic(images, neighbors=4)
    assert queries[shown.queries].all()
    for step, vectors in ((0, EMBEDDINGS), (3, after)):
        gallery = np.flatnonzero(~queries)
        assert_shows(picture(found["neighbors"][step]), shown, vectors, gallery, 4)
    assert [e.tensor_name for e in config(tmp_path / "test").embeddings] == ["trained", "untrained"]
    rows = (tmp_path / "test/projector/metadata.tsv").read_text().splitlines()
    assert rows[:3] == ["class\timage\trole", "bird\t0\tquery", "bird\t1\tgallery"]


def test_features_have_no_pictures(tmp_path):
    features = ImageSet("set", LABELS, NAMES, features=EMBEDDINGS)
    board = NeighborBoard(RetrievalMetrics((PIXELS, LABELS)), features, tmp_path / "a")
    fit([board])
    assert not (tmp_path / "a").exists()
    write_test(tmp_path, 0, "untrained", {"nmi": 0.5}, ([1.0], [2.0]), features, EMBEDDINGS)
    assert "neighbors" not in summaries(tmp_path / "test")
    names = sorted(p.name for p in (tmp_path / "test/projector").iterdir())
    assert names == ["metadata.tsv", "untrained.tsv"]
    assert not config(tmp_path / "test").embeddings[0].HasField("sprite")


def config(folder):
    text = (folder / "projector_config.pbtxt").read_text()
    return text_format.Parse(text, ProjectorConfig())


def test_each_row_of_the_projector_is_one_image(tmp_path):
    projector.write(tmp_path, "untrained", EMBEDDINGS, IMAGES, images=20, side=6, seed=3)
    before = (tmp_path / "projector/sprite.png").stat().st_mtime_ns
    projector.write(tmp_path, "trained", -EMBEDDINGS, IMAGES, images=20, side=6, seed=3)
    assert (tmp_path / "projector/sprite.png").stat().st_mtime_ns == before, "it is the same"
    kept = config(tmp_path)
    assert [e.tensor_name for e in kept.embeddings] == ["trained", "untrained"]
    # Paths from the config's folder, as TensorBoard reads them.
    for embedding, sign in zip(kept.embeddings, (-1, 1), strict=True):
        rows = (tmp_path / embedding.metadata_path).read_text(encoding="utf-8").split("\n")[1:-1]
        shown = [int(row.split("\t")[1]) for row in rows]
        assert shown == sorted(shown) and 5 <= len(shown) <= 20
        vectors = np.loadtxt(tmp_path / embedding.tensor_path, delimiter="\t")
        np.testing.assert_allclose(vectors, sign * EMBEDDINGS[shown], rtol=1e-5)
        assert list(embedding.sprite.single_image_dim) == [6, 6]
        sheet = np.asarray(Image.open(tmp_path / embedding.sprite.image_path))
        side = int(np.ceil(np.sqrt(len(shown))))
        assert sheet.shape == (side * 6, side * 6, 3), "the projector takes a square for granted"
        for place, i in enumerate(shown):
            y, x = 6 * (place // side), 6 * (place % side)
            assert (sheet[y : y + 6, x : x + 6] == COLOURS[i]).all()


def test_names_with_tabs_and_line_ends(tmp_path):
    names = (*NAMES[:3], "grün", " ")
    paths = tuple(f"/photos/{i}\u2028\t.jpg" for i in range(30))
    images = ImageSet("set", LABELS, names, paths=paths)
    projector.write(tmp_path, "untrained", EMBEDDINGS, images, side=2)
    rows = (tmp_path / "projector/metadata.tsv").read_bytes().decode().split("\n")
    assert len(rows) == 1 + 30 + 1
    assert rows[17] == "tab\\tand\\nend\t16\\u2028\\t.jpg"
    assert rows[25] == "grün\t24\\u2028\\t.jpg"
    assert rows[30] == "' '\t29\\u2028\\t.jpg"


def test_whole_classes_are_drawn_and_of_large_ones_a_part():
    labels = np.repeat(np.arange(400), [*[3] * 399, 5000])
    drawn = projector.draw(labels, images=100, seed=0)
    counts = np.bincount(labels[drawn], minlength=400)
    assert set(counts) <= {0, 3, 10} and 85 <= len(drawn) <= 100
    np.testing.assert_array_equal(projector.draw(labels, images=100, seed=0), drawn)
    assert set(projector.draw(labels, images=100, seed=1)) != set(drawn)
    assert len(np.unique(labels[projector.draw(labels)])) == 50, "so many have a colour"
    two = projector.draw(np.repeat([0, 1], 5000))
    assert list(np.bincount(two // 5000)) == [1000, 1000]
    assert len(np.unique(two)) == 2000 and two[999] > 4900, "not the first ones"


def test_embeddings_of_other_images_are_not_mixed(tmp_path):
    projector.write(tmp_path, "untrained", EMBEDDINGS, IMAGES, images=20, side=6)
    projector.write(tmp_path, "trained", EMBEDDINGS, IMAGES, images=30, side=6)
    assert [e.tensor_name for e in config(tmp_path).embeddings] == ["trained"]
    assert Image.open(tmp_path / "projector/sprite.png").size == (36, 36)


def test_a_kill_leaves_what_was_there(tmp_path, monkeypatch):
    projector.write(tmp_path, "untrained", EMBEDDINGS, IMAGES, side=4)
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def killed(vector):
        raise KeyboardInterrupt

    monkeypatch.setattr(projector, "_line", killed)
    with pytest.raises(KeyboardInterrupt):
        projector.write(tmp_path, "trained", EMBEDDINGS, IMAGES, side=4)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files


def test_thumbnails_of_files_cut_to_their_boxes_in_proportion(tmp_path):
    wide = np.zeros((300, 1200, 3), np.uint8)
    wide[:, 800:] = 200, 30, 30
    Image.fromarray(wide).save(tmp_path / "wide.jpg", quality=95)
    paths = tuple(str(tmp_path / name) for name in ("wide.jpg", "wide.jpg", "missing.jpg"))
    boxes = np.array([[np.nan] * 4, [900, 0, 1000, 300], [np.nan] * 4], np.float32)
    images = ImageSet("set", np.array([0, 1, 1]), ("a", "b"), paths=paths, boxes=boxes)
    whole, part, missing = thumbnails.tiles(images, range(3), 48).astype(int)
    assert (whole[:17] == 255).all() and (whole[-17:] == 255).all(), "white above and below"
    assert whole[20:28, :30].max() < 20 and abs(whole[20:28, 34:] - [200, 30, 30]).max() < 20
    assert (part[:, :15] == 255).all() and abs(part[:, 17:31] - [200, 30, 30]).max() < 20
    assert (missing == missing[0, 0]).all()
    whole_set = ImageSet("set", images.labels, images.class_names, paths=paths)
    again = thumbnails.tile(whole_set, 0, 48).astype(int)  # read at less than its resolution
    assert abs(again - whole).mean() < 3


def test_grey_images_in_memory_are_enlarged_and_shown_grey():
    grey = np.arange(64, dtype=np.uint8).reshape(1, 8, 8) * 3
    boxes = np.array([[4, 0, 8, 8]], np.float32)
    images = ImageSet("set", np.array([0]), ("a",), images=grey, boxes=boxes)
    tile = thumbnails.tile(images, 0, 48)
    assert tile.shape == (48, 48, 3) and (tile[..., 0] == tile[..., 2]).all()
    assert (tile[:, :12] == 255).all() and (tile[:, 36:] == 255).all()
    assert abs(int(tile[2, 13, 0]) - int(grey[0, 0, 4])) < 4
    assert thumbnails.small(images, 0, 160).shape == (8, 4)


METRICS = RetrievalMetrics((PIXELS, LABELS))
OTHERS = ImageSet("set", LABELS[::-1], NAMES, images=PIXELS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda path: NeighborBoard(IMAGES, IMAGES, path),
            "`retrieval_metrics` must be a `RetrievalMetrics`.",
        ),
        (
            lambda path: NeighborBoard(METRICS, IMAGES, path, neighbors=0),
            "`neighbors` must be an integer, at least 1. Received: neighbors=0",
        ),
        (
            lambda path: fit([NeighborBoard(METRICS, IMAGES, path), METRICS]),
            "`NeighborBoard` must come after its `retrieval_metrics` in the list of callbacks.",
        ),
        (
            lambda path: fit([METRICS, NeighborBoard(METRICS, OTHERS, path)]),
            "Received: 30 images, and it measures other labels",
        ),
        (
            lambda path: fit([METRICS, NeighborBoard(METRICS, IMAGES.take(range(29)), path)]),
            "Received: 29 images, and it measures 30 images",
        ),
        (
            lambda path: fit([METRICS, NeighborBoard(METRICS, IMAGES, path / "file")]),
            "`log_dir` must be a folder that can be written. Received: log_dir=",
        ),
        (
            lambda path: write_test(path / "file", 0, "a", {}, ([], []), IMAGES, EMBEDDINGS),
            "`log_dir` must be a folder that can be written. Received: log_dir=",
        ),
        (
            lambda path: projector.write(path / "file", "a", EMBEDDINGS, IMAGES),
            "`folder` must be a folder that can be written. Received: folder=",
        ),
        (
            lambda path: projector.write(path, "../a", EMBEDDINGS, IMAGES),
            "`name` must be letters, digits, `-` and `_`. Received: name='../a'",
        ),
        (
            lambda path: projector.write(path, "a", EMBEDDINGS[:9], IMAGES),
            "`embeddings` must be as many as the images of `image_set`. Received: 9 and 30",
        ),
        (
            lambda path: projector.write(path, "a", EMBEDDINGS, IMAGES, images=30_000),
            "8192 x 8192, 28,900 of this side. Received: images=30000, side=48",
        ),
        (
            lambda path: projector.write(path, "a", EMBEDDINGS, IMAGES, classes=0),
            "`classes` must be an integer, at least 1. Received: classes=0",
        ),
    ],
)
def test_what_cannot_be_is_told(make, message, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ValueError) as raised:
        make(tmp_path)
    assert message in str(raised.value)
