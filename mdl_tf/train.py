"""Where everything meets: a config becomes data, model, loss, `fit`, and a report.

What it keeps goes through `runs.Run`.
"""

import contextlib
import functools
import time

import keras
import numpy as np
import tensorflow as tf

from mdl_tf import batches, datasets, phases, plots
from mdl_tf.assemble import build_loss, build_model, build_optimizer
from mdl_tf.callbacks import RetrievalMetrics, standard_callbacks
from mdl_tf.config import ConfigError
from mdl_tf.embedding import load_model
from mdl_tf.evaluation import BATCH, embedded, raw_pixels
from mdl_tf.progress import ProgressLine, duration
from mdl_tf.report import KS, table
from mdl_tf.run_callbacks import EpochTable, RunCheckpoint, StopIfDiverged, read_state

LISTED = 20  # files that are left out, in the output


def train(config, run, *, report=print):
    """Train, or go on with an interrupted run, and report on classes never seen in training.

    Everything is kept in the run folder: `metrics.json` with the numbers of raw pixels and of the
    network before training as soon as they are known, best and last model after every epoch.

    Args:
        config: the `TrainConfig` of the run.
        run: a `Run`, new or interrupted.
        report: a function that prints a line. Defaults to `print`.

    Returns:
        A dict `{"raw_pixels": {...}, "untrained": {...}, "trained": {...}}` of metrics on the test
        classes; `"features"` in place of `"raw_pixels"` for a data set of features.

    Raises:
        ConfigError, ValueError: for settings that do not fit each other or the data.
    """
    if config.repeatable:
        _make_repeatable()
    clock = _Clock(run.read_json("timing.json", {}))
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.policy)
    # What cannot be is refused before the data are loaded.
    build_loss(config, num_classes=2)
    build_optimizer(config)
    state = read_state(run)
    # Features have a size that only the data tell.
    embedder = None if state or config.backbone == "none" else build_model(config)

    train_set, validation, test = _load(config, run, report)
    done = state["epochs_done"] if state else 0
    results = run.read_json("metrics.json", {})
    if state and "untrained" not in results:
        raise ConfigError(
            "The run must have the metrics.json that it had before its first epoch. "
            f"Received: {run.folder}"
        )
    if state:
        model = phases.go_on(config, run, state, train_set.num_classes)
        report(f"Go on after epoch {done} of {config.epochs}.")
    else:
        if embedder is None:
            embedder = build_model(config, feature_size=train_set.features.shape[1])
        model, learns = phases.begin(config, train_set.num_classes, embedder)
    stream = _training_stream(train_set, config, done)
    validation_stream = validation and _stream(
        batches.ordered, validation, config, batch_size=BATCH
    )
    clock.lap("loading")

    sets = {"train": train_set, "validation": validation, "test": test}
    run.keep_classes(sets, new=not state)
    run.keep_counts(sets, new=not state)
    if not state:
        run.write_json(phases.TRAINABLE, learns)
    distances = run.folder / "resume" / "distances_untrained.npz"
    options = {"augment": config.augment, "clustering": config.clustering, "seed": config.seed}
    if "untrained" not in results:
        if not state:
            report(_forecast(model, config, len(test), len(validation or ())))
        raw = "raw_pixels" if test.features is None else "features"
        results[raw] = raw_pixels(test)
        results["untrained"], sample = embedded(model, test, "Embed test, untrained", **options)
        with run.writing("resume/distances_untrained.npz") as path:
            np.savez(path, positive=sample[0], negative=sample[1])
        run.write_json("metrics.json", results)
    clock.lap("evaluation")
    run.write_json("timing.json", clock.seconds)

    if done < config.epochs and not (state and state["stopped"]):
        if done < config.warm_up_epochs:
            report(f"Warm-up to epoch {config.warm_up_epochs}: the embedding layer learns alone.")
            _fit(model, stream, validation_stream, config, run, report, warm_up=True)
            phases.end_warm_up(config, run, model)
            report("The network learns from now on.")
            # The first one goes before the second one is made: both may hold all images.
            stream = None
            stream = _training_stream(train_set, config, config.warm_up_epochs)
        _fit(model, stream, validation_stream, config, run, report)
    clock.lap("training")

    best = load_model(run.model, compile=False)
    results["trained"], sample = embedded(best, test, "Embed test, trained", **options)
    run.write_json("metrics.json", results)
    with np.load(distances) as stored:
        before = stored["positive"], stored["negative"]
    _draw(run, config, {"Test classes, untrained": before, "Test classes, trained": sample})
    clock.lap("evaluation")
    run.write_json("timing.json", clock.seconds)
    report("")
    report(f"Test: {len(test):,} images of {test.num_classes:,} classes never seen in training")
    report(table(results))
    report("")
    before, after = (results[key]["recall_at_1"] for key in ("untrained", "trained"))
    report(f"Training took Recall@1 on unseen classes from {before:.3f} to {after:.3f}.")
    spent = ", ".join(f"{name} {duration(s)}" for name, s in clock.seconds.items())
    report(f"Time: {spent}.")
    report(f"Run folder: {run.folder}")
    return results


