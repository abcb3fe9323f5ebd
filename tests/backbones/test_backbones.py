"""Backbones by name: each with the units of its own, saved, loaded and refused clearly."""

import importlib
import importlib.util
import inspect
import subprocess
import sys
import types
import urllib.error
import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src.applications import imagenet_utils
from keras.src.utils import file_utils

import mdl_tf
from mdl_tf import backbones
from mdl_tf.backbones import applications, named
from mdl_tf.embedding import embedding_model

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
# The units of the networks of keras.applications, written down once more.
UNITS = {
    "tf": lambda rgb: rgb / 127.5 - 1,
    "torch": lambda rgb: (rgb / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    "caffe": lambda rgb: rgb[..., ::-1] - [103.939, 116.779, 123.68],
    "inside": lambda rgb: rgb,
}
NETWORKS = {
    "mobilenet_v2": "tf",
    "DenseNet121": "torch",
    "VGG16": "caffe",
    "efficientnet-b0": "inside",
}


@pytest.fixture(autouse=True)
def policy_as_before():
    yield
    keras.config.set_dtype_policy("float32")


def refusal(*arguments):
    """The message with which `build` refuses."""
    with pytest.raises(ValueError) as raised:
        backbones.build(*arguments)
    return str(raised.value)


def by_hand(model, backbone, units):
    """Embeddings, not of unit length, of what the backbone is given, with the pooling in NumPy."""
    features = np.asarray(backbone(np.asarray(units, np.float32)), np.float32)
    features = features.mean(axis=tuple(range(1, features.ndim - 1)))
    kernel, bias = model.get_layer("embedding").get_weights()
    return features @ kernel + bias


def check(found, expected, wrong, tolerance=1e-4):
    """Equal, where another thing would not have been; untrained networks give tiny features."""
    tolerance *= np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    assert np.abs(wrong - expected).max() > 3 * tolerance


def loaded_elsewhere(folder, names):
    """What saved models make of `PIXELS` in a process that knows nothing of this library."""
    np.save(folder / "pixels.npy", PIXELS)
    script = (
        "import sys, keras, numpy as np\n"
        f"pixels = np.load({str(folder / 'pixels.npy')!r})\n"
        f"for name in {list(names)!r}:\n"
        f"    path = {str(folder)!r} + '/' + name\n"
        "    model = keras.saving.load_model(path + '.keras', compile=False)\n"
        "    np.save(path + '.npy', model(pixels))\n"
        "assert 'mdl_tf' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: np.load(folder / f"{name}.npy") for name in names}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Of each network: the embeddings by hand, those of the saved model, and those of others."""
    folder, expected, wrong = tmp_path_factory.mktemp("networks"), {}, {}
    keras.utils.set_random_seed(0)
    for name, mode in NETWORKS.items():
        backbone, preprocess = backbones.build(name, (32, 32, 3))
        model = embedding_model(backbone, preprocess, 5, l2_normalize=False)
        model.save(folder / f"{name}.keras")
        expected[name] = by_hand(model, backbone, UNITS[mode](PIXELS))
        other = "tf" if mode in ("caffe", "inside") else "caffe"
        wrong[name] = by_hand(model, backbone, UNITS[other](PIXELS))
    return expected, loaded_elsewhere(folder, NETWORKS), wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_saved_network_holds_its_units(networks, name):
    expected, found, wrong = (embeddings[name] for embeddings in networks)
    check(found, expected, wrong)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize(("name", "mode"), NETWORKS.items())
def test_units_survive_saving_in_every_precision(tmp_path, name, mode, policy):
    keras.config.set_dtype_policy(policy)
    preprocess = inspect.getmodule(applications.find(name)).preprocess_input
    inputs = keras.Input((32, 32, 3))
    seen = layers.Identity(dtype="float32")(preprocess(inputs))
    keras.Model(inputs, seen).save(tmp_path / "units.keras")
    found = keras.saving.load_model(tmp_path / "units.keras")(PIXELS)
    np.testing.assert_allclose(found, UNITS[mode](PIXELS), atol=1e-4)


def test_every_network_of_keras_is_found_and_has_units():
    names = applications.names()
    assert {"resnet50", "vgg16", "efficientnetv2b0", "convnexttiny", "mobilenetv3small"} < {*names}
    for name in names:
        function = applications.find(name)
        assert function.__name__.lower() == name
        modes = [units(PIXELS) for units in UNITS.values()]
        preprocess = inspect.getmodule(function).preprocess_input
        found = np.asarray(preprocess(ops.convert_to_tensor(PIXELS)))
        assert sum(np.allclose(found, mode, atol=1e-3) for mode in modes) == 1
    for spelling in ("EfficientNetV2B0", "efficientnet_v2_b0", "EFFICIENTNET-V2-B0"):
        assert applications.find(spelling) is keras.applications.EfficientNetV2B0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("vgg", (32, 32, 3)),
            "`backbone` must be inception_bn, efficientnet_lite0, efficientnet_lite1, "
            "efficientnet_lite2, conv4, none, a network of keras.applications such as resnet50, "
            "keras_hub:PRESET, or module:function of your own. "
            "Did you mean vgg19, vgg16? Received: backbone='vgg'",
        ),
        (("Inception-BN", (32, 32, 3)), "Did you mean inception_bn, "),
        (("efficientnet_lite3", (32, 32, 3)), "Did you mean efficientnet_lite2, "),
        ((None, (32, 32, 3)), "Received: backbone=None"),
        (("a b:c", (32, 32, 3)), "module:function of your own. Received: backbone='a b:c'"),
        (
            ("resnet50", (16, 16, 3)),
            "`backbone` must be a network that Keras can build for images of 16 x 16 "
            "(`image_size`). Received: backbone='resnet50', weights=None, and Keras says: "
            "Input size must be at least 32x32; Received: input_shape=(16, 16, 3)",
        ),
        (
            ("conv4", (20,)),
            "`input_shape` must be `(H, W, 3)`, or `(F,)` with backbone='none'. "
            "Received: input_shape=(20,) with backbone='conv4'",
        ),
        (("conv4", (None, None, 3)), "Received: input_shape=(None, None, 3) with backbone='conv4'"),
        (
            ("none", (32, 32, 3)),
            "`input_shape` must be `(F,)` with backbone='none', which takes features. "
            "Received: input_shape=(32, 32, 3)",
        ),
        (
            ("none", (20,), "imagenet"),
            "`weights` must be None with backbone='none'. Received: weights='imagenet'",
        ),
        (
            ("conv4", (32, 32, 3), "imagenet"),
            "`weights` must be None (--weights random), or a weight file of the backbone that "
            "exists, such as a .weights.h5. Received: weights='imagenet' with backbone='conv4'",
        ),
        (
            ("vgg16", (32, 32, 3), "/nowhere/vgg16.weights.h5"),
            "Received: weights='/nowhere/vgg16.weights.h5' with backbone='vgg16'",
        ),
        (
            ("keras_hub:vit", (32, 32, 3), "vit.weights.h5"),
            "`weights` must be None (random) or 'imagenet' (those that the preset brings, whatever "
            "they were trained on) with a backbone of KerasHub; your own are a preset folder. "
            "Received: weights='vit.weights.h5' with backbone='keras_hub:vit'",
        ),
        (
            ("my_module:build", (32, 32, 3), "imagenet"),
            "`weights` must be None or the path of a `.weights.h5` file with a backbone of your "
            "own, whose function knows where its weights are. Received: weights='imagenet' with "
            "backbone='my_module:build'",
        ),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(arguments, message):
    found = refusal(*arguments)
    assert message in found
    assert "\n" not in found


def test_features_are_handed_on():
    backbone, preprocess = backbones.build("none", (7,))
    assert (backbone.input_shape, backbone.output_shape) == ((None, 7), (None, 7))
    assert preprocess is None


@pytest.mark.parametrize("name", named.PUBLISHED)
def test_weights_of_the_published_networks_are_their_own_business(monkeypatch, name):
    given, units = {}, inspect.getmodule(named.PUBLISHED[name]).preprocess_input

    def builder(**options):
        given.update(options)
        return "the network"

    builder.__module__ = named.PUBLISHED[name].__module__
    monkeypatch.setitem(named.PUBLISHED, name, builder)
    assert backbones.build(name, (64, 64, 3), "imagenet") == ("the network", units)
    assert given == {"input_shape": (64, 64, 3), "weights": "imagenet"}


@pytest.mark.parametrize("name", ["EfficientNetLite1", "efficientnet-lite1", "EFFICIENTNET_LITE_1"])
def test_efficientnet_lite_is_found_in_any_spelling(name):
    network, preprocess = backbones.build(name, (32, 32, 3))
    assert network.name == "efficientnet_lite1"
    np.testing.assert_allclose(preprocess(PIXELS), (PIXELS - 127) / 128)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("inception_bn", 224),
        ("efficientnet_lite0", 224),
        ("EfficientNet-Lite1", 240),
        ("efficientnet_lite2", 260),
        ("conv4", 32),
        ("none", None),
        ("EfficientNet-B0", 224),
        ("efficientnet_v2_s", 384),
        ("keras_hub:vit_base_patch16_384_imagenet", 384),
        ("keras_hub:densenet_121_imagenet", 224),
        ("keras_hub:resnet_152_imagenet", 224),
    ],
)
def test_native_sizes(name, size):
    assert named.native_size(name) == size


