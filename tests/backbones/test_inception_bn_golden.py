"""The Keras Inception-BN against numbers of an independent PyTorch one.

`golden/make_inception_bn.py` wrote the numbers, with weights and images of the NumPy recipe in
`golden/he_weights.py`. PyTorch is not needed here.
"""

import he_weights as recipe
import keras
import numpy as np
import pytest
from helpers import GOLDEN

from mdl_tf.backbones import InceptionBN

TOLERANCE = 1e-4  # of the largest value of the tensor
# Batch statistics over 16 values in the deepest blocks amplify rounding: the same PyTorch network
# in float32 and in float64 differs by 5e-5 of the largest feature here, and by 1e-6 in evaluation.
TRAIN_TOLERANCE = 5e-4


# Keras kernels are HWIO and (in, out), PyTorch's OIHW and (out, in).
TO_KERAS = {4: (2, 3, 1, 0), 2: (1, 0)}
BN_KINDS = ("weight", "bias", "running_mean", "running_var")


def layers_of(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def torch_shape(shape):
    """The PyTorch shape of a Keras weight."""
    return tuple(shape[i] for i in np.argsort(TO_KERAS[len(shape)])) if len(shape) > 1 else shape


def load(model):
    """Set all weights of a model by the recipe; returns the names used, with PyTorch shapes."""
    used = {}

    def get(name, shape):
        used[name] = torch_shape(shape)
        value = recipe.weights(name, used[name])
        return value.transpose(TO_KERAS[value.ndim]) if value.ndim > 1 else value

    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            kinds = BN_KINDS
        elif isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            kinds = ("weight", "bias")
        else:
            assert not layer.weights, f"unexpected layer with weights: {layer.name}"
            continue
        shapes = [tuple(w.shape) for w in layer.weights]
        layer.set_weights([get(f"{layer.name}.{k}", s) for k, s in zip(kinds, shapes, strict=True)])
    return used


def to_numpy(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def probe(model):
    """A model with the 12 block outputs as its outputs."""
    return keras.Model(model.input, [model.get_layer(name).output for name in recipe.TENSORS])


def differences(golden, case, outputs):
    """Largest difference of each block, in units of the largest value of the tensor."""
    result = {}
    for i, (name, output) in enumerate(zip(recipe.TENSORS, outputs, strict=True)):
        array = to_numpy(output)
        assert array.shape == tuple(golden[f"shapes_{case}"][i]), name
        values = array.ravel()[recipe.positions(f"{case}:{name}", array.shape)]
        wide = array.astype(np.float64)
        stats = np.array([wide.mean(), wide.std(), np.abs(wide).max()])
        top = golden[f"stats_{case}"][i, 2]
        error = max(
            np.abs(values - golden[f"values_{case}"][i]).max(),
            np.abs(stats - golden[f"stats_{case}"][i]).max(),
        )
        assert np.isfinite(error), name
        result[name] = error / top
    return result


def relative(found, expected):
    found = to_numpy(found)
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


def images(golden, case, shape):
    array = recipe.images(case, *shape)
    assert recipe.digest(array) == pytest.approx(float(golden[f"images_digest_{case}"]), rel=1e-9)
    return array


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "inception_bn.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def model():
    """The network without its top, with the recipe's weights; tests must leave it as it is."""
    network = InceptionBN(weights=None, input_shape=(None, None, 3), pooling="avg")
    load(network)
    return network


@pytest.fixture(scope="module")
def top_model():
    """The network with its classifier, with the recipe's weights."""
    network = InceptionBN(include_top=True, weights=None, input_shape=(224, 224, 3), classes=1000)
    return network, load(network)


def test_recipe_has_not_drifted(golden):
    """If NumPy changes its streams this fails, instead of the comparisons below."""
    assert tuple(golden["tensors"]) == recipe.TENSORS
    for name, shape, expected in zip(
        golden["weight_names"], golden["weight_shapes"], golden["weight_digests"], strict=True
    ):
        value = recipe.digest(recipe.weights(str(name), shape[shape > 0]))
        assert value == pytest.approx(float(expected), rel=1e-9, abs=1e-6), name


def test_names_and_shapes_are_those_of_the_published_state_dict(golden, top_model):
    published = {
        str(name): tuple(int(n) for n in shape[shape > 0])
        for name, shape in zip(golden["weight_names"], golden["weight_shapes"], strict=True)
    }
    assert len(published) == 69 * 2 + 69 * 4 + 2
    assert top_model[1] == published


def test_layer_and_parameter_counts(model, top_model):
    for network, parameters in ((model, 10_270_240), (top_model[0], 11_295_240)):
        convolutions = layers_of(network, keras.layers.Conv2D)
        norms = layers_of(network, keras.layers.BatchNormalization)
        assert len(convolutions) == len(norms) == 69
        assert all(layer.use_bias for layer in convolutions)
        assert {n.name for n in norms} == {f"{c.name}_bn" for c in convolutions}
        assert all(n.epsilon == pytest.approx(1e-5) for n in norms)
        assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == parameters
        assert network.count_params() == parameters + 20_032


@pytest.mark.parametrize("case", list(recipe.CASES))
def test_evaluation(golden, model, case):
    """All block outputs and the feature; 227 has odd maps, 96x160 is not square."""
    x = images(golden, case, recipe.CASES[case])
    found = differences(golden, case, probe(model)(x, training=False))
    print(case, f"{max(found.values()):.1e}")
    assert all(d <= TOLERANCE for d in found.values()), found

    feature = model(x, training=False)
    assert model.layers[-1].name == "global_pool"
    error = relative(feature, golden[f"feature_{case}"])
    print(case, "feature", f"{error:.1e}")
    assert error <= TOLERANCE


def test_logits(golden, top_model):
    """The top ends in logits, without softmax."""
    logits = to_numpy(top_model[0](images(golden, "224", recipe.CASES["224"]), training=False))
    assert logits.shape == (1, 1000)
    error = relative(logits[:, : recipe.LOGITS], golden["logits_224"])
    print("logits", f"{error:.1e}")
    assert error <= TOLERANCE


def test_batch_statistics(golden):
    """A pass in training mode: outputs, feature and the running statistics after it.

    PyTorch's momentum 0.1 is Keras' 0.9. PyTorch normalises with the biased variance, as Keras
    does, but updates the running variance with the unbiased one, n/(n-1) times as large, with n
    values per channel: batch x height x width of the layer's map. At 2x2 and four images this is
    a factor of 16/15.
    """
    network = InceptionBN(weights=None, input_shape=(None, None, 3), pooling="avg")
    load(network)
    x = images(golden, "train", recipe.TRAIN_CASE)
    outputs = probe(network)(x, training=True)
    found = differences(golden, "train", outputs)
    feature = to_numpy(outputs[-1]).mean(axis=(1, 2))
    found["feature"] = relative(feature, golden["feature_train"])
    print("train", f"{max(found.values()):.1e}")
    assert all(d <= TRAIN_TOLERANCE for d in found.values()), found

    for name, side in zip(recipe.TRAIN_BNS, (32, 2), strict=True):
        layer = network.get_layer(name)
        assert layer.momentum == pytest.approx(0.9)
        _, _, mean, variance = (to_numpy(w) for w in layer.get_weights())
        assert relative(mean, golden[f"{name}_running_mean"]) <= TRAIN_TOLERANCE
        n = recipe.TRAIN_CASE[0] * side * side
        kept = 0.9 * recipe.weights(f"{name}.running_var", variance.shape)
        expected = kept + (golden[f"{name}_running_var"] - kept) * (n - 1) / n
        assert relative(variance, expected) <= TRAIN_TOLERANCE


def swap_channels(network):
    """Two output channels of one convolution exchanged."""
    layer = network.get_layer("inception_4c_3x3")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel[..., [1, 0, *range(2, kernel.shape[-1])]], bias])


