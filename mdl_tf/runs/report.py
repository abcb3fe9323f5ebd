"""What a run says before and after training: how long it takes, pictures, the table at the end."""

import time

import numpy as np

from mdl_tf.metrics.calibration import describe
from mdl_tf.metrics.columns import table
from mdl_tf.metrics.verification import Roc
from mdl_tf.pictures import plots
from mdl_tf.progress import duration
from mdl_tf.recipes.tables import published, wrapped
from mdl_tf.runs.calibration import explain_none
from mdl_tf.runs.data import BATCH
from mdl_tf.runs.keeping import read_state

REPORT = "report.txt"


class Clock:
    """Seconds by kind of work, on top of those of an interrupted session.

    Args:
        run: the `Run`, which keeps them.
    """

    def __init__(self, run):
        self._run = run
        self.seconds = dict(run.read_json("timing.json", {}))
        self._last = time.perf_counter()

    def lap(self, name):
        """Count the time since the last lap as work of the kind `name`."""
        now = time.perf_counter()
        self.seconds[name] = round(self.seconds.get(name, 0) + now - self._last, 1)
        self._last = now
        self._run.write_json("timing.json", self.seconds)

    def __str__(self):
        return ", ".join(f"{name} {duration(spent)}" for name, spent in self.seconds.items())


def forecast(model, config, test_images, validation_images):
    """What is going to happen and how long it takes, from a timed batch of this machine.

    Args:
        model: the embedder.
        config: the `TrainConfig`.
        test_images: how many are embedded before and after.
        validation_images: how many are embedded after every epoch.

    Returns:
        A text.
    """
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
    if config.backbone == "none" or config.frozen:
        what, seen = "Train the embedding layer", "features"
    return (
        f"{what} with the {config.loss} loss: {config.epochs} epochs of "
        f"{config.steps_per_epoch} batches of {config.classes_per_batch} classes x "
        f"{config.images_per_class} {seen}, about {duration(training)}; "
        f"embedding the test classes before and after, about {duration(evaluation)}."
    )


def draw_pictures(run, config, distances, calibration=None):
    """The pictures of a run: loss and recall over its epochs, distances of the test classes, ROC.

    Args:
        run: the `Run`.
        config: the `TrainConfig`.
        distances: dict from a title to a pair of arrays, positive and negative distances.
        calibration: the `Calibration` of the run. Defaults to `None`: it has none.
    """
    figures = {"distances.png": plots.distance_histograms(distances)}
    curves = {
        title: Roc(*pair).sample() for title, pair in distances.items() if all(map(len, pair))
    }
    if calibration is not None:
        curves["Validation classes, thresholds settled here"] = calibration.curve
    if curves:
        figures["roc.png"] = plots.roc_curves(curves)
    state = read_state(run)
    if state:
        history = state["history"]
        figures["loss.png"] = plots.loss_curve(history, config.steps_per_epoch)
        if any(key.startswith("val_recall") for key in history[0]):
            figures["recall.png"] = plots.recall_curve(history, config.steps_per_epoch)
    for name, figure in figures.items():
        with run.writing(name) as path:
            figure.savefig(path, dpi=150)


def _compare_sides(run, test):
    """Why the figures of validation and test differ, where they must."""
    validation = len(run.read_json("classes.json", {}).get("validation", ()))
    if validation and validation != test.num_classes:
        fewer = "validation" if validation < test.num_classes else "test"
        yield (
            f"Validation figures are of {validation:,} classes, those of the test of "
            f"{test.num_classes:,}: among fewer classes there is less to confuse, so that "
            f"{fewer} looks better, and the two cannot be compared."
        )


def write_report(
    run,
    config,
    test,
    results,
    clock,
    *,
    start_is_kept=False,
    calibration=None,
    why_not_calibrated=None,
):
    """The end of a run in words; kept as `report.txt`.

    Args:
        run: the `Run`; if it follows a recipe, published results are put beside its own.
        config: the `TrainConfig`.
        test: the `ImageSet` of the test classes.
        results: dict from a name to a dict of metrics, as in `metrics.json`.
        clock: the `Clock`.
        start_is_kept: whether no epoch was better than the start. Defaults to `False`.
        calibration: the `Calibration` of the run. Defaults to `None`: it has none.
        why_not_calibrated: why, as `calibration.explain_none` takes it. Defaults to `None`.

    Returns:
        A text of several lines.
    """
    lines = [
        f"Test: {len(test):,} {test.kind} of {test.num_classes:,} classes never seen in training",
        table(results),
        "",
        *_published_lines(run, config, test, results),
        *_sentences(config, results, start_is_kept),
        *_compare_sides(run, test),
        describe(calibration) if calibration else explain_none(why_not_calibrated),
        f"Time: {clock}.",
        f"Run folder: {run.folder}",
    ]
    text = "\n".join(lines)
    run.write_text(REPORT, text + "\n")
    return text


def _sentences(config, results, start_is_kept):
    """What came of it, in Recall@1 and MAP@R."""
    shown = {
        name: f"{row['recall_at_1']:.3f} / {row['map_at_r']:.3f}" for name, row in results.items()
    }
    figures = "Recall@1 / MAP@R on unseen classes"
    if "features" in shown:
        yield f"The features alone, of unit length, have {shown['features']}."
    if "separated" in shown:
        yield (
            f"Training took {figures} from {shown['untrained']} to {shown['separated']}, the mean "
            f"of the networks; their concatenated embeddings reach {shown['concatenated']}."
        )
    elif start_is_kept:
        yield (
            f"No epoch was better than the start by {config.monitor} on the validation classes, so "
            f"the start is what this run has, with {figures} of {shown['trained']}."
        )
    else:
        yield f"Training took {figures} from {shown['untrained']} to {shown['trained']}."
    if "refitted" in shown:
        yield (
            "The model of this run was trained once more on training and validation classes "
            f"together, and has {shown['refitted']}."
        )
    if not config.validation and config.folds == 1:
        yield "Without validation classes nothing was compared: the last epoch counts."


def _published_lines(run, config, test, results):
    """Published results below a run's own of equal size, as far as they may be compared."""
    recipe = run.read_json("recipe.json")
    if not recipe:
        return []
    changed = [f"{name} {now} instead of {was}" for name, (was, now) in recipe["changed"].items()]
    lines = [wrapped(f"Changed from the recipe: {', '.join(changed)}")] if changed else []
    # The folder that was read may be below the one that the recipe looked into.
    if recipe["published"] and "stand-in" in test.name:
        return [*lines, "No published figure is beside these: they are of a stand-in.", ""]
    if not recipe["published"]:
        return [*lines, recipe["why_none"], ""]
    lines += ["Some files were left out (left_out.csv)."] * (run.folder / "left_out.csv").is_file()
    lines.append(f"Published, beside this run of recipe {recipe['name']}, on the same classes:")
    return [*lines, published(recipe["published"], _own_rows(config, results)), ""]


def _own_rows(config, results):
    """A run's own results as rows like the published ones."""
    row = {"method": "this run", "backbone": config.backbone}
    size = config.embedding_dim
    if "trained" in results:
        kind = {"kind": "separated"} if config.folds > 1 else {}
        return [{**row, **kind, "embedding_dim": size, **results["trained"]}]
    sizes = {"separated": size, "concatenated": config.folds * size}
    return [{**row, "kind": k, "embedding_dim": n, **results[k]} for k, n in sizes.items()]