def test_native_sizes_of_keras_are_those_of_keras(monkeypatch):
    class Asked(Exception):
        pass

    def obtain(input_shape, default_size, **options):
        raise Asked(default_size)

    monkeypatch.setattr(imagenet_utils, "obtain_input_shape", obtain)
    checked = 0
    for name in applications.names():
        # Nothing is built: the first thing that Keras does is to look at the size.
        if not name.startswith("mobilenetv3"):
            with pytest.raises(Asked) as raised:
                applications.find(name)(weights=None)
            assert named.native_size(name) == raised.value.args[0], name
            checked += 1
    assert checked > 30


def test_native_size_of_what_is_not_there():
    with pytest.raises(ValueError, match="Did you mean vgg19, vgg16"):
        named.native_size("vgg")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ('{"config": {"image_size": [96, 96]}}', 96),
        ('{"config": {"image_size": [96, 64]}}', 224),
        ('{"config": {"image_size": null}}', 224),
        ("no JSON", 224),
    ],
)
def test_native_size_of_a_preset_folder(tmp_path, text, size):
    assert named.native_size(f"keras_hub:{tmp_path}") == 224
    (tmp_path / "image_converter.json").write_text(text)
    assert named.native_size(f"keras_hub:{tmp_path}") == size


def test_native_size_of_a_function_of_the_users_own(own):
    path = own / "own_backbones.py"
    for name, default in (("sized", "(96, 96, 3)"), ("wide", "(96, 64, 3)"), ("free", "None")):
        text = f"\ndef {name}(input_shape={default}):\n    raise RuntimeError\n"
        path.write_text(path.read_text("utf-8") + text, "utf-8")
    assert named.native_size("own_backbones:sized") == 96
    for name in ("wide", "free", "build"):
        assert named.native_size(f"own_backbones:{name}") == 224
    with pytest.raises(ValueError, match="must name a function of its module"):
        named.native_size("own_backbones:nothing")


