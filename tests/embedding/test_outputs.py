"""Which output is the embedding, and what images and labels come in."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mdl_tf.batches import balanced
from mdl_tf.datasets import ImageSet
from mdl_tf.embedding import concatenated, embed, fit_head
from mdl_tf.embedding.reading import as_class_ids, read_batches
from mdl_tf.losses import MetricModel, TripletLoss

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 4, 4, 3)).astype(np.float32)
Y = np.arange(10) % 3
NAMES = np.array(["ant", "bee", "cat"])[Y]


def network(kind):
    inputs = keras.Input((4, 4, 3), name="image")
    maps = keras.layers.Conv2D(5, 2, name="maps")(inputs)
    tokens = keras.layers.Reshape((9, 5), name="tokens")(maps)
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(maps)
    classes = keras.layers.Dense(7, name="classes")(pooled)
    outputs = {
        "one": pooled,
        "list": [classes, pooled],
        "dict": {"classes": classes, "pooled": pooled},
        "maps": maps,
        "tokens": tokens,
        "with maps": [maps, pooled],
        "number": keras.layers.Reshape(())(keras.layers.Dense(1)(pooled)),
    }[kind]
    return keras.Model(inputs, outputs, name="net")


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.one, self.two = keras.layers.Flatten(), keras.layers.GlobalAveragePooling2D()

    def call(self, inputs):
        return self.one(inputs), self.two(inputs)


POOLED = X.mean(axis=(1, 2))


@pytest.mark.parametrize(
    ("kind", "output"),
    [("one", None), ("one", "pooled"), ("list", "pooled"), ("dict", "pooled"), ("list", 1)],
)
def test_the_named_output_is_the_embedding(kind, output):
    keras.utils.set_random_seed(0)
    expected = network("one")(X)
    keras.utils.set_random_seed(0)
    embeddings, labels = embed(network(kind), (X, Y), output=output)
    np.testing.assert_allclose(embeddings, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(labels, Y)


def test_outputs_without_names_have_numbers():
    np.testing.assert_allclose(embed(Subclassed(), X, output=1)[0], POOLED, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"such as output=0. .* outputs 0 \(B, 48\), 1 \(B, 3\)"):
        embed(Subclassed(), X)


@pytest.mark.parametrize(
    ("kind", "output", "message"),
    [
        ("list", None, "such as output='classes'. Received: output=None, and a model 'net' with"),
        ("list", None, "the outputs 'classes' (B, 7), 'pooled' (B, 5)"),
        ("dict", "Pooled", "Received: output='Pooled', and a model 'net' with the outputs"),
        ("one", "maps", "Received: output='maps', and a model 'net' with the outputs 'pooled'"),
        ("list", 2, "Received: output=2"),
        ("list", -1, "Received: output=-1"),
        ("with maps", None, "such as output='pooled'"),
        ("with maps", "maps", "that gives (B, 3, 3, 5), maps (B, h, w, c) that are not pooled"),
        ("maps", None, "put keras.layers.GlobalAveragePooling2D() on top, or make it by mdl_tf"),
        ("tokens", None, "that gives (B, 9, 5), tokens (B, T, c) that are not pooled: put keras"),
        ("number", None, "must give embeddings of shape `(B, D)`. Received: a model 'net' that"),
    ],
)
def test_one_error_that_shows_how(kind, output, message):
    with pytest.raises(ValueError) as raised:
        embed(network(kind), X, output=output)
    assert message in str(raised.value)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, i):
        return X[4 * i : 4 * i + 4], Y[4 * i : 4 * i + 4]


STREAM = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)
FORMS = {
    "pair": (X, Y),
    "pair in a list": [X, Y],
    "pair with weights": (X, Y, np.ones(10)),
    "pair with a list of labels": (X, Y.tolist()),
    "column": (X, Y[:, None]),
    "one-hot": (X, np.eye(3)[Y]),
    "one-hot of integers": (X, np.eye(3, dtype=int)[Y]),
    "whole floats": (X, Y.astype("float32")),
    "stream": STREAM,
    "stream with weights": STREAM.map(lambda x, y: (x, y, tf.ones(tf.shape(x)[:1]))),
    "stream of one-hot": STREAM.map(lambda x, y: (x, tf.one_hot(y, 3))),
    "stream of dicts": STREAM.map(lambda x, y: {"image": x, "label": y}),
    "stream of dicts of images": STREAM.map(lambda x, y: ({"image": x}, y)),
    "list of batches": list(STREAM),
    "tuple of batches": tuple(STREAM),
    "list of lists": [[x, y] for x, y in STREAM],
    "generator": (batch for batch in STREAM),
    "PyDataset": Batches(),
    "dict of images": ({"image": X}, Y),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_images_and_labels_come_in(form):
    read = list(read_batches(FORMS[form]))
    images = [x["image"] if isinstance(x, dict) else x for x, _ in read]
    np.testing.assert_array_equal(np.concatenate(images), X)
    labels = np.concatenate([labels for _, labels in read])
    np.testing.assert_array_equal(labels, Y)
    assert labels.dtype == np.int64


def test_names_stay_names():
    for images in ((X, NAMES), tf.data.Dataset.from_tensor_slices((X, NAMES)).batch(4)):
        labels = np.concatenate([labels for _, labels in read_batches(images)])
        assert labels.tolist() == NAMES.tolist()


@pytest.mark.parametrize("images", [X, STREAM.map(lambda x, y: x), [X[:4], X[4:]], {"image": X}])
def test_images_alone(images):
    read = list(read_batches(images))
    assert sum(len(x["image"] if isinstance(x, dict) else x) for x, _ in read) == 10
    assert all(labels is None for _, labels in read)


IMAGE_SET = ImageSet("set", np.arange(10) % 2, ("a", "b"), features=X.reshape(10, -1))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (STREAM.repeat(), "`images` must come to an end: `batches.ordered`, not"),
        (balanced(IMAGE_SET, 2, 2), "Received: an endless stream"),
        ("photos", "`images` must be batches of (images, labels), such as"),
        (3, "Received: images=int"),
        (None, "Received: images=NoneType"),
        ([], "`images` must hold at least one image"),
        (STREAM.take(0), "`images` must hold at least one image"),
        ((X, Y[:5]), "must have a label for each image. Received: 10 images and 5 labels"),
        (STREAM.map(lambda x, y: (x, y[:2])), "Received: 4 images and 2 labels"),
        (STREAM.map(lambda x, y: (x, tf.cast(y, tf.float32) + 0.5)), "or one-hot `(B, C)`"),
        (
            STREAM.map(lambda x, y: (x, tf.ones((tf.shape(x)[0], 3)))),
            "labels with shape=(4, 3), dtype=",
        ),
        (X[:, :2], "The images must be of the shape that the model takes, (B, 4, 4, 3). Received"),
        (X[:, :, :, 0], "Received: (B, 4, 4)"),
    ],
)
def test_one_error_for_what_cannot_be_read(images, message):
    with pytest.raises(ValueError) as raised:
        embed(network("one"), images)
    assert message in str(raised.value)


@pytest.mark.parametrize("labels", [[[0, 1], [1, 1]], [[0.5, 0.5], [1, 0]], [0.5, 1], [[[1]]]])
def test_labels_that_are_none(labels):
    with pytest.raises(ValueError, match="must be one class for each image"):
        as_class_ids(np.array(labels))


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_where_none_can_be_named_several_are_refused(kind):
    model = network(kind)
    for call in (
        lambda: concatenated([model]),
        lambda: fit_head(model, (X, Y)),
        lambda: MetricModel(model, TripletLoss()),
    ):
        with pytest.raises(ValueError, match=r"keras.Model\(model.inputs, model.get_layer"):
            call()
