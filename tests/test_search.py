"""Search: order and names are kept, neighbours equal a slow search, other models are refused."""

import json
import os
import shutil

import keras
import numpy as np
import pytest
from helpers.commands import run
from helpers.models import average_colour
from PIL import Image

from mdl_tf import batches, cli, datasets, search
from mdl_tf.config import TrainConfig
from mdl_tf.datasets import CorruptImagesError
from mdl_tf.embedding import embed, embedding_model
from mdl_tf.images import file as image_file
from mdl_tf.runs import Run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty plain colours in two levels of folders, an odd name, a run that embeds them."""
    folder = tmp_path_factory.mktemp("search")
    rng = np.random.default_rng(0)
    places = ["", "reds", "blues", "blues/dark ü"]
    for i in range(20):
        place = folder / "photos" / places[i % 4]
        place.mkdir(parents=True, exist_ok=True)
        colour = rng.integers(0, 256, 3).astype(np.uint8)
        Image.fromarray(np.tile(colour, (20, 30, 1))).save(place / f"{i:02d} é.png")
    (folder / "photos" / ".hidden.png").write_bytes(b"")
    Image.new("RGB", (9, 9), (200, 30, 30)).save(folder / "red.png")
    Image.new("RGB", (9, 9), (20, 30, 190)).save(folder / "blue.png")
    run = Run.create(TrainConfig(dataset="digits", augment="paper"), folder / "runs", "colours")
    average_colour().save(run.model)
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def colours(vectors):
    pixels = [image_file.read(vectors.path(i))[0, 0] for i in range(len(vectors))]
    return np.array(pixels) / 255


def test_order_and_names_are_kept(here):
    vectors = search.embed_images("runs/colours", "photos")
    assert len(vectors) == 20
    assert vectors.names[0] == "00 é.png"
    assert "blues/dark ü/03 é.png" in vectors.names
    np.testing.assert_allclose(vectors.embeddings, colours(vectors), atol=1e-6)
    vectors.save("vectors.npz")
    again = search.Vectors.load("vectors.npz")
    assert (again.names, again.folder, again.model) == (
        vectors.names,
        str(here / "photos"),
        vectors.model,
    )
    np.testing.assert_array_equal(again.embeddings, vectors.embeddings)


def test_neighbours_equal_a_slow_search(here):
    vectors = search.embed_images("runs/colours", "photos")
    found = search.nearest("runs/colours", vectors, ["red.png", "blue.png"], k=7)
    for query, hits in zip(([200, 30, 30], [20, 30, 190]), found, strict=True):
        far = np.sqrt(((colours(vectors) - np.array(query) / 255) ** 2).sum(axis=1))
        order = np.argsort(far)[:7]
        assert [hit.name for hit in hits] == [vectors.names[i] for i in order]
        np.testing.assert_allclose([hit.distance for hit in hits], far[order], atol=1e-6)
        assert all(os.path.samefile(hit.path, here / "photos" / hit.name) for hit in hits)


def test_the_view_is_that_of_the_run(here, monkeypatch):
    """A run trained with `paper` sees the middle of its images in search, too."""
    seen = []
    real = batches.ordered
    monkeypatch.setattr(batches, "ordered", lambda *args: seen.append(args[3]) or real(*args))
    search.embed_images("runs/colours", "photos")
    # A file is looked at before, for the units of its pixels.
    search.embed_images("runs/colours/model.keras", "photos")
    assert seen == ["paper", None, "paper"]
    shutil.copy("runs/colours/model.keras", "elsewhere.keras")
    search.embed_images("elsewhere.keras", "photos")
    assert seen[3:] == [None, None]


def test_the_file_is_a_data_set_of_features(here):
    search.embed_images("runs/colours", "photos").save("features.npz")
    collection = datasets.read("npz", data_dir="features.npz")
    assert collection.images.features.shape == (20, 3)
    assert collection.images.class_names == (".", "blues", "blues/dark ü", "reds")


def test_vectors_of_another_model_are_refused(here, tmp_path):
    vectors = search.embed_images("runs/colours", "photos")
    other = embedding_model(average_colour(), embedding_dim=3)
    other.save(tmp_path / "other.keras")
    with pytest.raises(ValueError) as raised:
        search.nearest(tmp_path / "other.keras", vectors, ["red.png"])
    assert "The vectors must come from the same model as the queries' embeddings" in str(
        raised.value
    )


def test_broken_images_stop_or_are_left_out(here, tmp_path):
    for name, content in {"a.jpg": b"", "b.jpg": b"text"}.items():
        (tmp_path / name).write_bytes(content)
    Image.new("RGB", (9, 9), "red").save(tmp_path / "c.png")
    with pytest.raises(CorruptImagesError) as raised:
        search.embed_images("runs/colours", tmp_path)
    assert [problem.reason for problem in raised.value.problems] == ["is empty", "is no image file"]
    vectors = search.embed_images("runs/colours", tmp_path, on_corrupt="skip")
    assert vectors.names == ("c.png",)
    assert len(vectors.left_out) == 2
    with pytest.raises(ValueError) as raised:
        search.nearest("runs/colours", vectors, ["red.png", tmp_path / "a.jpg"], k=1)
    assert str(raised.value) == (
        f"`queries` must be image files that can be used. Received: {tmp_path}/a.jpg is empty"
    )


def test_the_same_network_with_another_view_is_refused(here):
    """A .keras file does not tell that its run cut out the middle; in its run's folder it does."""
    vectors = search.embed_images("runs/colours", "photos")
    there = search.nearest("runs/colours/model.keras", vectors, "red.png", k=1)
    assert there == search.nearest("runs/colours", vectors, "red.png", k=1)
    shutil.copy("runs/colours/model.keras", "elsewhere.keras")
    with pytest.raises(ValueError) as raised:
        search.nearest("elsewhere.keras", vectors, "red.png", k=1)
    assert "trained with another `augment`" in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"vectors": "red.png"},
            "The vectors must be a file that `mdl-tf embed` wrote. Received: red",
        ),
        ({"run": keras.Model()}, "`run` must be the path of a run folder or a .keras file. Receiv"),
        ({"queries": []}, "`queries` must be at least one image file."),
        ({"k": 21}, "`k` must be an integer, at least 1 and at most 20. Received: k=21"),
    ],
)
def test_impossible_searches(here, arguments, message):
    vectors = search.embed_images("runs/colours", "photos")
    with pytest.raises(ValueError) as raised:
        search.nearest(
            **{"run": "runs/colours", "vectors": vectors, "queries": "red.png", **arguments}
        )
    assert message in str(raised.value)