@pytest.mark.parametrize("name", ["conv4", "mobilenet"])
def test_weights_go_through_a_file(tmp_path, name):
    first, _ = backbones.build(name, (32, 32, 3))
    first.set_weights([w + 0.01 for w in first.get_weights()])
    path = tmp_path / "ä b.weights.h5"
    first.save_weights(path)
    again, _ = backbones.build(name, (32, 32, 3), str(path))
    for found, expected in zip(again.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_weights_of_something_else_are_refused_without_a_warning_for_every_layer(tmp_path):
    embedder = embedding_model(*backbones.build("conv4", (32, 32, 3)))
    embedder.save(tmp_path / "embedder.keras")
    (tmp_path / "text.weights.h5").write_text("no weights")
    for name in ("embedder.keras", "text.weights.h5"):
        path = str(tmp_path / name)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            message = refusal("mobilenet", (32, 32, 3), path)
        assert message.startswith(
            "`weights` must be a weight file of the backbone. "
            f"Received: weights={path!r} with backbone='mobilenet', and Keras says: "
        )
        assert len(message) < 800
        assert "\n" not in message
        assert not caught


def test_weights_that_cannot_be_fetched(tmp_path, monkeypatch):
    def no_internet(*arguments):
        raise urllib.error.URLError("no internet in this test")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    # Read by Keras when it is imported.
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    monkeypatch.setattr(file_utils, "urlretrieve", no_internet)
    message = refusal("mobilenet_v2", (96, 96, 3), "imagenet")
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5"
    address = f"https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/{name}"
    assert message == (
        "`weights` imagenet of backbone='mobilenet_v2' could not be fetched: URL fetch failure on "
        f"{address}: None -- no internet in this test. Without internet, put that file into "
        f"{tmp_path / 'models'} by hand."
    )
    by_hand, _ = backbones.build("mobilenet_v2", (96, 96, 3))
    by_hand.save(tmp_path / "models" / name)
    found, _ = backbones.build("mobilenet_v2", (96, 96, 3), "imagenet")
    for weight, expected in zip(found.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


# Each is the text of a module of the user's own.
OWN = {
    "build": "return keras.Model(i, Shift(2.0)(i))",
    "pair": "return keras.Model(i, i + 1), lambda rgb: rgb / 255",
    "any_size": "j = keras.Input((None, None, 3)); return keras.Model(j, j * 2)",
    "sequence": "return keras.Sequential([Shift(2.0)])",
    "weighted": "return keras.Model(i, keras.layers.Dense(2)(i))",
    "of_its_own_size": "j = keras.Input((8, 8, 3)); return keras.Model(j, j)",
    "two_inputs": "return keras.Model([i, keras.Input((4,))], i)",
    "layer": "return Shift(2.0)",
    "pair_of_no_function": "return keras.Model(i, i), 255",
    "unsaveable": "return keras.Model(i, keras.layers.Lambda(lambda x: x)(i))",
    "failing": "raise KeyError('no weights here')",
    "failing_units": "return keras.Model(i, i), lambda rgb: rgb.nothing",
    "ending": "raise SystemExit(0)",
    "talking": "raise ValueError('one line\\nand another')",
}
HEAD = """
import keras

@keras.saving.register_keras_serializable()
class Shift(keras.layers.Layer):
    def __init__(self, by, **options):
        super().__init__(**options)
        self.by = by

    def call(self, x):
        return x + self.by

    def get_config(self):
        return {**super().get_config(), "by": self.by}

number = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module `own_backbones`, and one that cannot be imported."""
    functions = [
        f"def {name}(input_shape):\n    i = keras.Input(input_shape)\n    {body}\n"
        for name, body in OWN.items()
    ]
    (tmp_path / "own_backbones.py").write_text(HEAD + "\n".join(functions), encoding="utf-8")
    (tmp_path / "own_broken.py").write_text("import not_installed\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("own_backbones", None)


@pytest.mark.parametrize(
    ("function", "units", "factor", "shift"),
    [("build", 1, 1, 2), ("pair", 255, 1, 1), ("any_size", 1, 2, 0), ("sequence", 1, 1, 2)],
)
def test_a_function_of_the_users_own(own, function, units, factor, shift):
    backbone, preprocess = backbones.build(f"own_backbones:{function}", (32, 32, 3))
    assert backbone.input_shape == (None, 32, 32, 3)
    assert (preprocess is None) == (units == 1)
    model = embedding_model(backbone, preprocess, 3, l2_normalize=False)
    model.get_layer("embedding").set_weights([np.eye(3), np.zeros(3)])
    expected = PIXELS.mean((1, 2)) / units * factor + shift
    np.testing.assert_allclose(model(PIXELS), expected, rtol=1e-5)


def test_weights_for_a_function_of_the_users_own(own, tmp_path):
    first, _ = backbones.build("own_backbones:weighted", (32, 32, 3))
    first.save_weights(tmp_path / "w.weights.h5")
    again, _ = backbones.build(
        "own_backbones:weighted", (32, 32, 3), str(tmp_path / "w.weights.h5")
    )
    np.testing.assert_array_equal(again.get_weights()[0], first.get_weights()[0])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "not_there:build",
            "`backbone` must name a module that is in the working folder, below PYTHONPATH or "
            "installed. "
            "Received: backbone='not_there:build', and there is no module not_there",
        ),
        (
            "own_backbones.sub:build",
            "`backbone` must name a module that is in the working folder, below PYTHONPATH or "
            "installed. "
            "Received: backbone='own_backbones.sub:build', and there is no module "
            "own_backbones.sub",
        ),
        (
            "own_broken:build",
            "`backbone` own_broken:build failed with ModuleNotFoundError: "
            "No module named 'not_installed'",
        ),
        (
            "own_backbones:nothing",
            "`backbone` must name a function of its module. "
            "Received: backbone='own_backbones:nothing', and nothing is not in /",
        ),
        ("own_backbones:number", "and number is of type int in /"),
        (
            "own_backbones:failing",
            "`backbone` own_backbones:failing failed with KeyError: 'no weights here' (/",
        ),
        ("own_backbones:failing_units", "failed with AttributeError: "),
        ("own_backbones:ending", "`backbone` own_backbones:ending failed with SystemExit: 0"),
        ("own_backbones:talking", "failed with ValueError: one line and another"),
        ("own_backbones.py:build", "Write it without .py: own_backbones. Received: "),
        (
            "own_backbones:layer",
            "`backbone` must name a function that returns a `keras.Model`, or a pair of a "
            "`keras.Model` and a function. Received: backbone='own_backbones:layer', which returns "
            "own_backbones.Shift",
        ),
        ("own_backbones:pair_of_no_function", "Functional, builtins.int"),
        (
            "own_backbones:of_its_own_size",
            "`backbone` must have one input of shape (32, 32, 3), which is `image_size`. "
            "Received: backbone='own_backbones:of_its_own_size' with (8, 8, 3)",
        ),
        ("own_backbones:two_inputs", "with (32, 32, 3), (4,)"),
        (
            "own_backbones:unsaveable",
            "`backbone` must be a model that can be saved and loaded again. "
            "Received: backbone='own_backbones:unsaveable', and Keras says: ",
        ),
    ],
)
def test_what_is_wrong_with_a_function_of_the_users_own(own, name, message):
    found = refusal(name, (32, 32, 3))
    assert message in found
    assert "\n" not in found


