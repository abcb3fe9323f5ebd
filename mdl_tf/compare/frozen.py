"""A comparison whose network is not trained: its features are those of all runs."""

import dataclasses

from mdl_tf.embedding.parts import embedding_layer
from mdl_tf.runs.replicas import runs_on_devices
from mdl_tf.runs.training import build_network


@runs_on_devices
def build_layer(config, whole):
    """The embedding layer of a run alone, from the features that a network has made.

    Args:
        config: the `TrainConfig` of the run.
        whole: the network; its own embedding layer stays as it is.

    Returns:
        An embedder, features `(B, F)` to embeddings `(B, D)`, not compiled.
    """
    before = embedding_layer(whole)
    size, embedding_dim = before.kernel.shape
    alone = dataclasses.replace(
        config,
        backbone="none",
        weights=None,
        start=None,
        frozen=False,
        head="random",
        shrinkage=None,
        embedding_dim=int(embedding_dim),
    )
    network = build_network(alone, int(size))
    if config.head == "kept":
        embedding_layer(network).set_weights(before.get_weights())
    return network


def join(config, layer, seed):
    """The whole model of a run whose embedding layer was trained alone.

    Args:
        config: the `TrainConfig` of the run.
        layer: the embedder of features.
        seed: of the network that made the features, where it began at random.

    Returns:
        An embedder of images.
    """
    whole = build_network(dataclasses.replace(config, seed=seed))
    embedding_layer(whole).set_weights(embedding_layer(layer).get_weights())
    return whole