def test_a_run_of_features_has_nothing_to_embed(here, tmp_path):
    inputs = keras.Input((5,))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "f.keras")
    with pytest.raises(ValueError) as raised:
        search.embed_images(tmp_path / "f.keras", "photos")
    assert "must be of a network that takes images. Received: " in str(raised.value)
    assert "which takes features, 5 numbers" in str(raised.value)


def test_a_picture_shows_queries_and_neighbours_also_missing_ones(here, tmp_path):
    vectors = search.embed_images("runs/colours", "photos")
    found = search.nearest("runs/colours", vectors, ["red.png", "blue.png"], k=3)
    found[1][2] = found[1][2]._replace(path="nowhere.png")
    figure = search.picture(["red.png", "blue.png"], found)
    shown = [axes.images[0].get_array()[0, 0] for axes in figure.axes]
    assert len(shown) == 8
    np.testing.assert_array_equal(shown[0], [200, 30, 30])
    np.testing.assert_array_equal(shown[1], image_file.read(found[0][0].path)[0, 0])
    np.testing.assert_array_equal(shown[7], 224)
    assert found[0][0].name.split("/")[-1] in figure.axes[1].get_xlabel()
    assert f"{found[0][0].distance:.3f}" in figure.axes[1].get_xlabel()


def test_the_picture_of_very_many_is_cut(here):
    vectors = search.embed_images("runs/colours", "photos")
    queries = ["red.png", "blue.png"] * 12
    found = search.nearest("runs/colours", vectors, queries, k=3)
    found = [row * 8 for row in found]
    assert len(search.picture(queries, found).axes) == 20 * 21