def test_the_cause_stays_behind_the_message(own):
    with pytest.raises(ValueError) as raised:
        backbones.build("own_backbones:failing", (32, 32, 3))
    assert isinstance(raised.value.__cause__, KeyError)


def saved_run(folder, function):
    """A run folder as far as loading looks into it, with an own backbone in its model."""
    backbone, preprocess = backbones.build(f"own_backbones:{function}", (32, 32, 3))
    embedding_model(backbone, preprocess, 3).save(folder / "model.keras")
    (folder / "config.json").write_text('{"backbone": "own_backbones:build"}', encoding="utf-8")


def forget(module):
    """As a fresh process, which has not imported the module."""
    del sys.modules[module]
    for name in [n for n in keras.saving.get_custom_objects() if n.endswith("Shift")]:
        del keras.saving.get_custom_objects()[name]


def test_loading_imports_the_module_of_a_run_only_for_its_layers(own, tmp_path):
    saved_run(tmp_path, "any_size")
    forget("own_backbones")
    (tmp_path / "own_backbones.py").write_text("raise RuntimeError('broken since')\n")
    assert mdl_tf.load_model(tmp_path).output_shape == (None, 3)
    assert "own_backbones" not in sys.modules


def test_loading_imports_the_module_of_a_run_for_its_layers(own, tmp_path):
    saved_run(tmp_path, "build")
    forget("own_backbones")
    assert mdl_tf.load_model(tmp_path).output_shape == (None, 3)
    forget("own_backbones")
    (tmp_path / "own_backbones.py").write_text("raise RuntimeError('broken since')\n")
    with pytest.raises(ValueError) as raised:
        mdl_tf.load_model(tmp_path)
    assert str(raised.value) == (
        "`backbone` own_backbones:build failed with RuntimeError: broken since "
        f"({tmp_path / 'own_backbones.py'}, line 1)"
    )
    (tmp_path / "own_backbones.py").unlink()
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match="in the working folder, below PYTHONPATH or installed"):
        mdl_tf.load_model(tmp_path)