def _load(config, run, report):
    """The data set of a config, split; what is left out is listed in the run folder."""
    with ProgressLine(f"Load {config.dataset}") as line:
        collection = datasets.read(
            config.dataset,
            data_dir=config.data_dir,
            crop_to_box=config.crop_to_box,
            on_corrupt=config.on_corrupt,
            progress=line,
        )
        train_set, validation, test = collection.split(config.validation)
        line.done(len(collection.images), collection.images.kind)
    run.write_left_out(collection.problems)
    for problem in collection.problems[:LISTED]:
        report(f"  left out: {problem.path}, which {problem.reason}")
    if len(collection.problems) > LISTED:
        report(f"  left out in all: {len(collection.problems):,} (left_out.csv)")
    for part in (train_set, validation, test):
        if part is not None:
            report(f"  {part.name}: {len(part):,} {part.kind} of {part.num_classes:,} classes")
    if test.queries is not None:
        queries = int(test.queries.sum())
        report(f"  of the test {queries:,} are queries, {len(test) - queries:,} the gallery")
    if (config.backbone == "none") != (train_set.features is not None):
        has = "images" if train_set.features is None else "features"
        raise ConfigError(
            "`backbone` must be none for a data set of features, and a network for images. "
            f"Received: backbone={config.backbone!r}, and {config.dataset} has {has}"
        )
    if config.classes_per_batch > train_set.num_classes:
        raise ConfigError(
            "`classes_per_batch` (--classes-per-batch) must be at most the number of training "
            f"classes, {train_set.num_classes} of {collection.images.num_classes} in all. "
            f"Received: classes_per_batch={config.classes_per_batch}"
        )
    return train_set, validation, test


def _make_repeatable():
    """Let a CPU add up a branched network's gradients in the same order every time.

    With several operations at once the order changes from run to run, and rounding with it. One
    operation at a time, each on all cores, repeats bit by bit, and keeps the data waiting.
    """
    # Too late once TensorFlow runs, as in a notebook; training works all the same.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_inter_op_parallelism_threads(1)


def _stream(make, image_set, config, **options):
    """Batches of a set as a config wants them, with a progress line if they are decoded at once."""
    options = {
        "image_size": (config.image_size, config.image_size),
        "augment": config.augment,
        "cache": config.cache,
        **options,
    }
    if config.cache == "none" or image_set.features is not None:
        return make(image_set, **options)
    with ProgressLine(f"Decode {image_set.name}", len(image_set)) as line:
        return make(image_set, progress=line, **options)


def _training_stream(train_set, config, epochs_done):
    return _stream(
        batches.balanced,
        train_set,
        config,
        classes_per_batch=config.classes_per_batch,
        images_per_class=config.images_per_class,
        seed=config.seed,
        start_step=epochs_done * config.steps_per_epoch,
        short_classes=config.short_classes,
    )