def test_as_typed(here, capsys):
    assert cli.main(["embed", "runs/colours", "photos", "-o", "typed.npz"]) == 0
    assert "typed.npz: 20 vectors of 3 numbers" in capsys.readouterr().out
    arguments = ["search", "runs/colours", "typed.npz", "red.png", "blue.png", "-k", "3"]
    assert cli.main([*arguments, "--picture", "found.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    vectors = search.Vectors.load("typed.npz")
    found = search.nearest("runs/colours", vectors, ["red.png", "blue.png"], k=3)
    expected = [f"{i:>4}  {h.distance:.4f}  {h.name}" for i, h in enumerate(found[0], 1)]
    assert lines[:4] == ["red.png", *expected]
    assert lines[4] == "blue.png"
    assert lines[-1] == "Picture: found.png"
    with Image.open("found.png") as picture:
        assert picture.size[0] > 500
    assert cli.main([*arguments, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [hit["name"] for hit in shown[1]["hits"]] == [hit.name for hit in found[1]]


def test_in_a_fresh_process_nothing_but_the_answer_is_printed(here):
    search.embed_images("runs/colours", "photos").save("fresh.npz")
    done = run("search", "runs/colours", "fresh.npz", "red.png", "-k", "2", cwd=here)
    assert done.returncode == 0
    # The first line of a process with ONNX Runtime; elsewhere there is nothing to prepare.
    assert done.stderr in ("", "Prepare model.keras for quick answers, once\n")
    assert len(done.stdout.splitlines()) == 4


def test_embedding_equals_that_of_the_model(here):
    vectors = search.embed_images("runs/colours/model.keras", "photos")
    pixels = np.stack([np.tile(c * 255, (16, 16, 1)) for c in colours(vectors)])
    expected, _ = embed(average_colour(), pixels)
    np.testing.assert_allclose(vectors.embeddings, expected, atol=1e-6)


# ----------------------------------------------------------------- a network of one's own


def save_colours(path, *, outputs, scaled):
    """A network of (r, g, b) / 255, or of what it is given, and of something else."""
    inputs = keras.Input((16, 16, 3))
    colour = keras.layers.GlobalAveragePooling2D(name="colour")(inputs)
    if scaled:
        colour = keras.layers.Rescaling(1 / 255, name="embedding")(colour)
    other = keras.layers.Dense(2, name="classes")(colour)
    maps = keras.layers.MaxPooling2D(4, name="maps")(inputs)
    made = {"one": colour, "two": [other, colour], "maps": maps}[outputs]
    keras.Model(inputs, made, name="own").save(path)
    return str(path)


@pytest.mark.parametrize("command", ["python", "typed"])
def test_a_network_with_several_outputs(here, tmp_path, command, capsys):
    model = save_colours(tmp_path / "two.keras", outputs="two", scaled=True)
    file = str(tmp_path / "vectors.npz")
    if command == "typed":
        arguments = ["embed", model, "photos", "-o", file]
        assert cli.main(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert not os.path.exists(file)
        assert cli.main([*arguments, "--model-output", "embedding"]) == 0
    else:
        with pytest.raises(ValueError, match=r"such as output='classes'.* 'embedding' \(B, 3\)"):
            search.embed_images(model, "photos")
        search.embed_images(model, "photos", output="embedding").save(file)
    vectors = search.Vectors.load(file)
    assert vectors.output == "embedding"
    np.testing.assert_allclose(vectors.embeddings, colours(vectors), atol=1e-6)
    hit = search.nearest(model, file, ["red.png"], k=1)[0][0]
    found = colours(vectors)[vectors.names.index(hit.name)]
    assert hit.distance == pytest.approx(np.linalg.norm(found - np.array([200, 30, 30]) / 255))
    # As a data set of features it is read without a word on what it is not.
    assert len(datasets.read("npz", data_dir=file).images) == 20


def test_maps_are_refused(here, tmp_path):
    model = save_colours(tmp_path / "maps.keras", outputs="maps", scaled=True)
    with pytest.raises(ValueError, match="maps .B, h, w, c. that are not pooled"):
        search.embed_images(model, "photos")


def test_a_network_of_other_units(here, tmp_path):
    model = save_colours(tmp_path / "raw.keras", outputs="one", scaled=False)
    with pytest.warns(UserWarning, match="as they are and scales nothing. If it was trained on"):
        given = search.embed_images(model, "photos")
    np.testing.assert_allclose(given.embeddings, colours(given) * 255, atol=1e-4)
    for name, expected in (
        ("0..255", colours(given) * 255),
        ("0..1", colours(given)),
        ("-1..1", colours(given) * 2 - 1),
    ):
        vectors = search.embed_images(model, "photos", input_range=name)
        np.testing.assert_allclose(vectors.embeddings, expected, atol=1e-4)
        vectors.save(tmp_path / "vectors.npz")
        [hits] = search.nearest(model, tmp_path / "vectors.npz", [vectors.path(3)], k=1)
        assert hits[0].name == vectors.names[3]
        assert hits[0].distance == pytest.approx(0, abs=1e-4)
    with pytest.raises(ValueError, match="the network of a run takes 0..255"):
        search.embed_images("runs/colours", "photos", input_range="0..1")
    with pytest.raises(ValueError, match="`input_range` must be one of"):
        search.embed_images(model, "photos", input_range="0-1")


def test_a_classifier_is_told_of(here, tmp_path):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    keras.Model(inputs, keras.layers.Dense(3, "softmax")(x)).save(tmp_path / "classes.keras")
    with pytest.warns(UserWarning, match="ends in the probabilities of classes"):
        search.embed_images(tmp_path / "classes.keras", "photos")


def test_evaluate_names_the_output_too(here, tmp_path, capsys):
    run = Run.create(TrainConfig(dataset="digits"), tmp_path, "two")
    save_colours(run.model, outputs="two", scaled=True)
    arguments = ["evaluate", str(run.folder), "--no-clustering", "--json"]
    assert cli.main(arguments) == 2
    assert "such as output='classes'" in capsys.readouterr().err
    assert cli.main([*arguments, "--model-output", "embedding"]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["recall_at_1"] < 1
