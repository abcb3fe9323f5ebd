"""Weights of Inception-BN: PyTorch's files give PyTorch's features, all else is refused by name.

The files are those that PyTorch wrote (`golden/make_bn_inception_files.py`), refilled byte for byte
from the recipe of their numbers; the features are in `golden/inception_bn.npz`.
"""

import concurrent.futures
import functools
import gzip
import hashlib
import http.server
import io
import socket
import tarfile
import threading
import tracemalloc
from pathlib import Path

import file_skeletons
import he_weights
import numpy as np
import pytest
from helpers import GOLDEN
from helpers.faults import WHEN, killed_at

from mdl_tf import cli
from mdl_tf.backbones import Conv4, InceptionBN, torch_file, weights
from mdl_tf.backbones.convert import convert_weights
from mdl_tf.files import UNFINISHED

TOLERANCE = 1e-4  # of the largest value


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "inception_bn.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A function from the kind of a file to its path, written when first asked for."""
    folder = tmp_path_factory.mktemp("files")

    @functools.cache
    def file(kind):
        path = folder / f"{kind}.pth"
        file_skeletons.write(kind, path)
        return path

    return file


@pytest.fixture(scope="module")
def network():
    """One network for all tests that set its weights."""
    return InceptionBN(input_shape=(None, None, 3), pooling="avg")


@pytest.fixture(scope="module")
def arrays(golden):
    """The state dict of the recipe; tests change copies of it."""
    names, shapes = golden["weight_names"], golden["weight_shapes"]
    return {
        str(name): he_weights.weights(str(name), shape[shape > 0])
        for name, shape in zip(names, shapes, strict=True)
    }


def difference(network, golden, case):
    """Between the features and PyTorch's, in units of PyTorch's largest."""
    images = he_weights.images(case, *he_weights.CASES[case])
    expected = golden[f"feature_{case}"]
    found = np.asarray(network(images, training=False))
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("kind", ["legacy", "zip", "legacy_1c"])
def test_a_file_of_pytorch_gives_the_features_of_pytorch(kind, files, network, golden):
    network.set_weights([np.zeros(w.shape) for w in network.weights])
    weights.load(network, files(kind))
    for case in ("224", "227"):
        assert difference(network, golden, case) <= TOLERANCE


def test_the_comparison_sees_two_kernels_exchanged(network, arrays, golden):
    one, other = (f"inception_4{block}_double_3x3_2.weight" for block in "ab")
    damaged = {**arrays, one: arrays[other], other: arrays[one]}
    weights.assign(network, damaged, "damaged.pth")
    assert difference(network, golden, "224") > TOLERANCE


def test_converted_by_the_command_it_is_the_same_with_and_without_top(
    files, network, golden, arrays, tmp_path, capsys
):
    source, destination = str(files("zip")), str(tmp_path / "mine" / "bn.weights.h5")
    assert cli.main(["convert-weights", source, destination]) == 0
    shown = capsys.readouterr().out
    sha256 = hashlib.sha256(files("zip").read_bytes()).hexdigest()
    assert shown.splitlines() == [
        f"{source}: 416 arrays with the top of 1000 classes; sha256 {sha256}, not the published "
        "file",
        f"Use it: mdl-tf train --weights {destination}",
    ]
    network.set_weights([np.zeros(w.shape) for w in network.weights])
    weights.load(network, destination)
    assert difference(network, golden, "224") <= TOLERANCE
    whole = InceptionBN(include_top=True, weights=destination, input_shape=(64, 64, 3))
    kernel, bias = whole.get_layer("last_linear").get_weights()
    np.testing.assert_array_equal(kernel, arrays["last_linear.weight"].T)
    np.testing.assert_array_equal(bias, arrays["last_linear.bias"])

    assert cli.main(["convert-weights", source, destination]) == 2
    assert "`destination` must not exist yet." in capsys.readouterr().err


