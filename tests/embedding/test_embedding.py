"""The embedder: units, head, sizes, precision, saving; and a whole set through it."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import slow_but

import mdl_tf
from mdl_tf.backbones import Conv4, InceptionBN, conv4, inception_bn
from mdl_tf.embedding import embed, embedding_model
from mdl_tf.losses import MarginDiscriminateLoss


def small(**options):
    return embedding_model(Conv4((16, 16, 3), 8), conv4.preprocess_input, 5, **options)


def pictures(count, size=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3)).astype(np.float32)


SIZES = [(32, 32), (33, 47), (48, 48), (56, 64), (96, 33), (112, 112), (299, 40)]


@pytest.mark.parametrize("size", slow_but(SIZES[:2], SIZES))
def test_inception_bn_runs_at_every_size_from_32_up(size):
    for side, found in zip(
        size, InceptionBN(input_shape=(*size, 3)).output_shape[1:3], strict=True
    ):
        side = -(-side // 2)  # conv1, padded by 3 on both sides
        for _ in range(2):  # pool1, pool2: Caffe's rounding up of (side - 3) / 2 + 1
            side = -(-(side - 3) // 2) + 1
        for _ in range(2):  # 3c, 4e: convolutions padded by 1 on both sides
            side = -(-side // 2)
        assert found == side


@pytest.mark.parametrize(("name", "input_shape"), [("3c", (7, 9)), ("4e", (5, 6)), ("3c", (8, 8))])
def test_halving_pools_cover_the_last_row_of_odd_maps(name, input_shape):
    """At 3c and 4e the maximum over every 3 x 3 window that starts inside the map."""
    network = InceptionBN(input_shape=(None, None, 3))
    pool = network.get_layer(f"inception_{name}_pool")
    padding = network.get_layer(f"inception_{name}_pool_pad")
    x = np.random.default_rng(0).uniform(0, 1, (2, *input_shape, 4)).astype(np.float32)
    height, width = (-(-side // 2) for side in input_shape)
    expected = np.stack(
        [
            [x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max(axis=(1, 2)) for j in range(width)]
            for i in range(height)
        ]
    ).transpose(2, 0, 1, 3)
    np.testing.assert_array_equal(pool(padding(x)), expected)


def test_inception_bn_of_unknown_size_equals_that_of_known_size():
    known, unknown = InceptionBN(input_shape=(48, 61, 3)), InceptionBN(input_shape=(None, None, 3))
    unknown.set_weights(known.get_weights())
    x = pictures(2, 61)[:, :48] - 100
    np.testing.assert_allclose(known(x), unknown(x), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (31, 64, 3)}, "at least 32 or `None`. Received: input_shape=(31, 64, 3)"),
        ({"input_shape": (64, 64, 1)}, "`input_shape` must be `(H, W, 3)`"),
        ({"pooling": "gem"}, "`pooling` must be None, 'avg' or 'max'. Received: pooling='gem'"),
        ({"weights": "a.pth"}, "`weights` must be None, 'imagenet', or a file that exists."),
    ],
)
def test_inception_bn_errors(arguments, message):
    with pytest.raises(ValueError) as raised:
        InceptionBN(**arguments)
    assert message in str(raised.value)


def test_inception_bn_weights_go_through_a_file(tmp_path):
    first = InceptionBN(input_shape=(32, 32, 3), pooling="avg")
    first.save_weights(tmp_path / "mine.weights.h5")
    again = InceptionBN(
        input_shape=(32, 32, 3), pooling="avg", weights=str(tmp_path / "mine.weights.h5")
    )
    x = pictures(1, 32)
    np.testing.assert_array_equal(first(x), again(x))


def test_preprocessing_is_bgr_minus_mean_and_part_of_the_model():
    rgb = np.zeros((1, 1, 1, 3), np.float32) + [200.0, 100.0, 50.0]
    expected = [[[[50 - 104, 100 - 117, 200 - 128]]]]
    np.testing.assert_allclose(inception_bn.preprocess_input(rgb), expected)
    seen = keras.Sequential([keras.Input((1, 1, 3)), keras.layers.Flatten()])
    model = embedding_model(seen, inception_bn.preprocess_input, 3, l2_normalize=False)
    model.get_layer("embedding").set_weights([np.eye(3), np.zeros(3)])
    np.testing.assert_allclose(model(rgb), [[-54, -17, 72]])
    np.testing.assert_allclose(conv4.preprocess_input(np.array([0.0, 127.5, 255.0])), [-1, 0, 1])


def test_embeddings_are_unit_vectors_unless_told_otherwise():
    x = pictures(4)
    lengths = np.linalg.norm(small()(x), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-6)
    raw = small(l2_normalize=False)(x)
    assert (np.abs(np.linalg.norm(raw, axis=1) - 1) > 1e-3).any()
    assert raw.shape == (4, 5)


def mean_and_max(features, axis):
    return features.mean(axis) + features.max(axis)


def test_poolings_differ_and_features_need_none():
    x = pictures(2, 32)
    backbone = Conv4((32, 32, 3), 8)
    average = embedding_model(backbone, None, 5, l2_normalize=False)
    largest = embedding_model(backbone, None, 5, pooling="max", l2_normalize=False)
    both = embedding_model(backbone, None, 5, pooling="both", l2_normalize=False)
    for model in (largest, both):
        model.set_weights(average.get_weights())
    features = np.asarray(backbone(x))
    kernel, bias = average.get_layer("embedding").get_weights()
    np.testing.assert_allclose(average(x), features.mean((1, 2)) @ kernel + bias, atol=1e-5)
    np.testing.assert_allclose(largest(x), features.max((1, 2)) @ kernel + bias, atol=1e-5)
    summed = mean_and_max(features, (1, 2))
    np.testing.assert_allclose(both(x), summed @ kernel + bias, rtol=1e-4, atol=1e-5)


def test_tokens_are_pooled_over_all_of_them():
    tokens = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Reshape((16, 12))])
    x = pictures(2, 8)
    for pooling, features in (("avg", np.mean), ("max", np.max), ("both", mean_and_max)):
        model = embedding_model(tokens, None, 5, pooling=pooling, l2_normalize=False)
        kernel, bias = model.get_layer("embedding").get_weights()
        expected = features(x.reshape(2, 16, 12), axis=1) @ kernel + bias
        np.testing.assert_allclose(model(x), expected, rtol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_head_stays_in_float32(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = small()
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("conv4").get_layer("conv1").compute_dtype == policy[6:]
    embeddings = model(pictures(3))
    assert embeddings.dtype == tf.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"pooling": "sum"},
            "`pooling` must be one of ('avg', 'max', 'both'). Received: pooling='sum'",
        ),
        ({"embedding_dim": 0}, "`embedding_dim` must be an integer, at least 1."),
    ],
)
def test_embedding_model_errors(arguments, message):
    with pytest.raises(ValueError) as raised:
        embedding_model(Conv4((16, 16, 3)), **arguments)
    assert message in str(raised.value)


def ends(inputs, outputs):
    """A model with images or numbers as inputs, and one of the images as every output."""
    inputs = [keras.Input(shape) for shape in inputs]
    return keras.Model(inputs, outputs(inputs[0]))


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (
            lambda: ends([(8, 8, 3), (2,)], lambda x: x),
            "Received: inputs [(None, 8, 8, 3), (None, 2)] and outputs [(None, 8, 8, 3)]",
        ),
        (
            lambda: ends([(8, 8, 3)], lambda x: {"a": x, "b": x}),
            "Received: inputs [(None, 8, 8, 3)] and outputs [(None, 8, 8, 3), (None, 8, 8, 3)]",
        ),
        (
            lambda: ends([(8, 8, 3)], lambda x: keras.ops.expand_dims(x, 1)),
            "and outputs [(None, 1, 8, 8, 3)]",
        ),
        (keras.Sequential, "Received: inputs [] and outputs []"),
    ],
)
def test_backbones_that_the_model_cannot_be_put_around(backbone, message):
    with pytest.raises(ValueError) as raised:
        embedding_model(backbone())
    assert str(raised.value).startswith(
        "`backbone` must have one input, and one output of maps (B, h, w, c), tokens (B, T, c) or "
        "features (B, c). Received: inputs ["
    )
    assert message in str(raised.value)


def test_one_output_may_be_in_a_dict():
    backbone = ends([(8, 8, 3)], lambda x: {"maps": x})
    assert embedding_model(backbone, None, 5).output_shape == (None, 5)


@pytest.mark.parametrize("size", [1, 4, 5, 10, 64])
def test_embed_gives_every_image_once_in_order(size):
    model, x = small(), pictures(10)
    expected = model.predict(x, verbose=0)
    labels = np.arange(10) + 2**40
    calls = []
    stream = tf.data.Dataset.from_tensor_slices((x, labels)).batch(size)
    found, found_labels = embed(model, stream, progress=lambda *c: calls.append(c))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(found_labels, labels)
    assert calls[-1] == (10, None)


def test_embed_takes_an_array_or_batches_without_labels():
    model, x = small(), pictures(70)
    expected = model.predict(x, verbose=0)
    for images in (x, x.astype(np.uint8), tf.data.Dataset.from_tensor_slices(x).batch(32)):
        found, labels = embed(model, images)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert labels is None


def test_embed_compiles_the_network_once():
    """A short last batch must not build a large network a second time."""
    traces = []

    class Counting(keras.layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    model = keras.Sequential([keras.Input((16, 16, 3)), Counting(), keras.layers.Flatten()])
    traces.clear()
    embed(model, tf.data.Dataset.from_tensor_slices(pictures(10)).batch(4))
    assert len(traces) == 1


def test_embed_of_nothing():
    with pytest.raises(ValueError, match="`images` must hold at least one image"):
        embed(small(), [])


def test_saved_embedder_loads_in_a_fresh_process_and_without_this_library(tmp_path):
    """What is saved is stock Keras, preprocessing included: whoever deploys needs no `mdl_tf`."""
    model = embedding_model(Conv4((32, 32, 3), 8), inception_bn.preprocess_input, 4)
    model.compile("adam", loss=MarginDiscriminateLoss(margin=0.3))
    path, x = tmp_path / "model.keras", pictures(2, 32)
    model.save(path)
    np.save(tmp_path / "x.npy", x)
    script = (
        "import sys, numpy as np, keras\n"
        f"x = np.load({str(tmp_path / 'x.npy')!r})\n"
        f"plain = keras.saving.load_model({str(path)!r}, compile=False)\n"
        "assert 'mdl_tf' not in sys.modules\n"
        "import mdl_tf\n"
        "assert not {'mdl_tf.losses', 'mdl_tf.embedding'} & set(sys.modules)\n"
        f"ours = mdl_tf.load_model({str(path)!r})\n"
        "assert ours.loss.margin == 0.3\n"
        f"np.save({str(tmp_path / 'found.npy')!r}, [plain.predict(x), ours.predict(x)])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for found in np.load(tmp_path / "found.npy"):
        np.testing.assert_allclose(found, model.predict(x, verbose=0), atol=1e-6)
    np.testing.assert_allclose(
        mdl_tf.load_model(path).predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6
    )


def test_a_class_that_keras_does_not_know_is_one_clear_error(tmp_path):
    @keras.saving.register_keras_serializable(package="forgotten")
    class Strange(keras.layers.Layer):
        def call(self, x):
            return x

    model = embedding_model(keras.Sequential([keras.Input((4,)), Strange()]), None, 3)
    model.save(tmp_path / "model.keras")
    del keras.saving.get_custom_objects()["forgotten>Strange"]
    with pytest.raises(ValueError) as raised:
        mdl_tf.load_model(tmp_path / "model.keras")
    message = str(raised.value)
    assert message.startswith(
        "`path` must hold a model whose classes Keras knows; import the module that registers them "
        f"first. Received: path={tmp_path / 'model.keras'}, and Keras says: "
    )
    assert "'Strange'" in message
    assert "\n" not in message


def test_loading_what_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="`path` must be a `.keras` file that exists. Received"):
        mdl_tf.load_model(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="`path` must be a `.keras` file that exists. Received"):
        mdl_tf.load_model(tmp_path)