# Scale and offset of the image converters.
PRESETS = {"convolutions": ([0.01, 0.02, 0.03], [1.0, 2.0, 3.0]), "transformer": (1 / 255, None)}


def stand_in():
    """KerasHub, as much of it as is used, for machines that do not have it."""
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(3, 4)) for name in PRESETS}

    class Backbone:
        presets = dict.fromkeys(["convolutions", "transformer", "two_ended", "turning"])

        @staticmethod
        def from_preset(preset, load_weights=True, **options):
            fixed = (8, 8, 3) if preset == "transformer" else (None, None, 3)
            inputs = keras.Input(options.get("image_shape", fixed), name="images")
            x = layers.Dense(4, "tanh", use_bias=False)(inputs)
            if preset == "transformer":
                x = layers.Reshape((-1, 4))(x)
            model = keras.Model({"images": inputs}, [x, x] if preset == "two_ended" else x)
            if load_weights:
                model.set_weights([weights[preset]])
            return model

    class ImageConverter:
        def __init__(self, preset):
            self.scale, self.offset = PRESETS.get(preset, (None, None))
            self.turns = preset == "turning"

        @classmethod
        def from_preset(cls, preset, image_size=(8, 8)):
            assert image_size is None, "would resize"
            return cls(preset)

        def __call__(self, x):
            x = x[..., ::-1] if self.turns else x
            x = x if self.scale is None else x * np.array(self.scale)
            return x if self.offset is None else x + np.array(self.offset)

    hub = types.ModuleType("keras_hub")
    hub.models = types.SimpleNamespace(Backbone=Backbone)
    hub.layers = types.SimpleNamespace(ImageConverter=ImageConverter)
    return hub


