"""TensorFlow SavedModel: a folder for TensorFlow Serving and every language that TensorFlow has."""

import json
from pathlib import Path

FACTS = "embedder.json"


def write(graph, path, facts):
    """Write a model as a folder.

    Args:
        graph: a `keras.Model` that `graph.deployable` made.
        path: of the folder, an empty one.
        facts: a dict of texts, kept in `assets.extra`.
    """
    write_archive(graph, path)
    folder = Path(path) / "assets.extra"
    folder.mkdir(exist_ok=True)
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def write_archive(graph, path):
    """Write a SavedModel with the endpoint `serve`, from `image` to a dict with `embedding`.

    Args:
        graph: a `keras.Model` that `graph.deployable` made.
        path: of the folder.
    """
    import keras
    import tensorflow as tf

    [given] = graph.inputs
    spec = tf.TensorSpec((None, *given.shape[1:]), given.dtype, name=given.name)
    archive = keras.export.ExportArchive()
    archive.track(graph)
    archive.add_endpoint(
        "serve", lambda x: {"embedding": graph(x, training=False)}, input_signature=[spec]
    )
    archive.write_out(str(path), verbose=False)


def load(path):
    """A function from inputs to embeddings, by the runtime of this format.

    Args:
        path: of the folder.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))

    def embed(inputs):
        return loaded.serve(tf.constant(inputs))["embedding"].numpy()

    # What it belongs to must live as long as it.
    embed.loaded = loaded
    return embed
