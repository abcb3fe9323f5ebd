"""The phases of a run: a warm-up in which the network is frozen, if there is one, then the rest.

Every phase has an optimizer of its own, compiled for what learns in it. What learns in the last one
is kept in the run folder, since the network may have layers that its owner froze for good.
"""

from mdl_tf.runs.network import build_loss, build_training_model, compile_model
from mdl_tf.embedding.batch_norm import set_batch_norm
from mdl_tf.embedding import load_model
from mdl_tf.embedding.trainable import flags, freeze_all_but, put_back

TRAINABLE = "resume/trainable.json"


def begin(config, num_classes, embedder):
    """The model of a run that begins, compiled for its first phase.

    Args:
        config: the `TrainConfig`.
        num_classes: classes in the training set.
        embedder: what `build_model` made.

    Returns:
        A compiled `keras.Model`, and what learns after the warm-up, to be kept as `TRAINABLE`.

    Raises:
        ConfigError, ValueError: as `build_training_model`.
    """
    # Compiled for the last phase first: a learning-rate factor that fits nothing is refused now.
    model = build_training_model(config, num_classes, embedder)
    kept = flags(embedder)
    if config.warm_up_epochs:
        _freeze(config, model, model.loss)
    return model, kept


def go_on(config, run, state, num_classes):
    """The model of a run that goes on, compiled for the phase of its next epoch.

    Args:
        config: the `TrainConfig`.
        run: the `Run`.
        state: what `read_state` returned.
        num_classes: classes in the training set.

    Returns:
        A compiled `keras.Model`.
    """
    path, done = run.folder / state["checkpoint"], state["epochs_done"]
    model, loss = load_model(path, compile=False), build_loss(config, num_classes)
    if done == config.warm_up_epochs > 0:
        _thaw(config, run.read_json(TRAINABLE), model, loss)
        return model
    _as_begun(config, run.read_json(TRAINABLE), _embedder(model))
    if done < config.warm_up_epochs:
        _freeze(config, model, loss)
    else:
        compile_model(config, model, loss, first_step=_first_step(config))
    # The weights again, and now the state of the optimizer as well. Not by compiling in
    # `load_model`: Keras builds the optimizer for what it thinks would learn.
    model.load_weights(path)
    return model


def end_warm_up(config, model, learns):
    """Let a model learn as it is to after the warm-up, with a new optimizer.

    Args:
        config: the `TrainConfig`.
        model: what was trained in the warm-up.
        learns: what learns from now on, as `begin` returned it.
    """
    _thaw(config, learns, model, model.loss)


def for_search(config, run, path):
    """The embedder in a checkpoint as everybody can load and train it on.

    Args:
        config: the `TrainConfig`.
        run: the `Run`.
        path: of the checkpoint.

    Returns:
        A `keras.Model` that is not compiled, frozen only where its owner froze it, of Keras's own
        layers if the backbone is.
    """
    embedder = _embedder(load_model(path, compile=False))
    _as_begun(config, run.read_json(TRAINABLE), embedder)
    if config.batch_norm == "statistics":
        set_batch_norm(embedder, "train")
    return embedder


def _embedder(model):
    return getattr(model, "embedder", model)


def _first_step(config):
    """The step of the run with which the last phase begins."""
    return config.warm_up_epochs * config.steps_per_epoch


def _freeze(config, model, loss):
    freeze_all_but(_embedder(model), "embedding")
    compile_model(config, model, loss, only_trained=True)


def _thaw(config, learns, model, loss):
    _as_begun(config, learns, _embedder(model))
    compile_model(config, model, loss, first_step=_first_step(config))


def _as_begun(config, learns, embedder):
    """What Keras does not store of layers inside a layer of somebody's own, and what was frozen."""
    if config.batch_norm != "train":
        set_batch_norm(embedder, config.batch_norm)
    # Runs of earlier versions kept none.
    if learns is not None:
        put_back(embedder, learns)