def real_presets(folder):
    """Preset folders of KerasHub itself, random weights."""
    hub = importlib.import_module("keras_hub")
    hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    ).save_to_preset(folder / "convolutions")
    hub.layers.ResNetImageConverter(
        image_size=(64, 64), scale=PRESETS["convolutions"][0], offset=PRESETS["convolutions"][1]
    ).save_to_preset(folder / "convolutions")
    hub.models.DINOV2Backbone(
        patch_size=8,
        num_layers=1,
        hidden_dim=8,
        num_heads=2,
        intermediate_dim=16,
        image_shape=(16, 16, 3),
        position_embedding_shape=(16, 16),
    ).save_to_preset(folder / "transformer")
    hub.layers.DINOV2ImageConverter(image_size=(16, 16), scale=1 / 255).save_to_preset(
        folder / "transformer"
    )


REAL = importlib.util.find_spec("keras_hub") is not None


@pytest.fixture(scope="module", params=["stand-in", *(["KerasHub"] if REAL else [])])
def hub(request, tmp_path_factory):
    """`keras_hub`, and what the names of its presets begin with."""
    folder = tmp_path_factory.mktemp("presets")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "stand-in":
            patch.setitem(sys.modules, "keras_hub", stand_in())
            yield sys.modules["keras_hub"], ""
        else:
            real_presets(folder)
            yield sys.modules["keras_hub"], f"{folder}/"


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("preset", ["convolutions", "transformer"])
def test_a_preset_of_keras_hub_holds_its_units(hub, tmp_path, preset, policy):
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)
    library, place = hub
    backbone, preprocess = backbones.build(f"keras_hub:{place}{preset}", (32, 32, 3), "imagenet")
    assert backbone.input_shape == (None, 32, 32, 3)
    assert len(backbone.output_shape) == {"convolutions": 4, "transformer": 3}[preset]
    model = embedding_model(backbone, preprocess, 5, l2_normalize=False)
    model.save(tmp_path / "hub.keras")
    found = keras.saving.load_model(tmp_path / "hub.keras")(PIXELS)
    scale, offset = PRESETS[preset]
    expected = by_hand(model, backbone, PIXELS * scale + (offset or 0))
    wrong = by_hand(model, backbone, PIXELS)
    with warnings.catch_warnings():
        # Such as that of a tensor where a dict of one is expected.
        warnings.simplefilter("error", UserWarning)
        model(PIXELS)
    check(found, expected, wrong, 1e-4 if policy == "float32" else 0.02)


