"""Networks that end in classes, pixels in other units than theirs, and files that cannot load."""

import keras
import numpy as np
import pytest

from mdl_tf import backbones, load_model
from mdl_tf.embedding import embedding_model
from mdl_tf.embedding.units import RANGES, doubt_units, find_classifier, scale_pixels
from mdl_tf.losses import ArcFaceLoss, MetricModel, TripletLoss
from mdl_tf.optimizers import Adam

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (64, 16, 16, 3)).astype("float32")
OTHERS = PIXELS[:16] * 0.5 + 40  # paler
X = RNG.normal(size=(24, 5)).astype(np.float32)
Y = np.arange(24) % 4


def applied(name, size=32, **options):
    return getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=7, **options
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MobileNetV2", {}),
        ("MobileNetV2", {"classifier_activation": None}),
        ("MobileNet", {}),
        ("MobileNetV3Small", {}),
        ("ConvNeXtTiny", {"classifier_activation": None}),
    ],
)
def test_a_backbone_with_its_classifier_is_refused(name, options):
    with pytest.raises(ValueError, match="include_top=False; of another model take the layer"):
        embedding_model(applied(name, **options))


def test_other_classifiers():
    inputs = keras.Input((5,))
    hidden = keras.layers.Dense(4)(inputs)
    softmax = keras.Model(inputs, keras.layers.Softmax()(keras.layers.Dense(3)(hidden)))
    assert "softmax" in find_classifier(softmax)
    assert "softmax" in find_classifier(keras.Sequential([keras.Input((5,)), softmax]))
    assert find_classifier(keras.Model(inputs, hidden)) is None
    assert find_classifier(applied("MobileNetV2", include_top=False)) is None
    embedding_model(applied("MobileNetV2", include_top=False))
    assert find_classifier(keras.Sequential()) is None


def network(normalised, rescaled):
    x = inputs = keras.Input((16, 16, 3))
    if rescaled:
        x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.Conv2D(8, 3)(x)
    if normalised:
        x = keras.layers.BatchNormalization(momentum=0.5)(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    return keras.Model(inputs, x)


@pytest.mark.parametrize("trained_on", RANGES)
def test_the_units_of_a_network_are_measured_by_its_batch_normalisation(trained_on):
    keras.utils.set_random_seed(0)
    model = network(normalised=True, rescaled=False)
    assert "scales nothing" in doubt_units(model, OTHERS)  # not trained: nothing to measure
    for _ in range(12):
        model(scale_pixels(PIXELS, trained_on), training=True)
    doubt = doubt_units(model, OTHERS)
    if trained_on == "0..255":
        assert doubt is None
    else:
        said = doubt.split("was trained on ")[1].split(",")[0]
        assert trained_on in said.split(" or ") and "0..255" not in said


def test_without_one_a_network_that_scales_nothing_is_in_doubt():
    assert "scales nothing" in doubt_units(network(False, False), OTHERS)
    assert doubt_units(network(False, True), OTHERS) is None
    inside = keras.Sequential([keras.Input((16, 16, 3)), network(False, True)])
    assert doubt_units(inside, OTHERS) is None


@pytest.mark.parametrize("name", ["conv4", "inception_bn", "mobilenetv2"])
def test_our_own_networks_are_not(name):
    size = 64 if name == "inception_bn" else 32
    backbone, preprocess = backbones.build(name, (size, size, 3))
    pixels = np.zeros((2, size, size, 3), np.float32)
    assert doubt_units(embedding_model(backbone, preprocess), pixels) is None


# ------------------------------------------------------------------------------------- files


def embedder():
    inputs = keras.Input((5,))
    hidden = keras.layers.Dense(6, name="hidden")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, name="embedding")(hidden))


@pytest.mark.parametrize("loss", [TripletLoss(), ArcFaceLoss(4)])
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_a_model_with_a_factor_on_a_layer_frozen_since_loads_again(loss, tmp_path):
    network = embedder()
    model = MetricModel(network, loss) if loss.has_weights else network
    options = {} if loss.has_weights else {"loss": loss}
    model.compile(Adam(0.01, learning_rate_factors={"hidden": 10}), **options)
    model.fit(X, Y, verbose=0)
    network.get_layer("hidden").trainable = False
    for _ in range(2):
        model.save(tmp_path / "model.keras")
        model = load_model(tmp_path / "model.keras")
        assert model.optimizer.learning_rate_factors == {"hidden": 10}
        frozen = getattr(model, "embedder", model).get_layer("hidden")
        kept = frozen.get_weights()
        model.fit(X, Y, verbose=0)
        np.testing.assert_array_equal(frozen.get_weights()[0], kept[0])


def test_a_factor_that_never_fitted_is_still_refused():
    model = embedder()
    model.get_layer("hidden").trainable = False
    model.compile(Adam(0.01, learning_rate_factors={"hidden": 10}), TripletLoss())
    with pytest.raises(ValueError, match="must have names of layers or weights that are trained"):
        model.fit(X, Y, verbose=0)


def test_hdf5_is_refused_where_it_is_written_and_where_it_is_read(tmp_path):
    model = MetricModel(embedder(), ArcFaceLoss(4))
    with pytest.raises(ValueError, match="`filepath` must end in .keras"):
        model.save(tmp_path / "model.h5")
    model.save(tmp_path / "model.keras")
    network = embedder()
    network.save(tmp_path / "network.h5")
    (tmp_path / "network.h5").rename(tmp_path / "renamed.keras")
    (tmp_path / "empty.h5").write_bytes(b"")
    for name, reason in {"renamed.keras": "which is HDF5", "empty.h5": "which is "}.items():
        with pytest.raises(ValueError, match=f"must be a whole `.keras` file .*{reason}") as raised:
            load_model(tmp_path / name)
        assert "\n" not in str(raised.value)
