"""How a training begins: the embedding layer out of the data, the model of another run."""

import dataclasses

from mdl_tf.checks import HEADS
from mdl_tf.config import ConfigError
from mdl_tf.embedding import embed, fit_head
from mdl_tf.embedding.parts import feature_model, head_model
from mdl_tf.losses.metric_model import MetricModel
from mdl_tf.progress import ProgressLine
from mdl_tf.runs.data import ordered_stream
from mdl_tf.runs.folder import Run


def set_head(config, train_set, network, model, watch):
    """Let the embedding layer begin from the training classes, and the proxies with it.

    Args:
        config: the `TrainConfig`, as `resolve` returns it.
        train_set: the `ImageSet` of the training classes.
        network: the embedder; its embedding layer is changed.
        model: what is trained; the weights of its loss are changed.
        watch: a `Watch`.

    Returns:
        A dict for JSON of `kind`, `shrinkage` and `scores`, as `fit_head` tells them; `None` if the
        layer stays as it is.

    Raises:
        ConfigError: if the layer cannot be made out of these features.
    """
    if config.head not in HEADS:
        return None
    # What is in memory for the batches is not held twice.
    cache = "none" if config.cache == "ram" else config.cache
    stream = ordered_stream(train_set, dataclasses.replace(config, cache=cache), watch.stream)
    with ProgressLine(f"Embed {train_set.name}", len(train_set), watch.stream) as line:
        features, labels = embed(feature_model(network), stream, progress=line)
    try:
        with ProgressLine("Fit the embedding layer", stream=watch.stream) as line:
            head = fit_head(
                network,
                features,
                labels,
                head=config.head,
                shrinkage=config.shrinkage,
                seed=config.own_seed,
            )
            line.done(len(features), train_set.kind)
    except ValueError as error:
        raise ConfigError(f"`head` (random is always possible): {error}") from error
    watch.report(_describe(head, config, network))
    if isinstance(model, MetricModel):
        embeddings, _ = embed(head_model(network), head.features)
        model.begin_at(embeddings, head.labels, config.own_seed)
    scores = {f"{key:g}": value for key, value in head.scores.items()}
    return {"kind": head.kind, "shrinkage": head.shrinkage, "scores": scores}


def _describe(head, config, network):
    size = network.output_shape[-1]
    if head.kind != "whitened":
        why = " (no class has two different images)" if config.head == "whitened" else ""
        return f"The embedding layer begins with the first {size} principal axes{why}."
    chosen = "as given" if config.shrinkage is not None else "by default"
    if head.scores:
        scores = ", ".join(f"{key:g}: {value:.3f}" for key, value in head.scores.items())
        chosen = f"MAP@R of training classes held out of it: {scores}"
    return (
        f"The embedding layer begins with a whitening of the training classes, {size} numbers; "
        f"shrinkage {head.shrinkage:g} ({chosen})."
    )


def check_start(config, data):
    """Refuse to begin with a model that has seen what this run is measured on.

    Args:
        config: the `TrainConfig`.
        data: its `Data`.

    Raises:
        ConfigError: if the run of `start` was trained on a class that is for validation or test
            here, or does not tell what it was trained on.
    """
    run = Run(config.start)
    classes = run.read_json("classes.json")
    if classes is None:
        raise ConfigError(
            "`start` must be a run that keeps its classes in classes.json. "
            f"Received: start={config.start!r}"
        )
    seen = set(classes["train"])
    if run.config.refit:
        seen |= set(classes["validation"])
    for side in ("validation", "test"):
        names = set(data.sides[side].class_names) & seen if data.sides[side] else ()
        if names:
            raise ConfigError(
                f"`start` must be a run that was trained on no {side} class of this one. Received: "
                f"start={config.start!r}, which was trained on {len(names)} of them, such as "
                f"{min(names)!r}"
            )