def test_a_file_without_top_converts_without_top(arrays, tmp_path, monkeypatch):
    trunk = {name: a for name, a in arrays.items() if not name.startswith("last_linear")}
    monkeypatch.setattr(torch_file, "read", lambda path: trunk)
    source = tmp_path / "trunk.pth"
    source.write_bytes(b"stands for a file")
    done = convert_weights(source, tmp_path / "trunk.weights.h5")
    assert (done.arrays, done.classes, done.published) == (414, None, False)
    with pytest.raises(ValueError) as raised:
        InceptionBN(include_top=True, weights=source)
    assert str(raised.value) == (
        "`weights` must hold the weights of Inception-BN and nothing else. "
        f"Received: {source}, without last_linear.weight, last_linear.bias"
    )


@pytest.mark.parametrize(
    ("source", "destination", "message"),
    [
        ("nowhere.pth", "x.weights.h5", "`source` must be a file that exists. Received: source=n"),
        ("here.pth", "x.h5", "`destination` must end in .weights.h5. Received: destination=x.h5"),
        ("here.weights.h5", "x.pth", "`source` must be a PyTorch file of Inception-BN, and comes"),
        ("here.pth", "x.weights.h5", "`path` must"),
        ("empty.pth", "x.weights.h5", "`path` must"),
    ],
)
def test_what_cannot_be_converted(source, destination, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("here.pth", "here.weights.h5"):
        Path(name).write_bytes(b"no weights")
    Path("empty.pth").touch()
    assert cli.main(["convert-weights", source, destination]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert not Path(destination).exists()
    assert len(list(tmp_path.iterdir())) == 3, "nothing was left behind"


def changed(**changes):
    """A function that changes some arrays of a state dict; `None` takes one away."""

    def change(arrays):
        for name, value in changes.items():
            name = name.replace("__", ".")
            if value is None:
                del arrays[name]
            else:
                arrays[name] = value(arrays.get(name))
        return arrays

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            changed(conv2_3x3__bias=None),
            "`weights` must hold the weights of Inception-BN and nothing else. Received: "
            "f.pth, without conv2_3x3.bias",
        ),
        (
            lambda a: {n: v for n, v in a.items() if not n.startswith("inception_4")},
            "`weights` must hold the weights of Inception-BN and nothing else. Received: "
            "f.pth, without inception_4a_double_3x3_reduce.weight, "
            "inception_4a_double_3x3_reduce.bias, "
            "inception_4a_double_3x3_reduce_bn.weight and 195 more",
        ),
        (
            changed(fc__bias=lambda _: np.zeros(7, np.float32)),
            "`weights` must hold the weights of Inception-BN and nothing else. Received: "
            "f.pth, with fc.bias",
        ),
        (
            lambda a: {f"module.{name}": value for name, value in a.items()},
            "`weights` must hold the weights of Inception-BN and nothing else. Received: f.pth, "
            "without conv1_7x7_s2.weight, conv1_7x7_s2.bias, conv1_7x7_s2_bn.weight and 411 more "
            "and with module.conv1_7x7_s2.weight, module.conv1_7x7_s2.bias, "
            "module.conv1_7x7_s2_bn.weight and 413 more",
        ),
        (
            changed(state_dict=lambda _: {"a": 1}),
            "`weights` must be a file of a state dict: names of layers and arrays of floats alone. "
            "Received: f.pth, with the dict 'state_dict'; save that alone",
        ),
        (
            changed(inception_3a_3x3__weight=lambda a: a[:, :-1]),
            "`weights` must hold inception_3a_3x3.weight in the shape (64, 64, 3, 3). "
            "Received: f.pth, with the shape (64, 63, 3, 3)",
        ),
        (
            # As in TF-slim's widths.
            changed(inception_4c_pool_proj__weight=lambda a: a[:96]),
            "`weights` must hold inception_4c_pool_proj.weight in the shape (128, 576, 1, 1). "
            "Received: f.pth, with the shape (96, 576, 1, 1)",
        ),
        (
            changed(conv1_7x7_s2_bn__running_var=lambda a: a[None, None]),
            "`weights` must hold conv1_7x7_s2_bn.running_var in the shape (64,). "
            "Received: f.pth, with the shape (1, 1, 64)",
        ),
        (
            changed(conv1_7x7_s2_bn__running_var=lambda a: np.where(a > a.min(), a, np.nan)),
            "`weights` must be finite. Received: f.pth, NaN or infinity in "
            "conv1_7x7_s2_bn.running_var",
        ),
        (
            changed(epoch=lambda _: 3),
            "`weights` must be a file of a state dict: names of layers and arrays of floats alone. "
            "Received: f.pth, with the int 'epoch'",
        ),
        (
            changed(conv2_3x3__bias=lambda a: a.astype(np.int32)),
            "`weights` must be a file of a state dict: names of layers and arrays of floats alone. "
            "Received: f.pth, with the int32 array 'conv2_3x3.bias'",
        ),
    ],
)
def test_a_state_dict_that_does_not_fit_changes_nothing(
    change, message, arrays, network, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("f.pth").write_bytes(b"stands for a file")
    monkeypatch.setattr(torch_file, "read", lambda path: change(dict(arrays)))
    network.set_weights([np.full(w.shape, 0.5) for w in network.weights])
    with pytest.raises(ValueError) as raised:
        weights.load(network, "f.pth")
    assert str(raised.value) == message
    assert all((w == 0.5).all() for w in network.get_weights())


@pytest.mark.parametrize(
    ("name", "network_name"),
    [
        ("arg:conv_3a_1x1_weight", "MXNet's Inception-BN"),
        ("conv_3a_double_3x3_0_weight", "MXNet's Inception-BN"),
        ("bn_2_red_gamma", "MXNet's Inception-BN"),
        ("conv_5b_proj.weight", "MXNet's Inception-BN"),
        ("InceptionV2/Mixed_3b/Branch_0/Conv2d_0a_1x1/weights", "TF-slim's Inception v2"),
        ("features.init_block.conv1.conv.weight", "a network of pytorchcv"),
        ("inception3a.branch1.conv.weight", "torchvision's GoogLeNet"),
        ("Mixed_5b.branch1x1.conv.weight", "Inception v3"),
    ],
)
def test_names_of_look_alikes_are_refused(name, network_name, arrays, tmp_path, monkeypatch):
    path = tmp_path / "alike.pth"
    path.write_bytes(b"stands for a file")
    found = {name: np.zeros(3, np.float32)}
    monkeypatch.setattr(torch_file, "read", lambda path: found)
    with pytest.raises(ValueError) as raised:
        weights.read(path)
    assert str(raised.value).startswith(
        "`weights` must be of the Caffe layout of Inception-BN, as published in "
        f"bn_inception-52deb4733.pth. Received: {path}, which is {network_name}, "
    )
    assert str(raised.value).endswith(f" (it has {name})")


def test_own_names_are_no_look_alike(arrays, tmp_path, monkeypatch):
    path = tmp_path / "own.pth"
    path.write_bytes(b"stands for a file")
    monkeypatch.setattr(torch_file, "read", lambda path: arrays)
    assert list(weights.read(path)) == list(arrays)


def archive(member):
    """The bytes of a .tar.gz with one empty member."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo(member))
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (
            (0x112).to_bytes(8, "little") + bytes(100),
            "a file of MXNet, perhaps of MXNet's Inception-BN, whose pools",
        ),
        (
            bytes(100) + (0xDB4775248B80FB57).to_bytes(8, "little"),
            "a checkpoint of TensorFlow, perhaps of TF-slim's Inception v2",
        ),
        (archive("inception_v2.ckpt"), "an archive of TF-slim's Inception v2"),
        (archive("Inception-BN-0126.params"), "an archive of MXNet's Inception-BN"),
    ],
    ids=["MXNet", "checkpoint", "archive of TF-slim", "archive of MXNet"],
)
def test_files_of_look_alikes_are_refused(content, what, tmp_path, network):
    path = tmp_path / "downloaded"
    path.write_bytes(content)
    with pytest.raises(ValueError) as raised:
        weights.load(network, path)
    assert f"Received: {path}, which is {what}" in str(raised.value)


# Named, since archives hold the time at which they were made, and each process makes its own.
@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"text"), b"\x1f\x8b", archive("other.txt"), b""],
    ids=["gzip", "begins like gzip", "archive", "empty"],
)
def test_other_files_are_no_look_alikes(content, tmp_path, network):
    path = tmp_path / "downloaded"
    path.write_bytes(content)
    with pytest.raises(ValueError) as raised:
        weights.load(network, path)
    assert "Inception" not in str(raised.value)


def test_a_small_archive_that_would_grow_is_looked_into_only_a_little(tmp_path, network):
    path = tmp_path / "downloaded"
    name = tarfile.TarInfo("long")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 300_000_000
    path.write_bytes(gzip.compress(name.tobuf(tarfile.GNU_FORMAT) + bytes(10_000_000)))
    tracemalloc.start()
    with pytest.raises(ValueError, match="compressed by gzip"):
        weights.load(network, path)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_a_file_of_keras_under_another_name(tmp_path, network):
    path = tmp_path / "mine.h5"
    path.touch()
    with pytest.raises(ValueError) as raised:
        weights.load(network, path)
    assert str(raised.value) == (
        "`weights` must be a PyTorch file, or a file of Keras that is named NAME.weights.h5. "
        f"Received: weights={str(path)!r}"
    )


def test_a_keras_file_with_nan_is_refused(tmp_path, network):
    values = network.get_weights()
    values[7] = np.full_like(values[7], np.nan)
    network.set_weights(values)
    path = tmp_path / "nan.weights.h5"
    network.save_weights(path)
    with pytest.raises(ValueError) as raised:
        InceptionBN(input_shape=(32, 32, 3), weights=path)
    assert str(raised.value) == (
        f"`weights` must be finite. Received: weights={str(path)!r} with "
        f"backbone='inception_bn', NaN or infinity in {network.weights[7].path}"
    )


@pytest.mark.parametrize("wrong", ["nowhere.pth", 5, ["a.pth"]])
def test_weights_that_are_no_file(wrong):
    with pytest.raises(ValueError) as raised:
        InceptionBN(input_shape=(32, 32, 3), weights=wrong)
    assert str(raised.value) == (
        f"`weights` must be None, 'imagenet', or a file that exists. Received: weights={wrong!r}"
    )


def test_a_keras_file_of_another_network_is_refused(tmp_path):
    path = tmp_path / "conv4.weights.h5"
    Conv4().save_weights(path)
    for _ in range(2):
        with pytest.raises(ValueError) as raised:
            InceptionBN(input_shape=(32, 32, 3), weights=path)
        assert str(raised.value).startswith(
            "`weights` must be a weight file of the backbone. "
            f"Received: weights={str(path)!r} with backbone='inception_bn', and Keras says: "
        )
        path.write_bytes(b"no HDF5")


@pytest.fixture
def source(files, monkeypatch, tmp_path):
    """The published file's stand-in on a server of this machine; counts what is asked for."""
    content, asked = files("legacy").read_bytes(), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            sent = {"/standin.pth": content, "/page.html": b"Not here any more."}
            sent["/cut_off.pth"] = content[:1000]
            self.send_response(200 if self.path in sent else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(sent.get(self.path, b""))

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MDL_TF_HOME", str(tmp_path / "home"))
    base = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(weights, "FILE", "standin.pth")
    monkeypatch.setattr(weights, "SOURCES", (base + "standin.pth",))
    monkeypatch.setattr(weights, "SHA256", hashlib.sha256(content).hexdigest())
    yield base, asked
    server.shutdown()
    server.server_close()


def test_imagenet_is_fetched_checked_and_converted_once(source, golden, tmp_path, monkeypatch):
    _, asked = source
    first = InceptionBN(weights="imagenet", input_shape=(None, None, 3), pooling="avg")
    assert difference(first, golden, "224") <= TOLERANCE
    folder = tmp_path / "home" / "models"
    assert {p.name for p in folder.iterdir()} == {"standin.pth", "standin_notop-1.weights.h5"}
    # From now on neither the server nor the fetched file is needed.
    (folder / "standin.pth").unlink()
    monkeypatch.setattr(torch_file, "read", None)
    again = InceptionBN(weights="imagenet", input_shape=(64, 64, 3))
    for one, other in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(asked) == 1


@pytest.mark.longest
def test_a_damaged_conversion_is_made_again(source, golden, tmp_path):
    _, asked = source
    InceptionBN(weights="imagenet", input_shape=(32, 32, 3))
    converted = tmp_path / "home" / "models" / "standin_notop-1.weights.h5"
    whole = converted.read_bytes()
    converted.write_bytes(whole[: len(whole) // 2])
    again = InceptionBN(weights="imagenet", input_shape=(None, None, 3), pooling="avg")
    assert difference(again, golden, "224") <= TOLERANCE
    assert converted.stat().st_size > 0.9 * len(whole)
    assert len(asked) == 1


@pytest.mark.longest
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_killed_while_it_is_fetched_or_converted(number, when, source, golden, tmp_path):
    _, asked = source
    folder = tmp_path / "home" / "models"
    with killed_at(number, when, folder) as written:
        InceptionBN(weights="imagenet", input_shape=(32, 32, 3))
    # The first is of the folder into which it will be fetched.
    names = [Path(path).name for path in written]
    assert names[0].startswith(UNFINISHED) and len(names) == number
    assert names[1:] == ["standin.pth", "standin_notop-1.weights.h5"][: number - 1]
    again = InceptionBN(weights="imagenet", input_shape=(None, None, 3), pooling="avg")
    assert difference(again, golden, "224") <= TOLERANCE
    # A file that has its name is not fetched again, and before the first nothing was.
    assert len(asked) == (2 if (number, when) == (2, "before") else 1)
    assert {p.name for p in folder.iterdir()} == {"standin.pth", "standin_notop-1.weights.h5"}


@pytest.mark.longest
@pytest.mark.parametrize("when", WHEN)
def test_a_killed_conversion_leaves_all_or_nothing(when, files, network, golden, tmp_path):
    destination = tmp_path / "out" / "bn.weights.h5"
    with killed_at(1, when, destination.parent):
        convert_weights(files("zip"), destination)
    assert destination.exists() == (when == "after")
    if when == "before":
        convert_weights(files("zip"), destination)
    network.set_weights([np.zeros(w.shape) for w in network.weights])
    weights.load(network, destination)
    assert difference(network, golden, "224") <= TOLERANCE
    assert [path.name for path in destination.parent.iterdir()] == [destination.name]


@pytest.mark.longest
def test_imagenet_with_top_and_a_fetched_file_is_not_fetched_again(source, arrays):
    _, asked = source
    InceptionBN(weights="imagenet", input_shape=(32, 32, 3))
    whole = InceptionBN(weights="imagenet", include_top=True, input_shape=(32, 32, 3))
    kernel = whole.get_layer("last_linear").get_weights()[0]
    np.testing.assert_array_equal(kernel, arrays["last_linear.weight"].T)
    assert len(asked) == 1
    with pytest.raises(ValueError) as raised:
        InceptionBN(weights="imagenet", include_top=True, classes=10)
    assert str(raised.value) == (
        "`classes` must be 1000 for the top of weights='imagenet'. Received: classes=10"
    )


def test_a_file_of_that_name_that_is_another_is_kept_and_refused(source, tmp_path):
    _, asked = source
    folder = tmp_path / "home" / "models"
    folder.mkdir(parents=True)
    (folder / "standin.pth").write_bytes(b"mine")
    with pytest.raises(ValueError) as raised:
        InceptionBN(weights="imagenet", input_shape=(32, 32, 3))
    assert str(raised.value) == (
        f"`weights` 'imagenet' needs the file {folder / 'standin.pth'} to have the sha256 "
        f"{weights.SHA256}: move this one away, and it is fetched. "
        f"Received: a file with sha256 {hashlib.sha256(b'mine').hexdigest()}"
    )
    assert (folder / "standin.pth").read_bytes() == b"mine"
    assert not asked


def test_two_that_fetch_at_once_both_get_it(source, tmp_path, network):
    folder = tmp_path / "home" / "models"
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: weights._fetch(folder), range(2)))
    assert found == [folder / "standin.pth"] * 2
    assert weights.sha256(found[0]) == weights.SHA256
    assert [path.name for path in folder.iterdir()] == ["standin.pth"]


def test_imagenet_from_the_first_source_that_has_the_very_file(
    source, network, monkeypatch, tmp_path, files
):
    base, asked = source
    folder = tmp_path / "home" / "models"
    unused = socket.create_server(("127.0.0.1", 0))
    nobody = f"http://127.0.0.1:{unused.getsockname()[1]}/"
    unused.close()
    names = ("gone.pth", "page.html", "cut_off.pth", "standin.pth", "never_asked.pth")
    monkeypatch.setattr(weights, "SOURCES", (nobody, *(base + name for name in names)))
    assert weights._fetch(folder).read_bytes() == files("legacy").read_bytes()
    assert asked == [f"/{name}" for name in names[:4]]
    assert [path.name for path in folder.iterdir()] == ["standin.pth"]


def test_a_source_that_says_nothing_is_given_up(source, monkeypatch, tmp_path, files):
    base, _ = source
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sources = (f"http://127.0.0.1:{silent.getsockname()[1]}/", base + "standin.pth")
        monkeypatch.setattr(weights, "SOURCES", sources)
        monkeypatch.setattr(weights, "TIMEOUT", 0.2)
        assert weights._fetch(tmp_path).read_bytes() == files("legacy").read_bytes()


def test_imagenet_without_a_source_says_what_to_do(source, monkeypatch, tmp_path, files):
    base, _ = source
    sources = (base + "gone.pth", base + "page.html")
    monkeypatch.setattr(weights, "SOURCES", sources)
    with pytest.raises(ValueError) as raised:
        InceptionBN(weights="imagenet", input_shape=(32, 32, 3))
    folder = tmp_path / "home" / "models"
    assert str(raised.value) == (
        f"`weights` 'imagenet' needs standin.pth (45 MB, sha256 {weights.SHA256}), which could not "
        f"be fetched. Try again later, or put the file into {folder}, or give its path as weights "
        "(--weights FILE), or take backbone='efficientnet_lite0', whose weights come with pip. "
        f"Received: {sources[0]}: HTTP Error 404: Not Found; {sources[1]}: 18 bytes that have "
        f"sha256 {hashlib.sha256(b'Not here any more.').hexdigest()}"
    )
    assert list(folder.iterdir()) == []
    # What it says to do works.
    (folder / "standin.pth").write_bytes(files("legacy").read_bytes())
    InceptionBN(weights="imagenet", input_shape=(32, 32, 3))


def test_the_published_file_is_the_one_that_the_research_names():
    assert weights.FILE == "bn_inception-52deb4733.pth"
    assert weights.SHA256.startswith("52deb4733")
    assert len(weights.SHA256) == 64
    assert len(weights.SOURCES) > 1
    assert all(source.startswith(("http://", "https://")) for source in weights.SOURCES)