@pytest.mark.parametrize("preset", ["convolutions", "transformer"])
def test_weights_of_a_preset_are_loaded_or_random(hub, preset):
    library, place = hub
    of_preset = library.models.Backbone.from_preset(f"{place}{preset}").get_weights()
    for weights, equal in (("imagenet", True), (None, False)):
        backbone, _ = backbones.build(f"keras_hub:{place}{preset}", (32, 32, 3), weights)
        found = backbone.get_weights()
        same = [
            np.array_equal(a, b)
            for a, b in zip(found, of_preset, strict=True)
            if a.shape == b.shape and a.ndim > 1
        ]
        assert same
        assert all(same) == equal


def test_presets_that_do_not_fit(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", stand_in())
    assert refusal("keras_hub:transformers", (32, 32, 3)) == (
        "`backbone` must be keras_hub: and the name of a preset, or a folder that `save_to_preset` "
        "wrote. Did you mean transformer? Received: backbone='keras_hub:transformers'"
    )
    assert refusal("keras_hub:turning", (32, 32, 3)) == (
        "`backbone` must have an image converter that only resizes, scales and adds an offset. "
        "Received: backbone='keras_hub:turning' with ImageConverter"
    )
    message = refusal("keras_hub:two_ended", (32, 32, 3), "imagenet")
    assert message.startswith(
        "`backbone` must be a preset of KerasHub with a backbone and a converter for images of "
        "32 x 32 (`image_size`). Received: backbone='keras_hub:two_ended', weights='imagenet', and "
        "KerasHub says: KeyError: "
    )


def test_a_converter_that_changes_nothing_is_no_preprocessing(monkeypatch):
    hub = stand_in()
    hub.models.Backbone.presets["plain"] = None
    monkeypatch.setitem(sys.modules, "keras_hub", hub)
    assert backbones.build("keras_hub:plain", (32, 32, 3))[1] is None


def test_keras_hub_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    assert refusal("keras_hub:resnet_50_imagenet", (32, 32, 3)) == (
        "`backbone` keras_hub:resnet_50_imagenet needs the package keras-hub: pip install keras-hub"
    )