def _fit(model, stream, validation, config, run, report, *, warm_up=False):
    """Train to the end of the warm-up, or of the run; what is kept of earlier epochs goes on."""
    state = read_state(run)
    callbacks, retrieval_metrics, early_stopping = _watching(
        model, validation, config, run, warm_up
    )
    for_search = None
    if warm_up or config.batch_norm == "statistics":
        for_search = functools.partial(phases.for_search, config, run)
    line = ProgressLine("Train")
    model.fit(
        stream,
        epochs=config.warm_up_epochs if warm_up else config.epochs,
        initial_epoch=state["epochs_done"] if state else 0,
        steps_per_epoch=config.steps_per_epoch,
        verbose=0,
        shuffle=False,
        callbacks=[
            StopIfDiverged(config.learning_rate),
            *callbacks,
            EpochTable(config.steps_per_epoch, config.epochs, line, report),
            RunCheckpoint(run, retrieval_metrics, early_stopping, state, for_search),
        ],
    )


def _watching(model, validation, config, run, warm_up):
    """Keras's callbacks of a run, and which of them measures and which stops, or `None`."""
    log_dir = run.tensorboard if config.tensorboard else None
    if validation is None:
        board = [keras.callbacks.TensorBoard(str(log_dir), write_graph=False)] if log_dir else []
        return board, None, None
    retrieval_metrics = RetrievalMetrics(
        validation, KS, margin=_margin(config.loss, model.loss), seed=config.seed
    )
    # While the network is frozen a standstill says nothing.
    patience = None if warm_up else config.patience or None
    callbacks = standard_callbacks(retrieval_metrics, patience=patience, log_dir=log_dir)
    early_stopping = next(
        (c for c in callbacks if isinstance(c, keras.callbacks.EarlyStopping)), None
    )
    return callbacks, retrieval_metrics, early_stopping


def _margin(name, loss):
    """The margin of a loss between a positive's and a negative's Euclidean distance, else 0."""
    if name in ("margin_discriminate", "triplet") and loss.distance == "euclidean":
        return loss.margin
    return 0.0


def _forecast(model, config, test_images, validation_images):
    """What is going to happen and how long it takes, from a timed batch of this machine."""
    pixels = np.zeros((BATCH, *model.input_shape[1:]), np.float32)
    start = time.perf_counter()
    model.predict_on_batch(pixels)
    compiled = time.perf_counter()
    for _ in range(2):
        model.predict_on_batch(pixels)
    per_image = (time.perf_counter() - compiled) / (2 * BATCH)
    steps = config.epochs * config.steps_per_epoch
    batch = config.classes_per_batch * config.images_per_class
    # Measured: forward and backward take some four times the forward pass, and their graph some
    # five times as long to build.
    training = 5 * (compiled - start)
    training += per_image * (4 * steps * batch + config.epochs * validation_images)
    evaluation = per_image * 2 * test_images
    what, size = f"Train {config.backbone}", config.image_size
    seen = f"images at {size} x {size}"
    if config.backbone == "none":
        what, seen = "Train the embedding layer", "features"
    return (
        f"{what} with the {config.loss} loss: {config.epochs} epochs of "
        f"{config.steps_per_epoch} batches of {config.classes_per_batch} classes x "
        f"{config.images_per_class} {seen}, about {duration(training)}; "
        f"embedding the test classes before and after, about {duration(evaluation)}."
    )


def _draw(run, config, distances):
    state = read_state(run)
    history = state["history"]
    figures = {
        "loss.png": plots.loss_curve(history, config.steps_per_epoch),
        "distances.png": plots.distance_histograms(distances),
    }
    if any(key.startswith("val_recall") for key in history[0]):
        figures["recall.png"] = plots.recall_curve(history, config.steps_per_epoch)
    for name, figure in figures.items():
        with run.writing(name) as path:
            figure.savefig(path, dpi=150)


class _Clock:
    """Seconds by kind of work, on top of those of an interrupted session."""

    def __init__(self, seconds):
        self.seconds = dict(seconds)
        self._last = time.perf_counter()

    def lap(self, name):
        now = time.perf_counter()
        self.seconds[name] = round(self.seconds.get(name, 0) + now - self._last, 1)
        self._last = now