def transpose_kernels(network):
    """Height and width exchanged in one kernel."""
    layer = network.get_layer("inception_5a_double_3x3_1")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel.transpose(1, 0, 2, 3), bias])


def drop_bias(network):
    layer = network.get_layer("conv2_3x3_reduce")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, np.zeros_like(bias)])


def swap_norm_weights(network):
    layer = network.get_layer("inception_3b_pool_proj_bn")
    gamma, beta, mean, variance = layer.get_weights()
    layer.set_weights([gamma, mean, beta, variance])


@pytest.mark.parametrize(
    ("damage", "first"),
    [
        (swap_channels, "inception_4c_output"),
        (transpose_kernels, "inception_5a_output"),
        (drop_bias, "pool2_3x3_s2"),
        (swap_norm_weights, "inception_3b_output"),
    ],
)
def test_the_comparison_sees_damage(golden, model, damage, first):
    """A small damage is seen, and first in the block where it was done."""
    saved = model.get_weights()
    try:
        damage(model)
        found = differences(
            golden, "64", probe(model)(images(golden, "64", recipe.CASES["64"]), training=False)
        )
    finally:
        model.set_weights(saved)
    assert next(name for name in recipe.TENSORS if found[name] > TOLERANCE) == first
    assert found["inception_5b_output"] > TOLERANCE
