"""The phases of a training: a warm-up, if there is one, in which the network is frozen; the rest.

Every phase has an optimizer of its own, compiled for what learns in it. What learns in the last one
is kept, since the network may have layers that its owner froze for good.
"""

from mdl_tf.config import ConfigError
from mdl_tf.embedding import load_model, set_batch_norm
from mdl_tf.embedding.trainable import flags, freeze_all_but, put_back
from mdl_tf.runs.network import build_loss, build_training_model, compile_model

# Batch normalisation that is another one in training than in the model that is kept.
CHANGED = ("statistics", "synchronized")


def begin(config, num_classes, embedder):
    """The model of a training that begins, compiled for its first phase.

    Args:
        config: the `TrainConfig`.
        num_classes: classes in the training set.
        embedder: what `build_model` made.

    Returns:
        A compiled `keras.Model`, and what learns after the warm-up, to be kept.

    Raises:
        ConfigError, ValueError: as `build_training_model`.
    """
    # Compiled for the last phase first: a learning-rate factor that fits nothing is refused now.
    model = build_training_model(config, num_classes, embedder)
    learns = flags(embedder)
    if config.warm_up_epochs:
        _freeze(config, model, model.loss)
    return model, learns


def go_on(config, checkpoint, learns, epochs_done, num_classes):
    """The model of a training that goes on, compiled for the phase of its next epoch.

    Args:
        config: the `TrainConfig`.
        checkpoint: path of the model after the last epoch.
        learns: what `begin` returned, or `None` if it is not known.
        epochs_done: how many there were.
        num_classes: classes in the training set.

    Returns:
        A compiled `keras.Model`.
    """
    model, loss = load_model(checkpoint, compile=False), build_loss(config, num_classes)
    if epochs_done == config.warm_up_epochs > 0:
        _thaw(config, learns, model, loss)
        return model
    _as_begun(config, learns, embedder_of(model))
    if epochs_done < config.warm_up_epochs:
        _freeze(config, model, loss)
    else:
        compile_model(config, model, loss, first_step=_first_step(config))
    # The weights again, and now the state of the optimizer as well. Not by compiling in
    # `load_model`: Keras builds the optimizer for what it thinks would learn.
    model.load_weights(checkpoint)
    return model


def end_warm_up(config, model, learns):
    """Let a model learn as it is to after the warm-up, with a new optimizer.

    Args:
        config: the `TrainConfig`.
        model: what was trained in the warm-up.
        learns: what learns from now on, as `begin` returned it.
    """
    _thaw(config, learns, model, model.loss)


def changes_layers(config, epoch):
    """Whether the model of an epoch is not yet what `make_plain` makes of it.

    Args:
        config: the `TrainConfig`.
        epoch: from 0.
    """
    return epoch < config.warm_up_epochs or config.batch_norm in CHANGED


def make_plain(config, learns, embedder):
    """Make of a trained embedder what everybody can load, search with and train on.

    Args:
        config: the `TrainConfig`.
        learns: what `begin` returned, or `None` if it is not known.
        embedder: a `keras.Model`; it is changed.

    Returns:
        The embedder: frozen only where its owner froze it, of Keras's own layers if the backbone
        is. It is not to be trained on without being compiled again.
    """
    _as_begun(config, learns, embedder)
    if config.batch_norm in CHANGED:
        set_batch_norm(embedder, "train")
    return embedder


def embedder_of(model):
    """The embedder in what `fit` trains, which a loss with weights is put around."""
    return getattr(model, "embedder", model)


def _first_step(config):
    """The step of the run with which the last phase begins."""
    return config.warm_up_epochs * config.steps_per_epoch


def _freeze(config, model, loss):
    freeze_all_but(embedder_of(model), "embedding")
    compile_model(config, model, loss, only_trained=True)


def _thaw(config, learns, model, loss):
    _as_begun(config, learns, embedder_of(model))
    compile_model(config, model, loss, first_step=_first_step(config))


def _as_begun(config, learns, embedder):
    """What Keras does not store of layers inside a layer of a user's own, and what was frozen."""
    if config.batch_norm != "train":
        set_batch_norm(embedder, config.batch_norm)
    # The first runs of 0.1.0 kept none.
    if learns is not None:
        try:
            put_back(embedder, learns)
        except ValueError as error:
            raise ConfigError(
                "resume/trainable.json must be that of this run's model: restore it from a copy, "
                f"or begin again with --restart. {error}"
            ) from error
