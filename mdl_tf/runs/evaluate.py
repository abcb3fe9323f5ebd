"""The best model of a run on any data set."""

from mdl_tf import datasets, metrics
from mdl_tf.config import ConfigError
from mdl_tf.datasets.image_set import SIDES
from mdl_tf.datasets.table import DATASETS
from mdl_tf.embedding import load_model
from mdl_tf.embedding.outputs import check_output
from mdl_tf.metrics.calibration import try_thresholds
from mdl_tf.metrics.verification import PAIRS, Roc
from mdl_tf.progress import ProgressLine
from mdl_tf.runs.calibration import read as read_calibration
from mdl_tf.runs.data import Data
from mdl_tf.runs.measure import measure_set


def evaluate_run(
    run,
    *,
    dataset=None,
    data_dir=None,
    split=None,
    crop_to_box=False,
    on_corrupt="error",
    clustering=None,
    verification=None,
    stream=None,
    output=None,
):
    """Metrics of the best model of a run on a data set.

    Args:
        run: a `Run` with a `model.keras`.
        dataset: name of a data set. Defaults to that of the run.
        data_dir: folder or file of the data. Defaults to that of the run.
        split: `"train"`, `"validation"`, `"test"`, or `"all"`. Defaults to `"test"`, or `"all"`
            for a user's own data (folder, csv, npz) of other classes than the run's.
        crop_to_box: whether to cut the images of another data set to its boxes; its own are as in
            training. Defaults to `False`.
        on_corrupt: `"error"`, or `"skip"` to leave out files that cannot be used; a run that left
            out files of its own data does so here. Defaults to `"error"`.
        clustering: whether to compute NMI and F1, by k-means with as many clusters as classes.
            Defaults to `None`: as in the run.
        verification: whether to compute equal error rate and true accept rates, and what the
            thresholds of the run's calibration give here. Defaults to `None`: as in the run.
        stream: where the progress goes. Defaults to standard output.
        output: name of the output that is the embedding, of a model with several. Defaults to
            `None`.

    Returns:
        A dict of metrics with `dataset`, `split`, `images` and `classes`; of a calibrated run with
        `verification` also `thresholds`, a list of dicts with a `threshold`, the false accept rate
        `far` that it was settled for, and the rates `far_here` and `tar_here`.

    Raises:
        ConfigError: if the run has no model.
        ValueError: if the data set cannot be loaded or has no such split.
    """
    if not run.model.is_file():
        raise ConfigError(f"The run must have a model.keras. Received: {run.folder}")
    config = run.config
    is_own = dataset in (None, config.dataset) and data_dir in (None, config.data_dir)
    dataset = dataset or config.dataset
    data_dir = data_dir or (config.data_dir if is_own else None)
    # Also in another place, and with it the classes that were trained on.
    same = ("duplicates", "split_by", "split_seed") if dataset == config.dataset else ()
    with ProgressLine(f"Load {dataset}", stream=stream) as line:
        collection = datasets.read(
            dataset,
            data_dir=data_dir,
            crop_to_box=config.crop_to_box if is_own else crop_to_box,
            on_corrupt="skip" if is_own and config.on_corrupt == "skip" else on_corrupt,
            **{name: getattr(config, name) for name in same},
            progress=line,
        )
        is_own = is_own or (dataset == config.dataset and _has_classes_of(run, collection))
        split = split or ("test" if is_own or not _is_own_form(dataset) else "all")
        if split == "all":
            image_set = collection.images
        elif split in SIDES:
            data = Data(*collection.split(**config.split))
            if is_own:
                run.keep_classes(data.sides, new=False)
            image_set = data.sides[split]
        else:
            raise ValueError(f"`split` must be one of {(*SIDES, 'all')}. Received: split={split!r}")
        if image_set is None:
            raise ValueError(
                "`split` 'validation' is empty: the run has no validation classes"
                + (", its folds have: evaluate one." if config.cross_validated else ".")
            )
        line.done(len(image_set), image_set.kind)
    if is_own and config.refit and split in ("validation", "all"):
        raise ValueError(
            "`split` must be train or test for a run with `refit`, whose model was trained on the "
            f"validation classes in the end. Received: split={split!r}"
        )
    verification = config.verification if verification is None else verification
    # Those of another output of the model are not known.
    calibration = read_calibration(run) if verification and output is None else None
    model = load_model(run.model, compile=False)
    check_output(model, output)
    if (config.backbone == "none") != (image_set.features is not None):
        raise ConfigError(
            f"The data set must be of what the run's network takes, "
            f"{'features' if config.backbone == 'none' else 'images'}. Received: {dataset}"
        )
    measured = measure_set(
        model,
        image_set,
        f"Embed {image_set.name}",
        dataset=dataset,
        augment=config.augment,
        clustering=config.clustering if clustering is None else clustering,
        verification=verification,
        seed=config.own_seed,
        stream=stream,
        output=output,
    )
    report = _describe(measured, dataset, split, image_set, collection)
    if "eer" in measured.metrics and calibration is not None:
        embeddings, labels = measured.embeddings, image_set.labels
        roc = Roc(*metrics.sample_distances(embeddings, labels, PAIRS, config.own_seed))
        report["thresholds"] = try_thresholds(calibration, roc)
    return report


def evaluate_file(
    path,
    *,
    dataset,
    data_dir=None,
    split=None,
    crop_to_box=False,
    on_corrupt="error",
    clustering=None,
    verification=None,
    stream=None,
    output=None,
):
    """Metrics of an embedder in a `.keras` file, which has no data of its own.

    Args:
        path: of the file.
        dataset: name of a data set.
        data_dir: folder or file of the data. Defaults to `None`: as for a run.
        split: `"train"`, `"test"`, or `"all"`. Defaults to `"all"` for a user's own data (folder,
            csv, npz), and to `"test"` for the others. Which classes the model has seen is not
            known.
        crop_to_box: whether to cut images to their boxes. Defaults to `False`.
        on_corrupt: `"error"`, or `"skip"` to leave out files that cannot be used. Defaults to
            `"error"`.
        clustering: whether to compute NMI and F1. Defaults to `None`: they are.
        verification: whether to compute equal error rate and true accept rates. Defaults to
            `None`: they are not.
        stream: where the progress goes. Defaults to standard output.
        output: name of the output that is the embedding, of a model with several. Defaults to
            `None`: it has one.

    Returns:
        As `evaluate_run`.

    Raises:
        ConfigError, ValueError: if the file is no such model, or the data do not fit it.
    """
    model = load_model(path, compile=False)
    check_output(model, output)
    split = split or ("all" if _is_own_form(dataset) else "test")
    if split not in ("train", "test", "all"):
        raise ValueError(
            "`split` must be train, test or all for a .keras file, of which no classes are held "
            f"out. Received: split={split!r}"
        )
    with ProgressLine(f"Load {dataset}", stream=stream) as line:
        collection = datasets.read(
            dataset,
            data_dir=data_dir,
            crop_to_box=crop_to_box,
            on_corrupt=on_corrupt,
            progress=line,
        )
        image_set = collection.images
        if split != "all":
            image_set = Data(*collection.split(validation=0)).sides[split]
        line.done(len(image_set), image_set.kind)
    takes = "images" if len(model.input_shape) == 4 else "features"
    if (takes == "features") != (image_set.features is not None):
        raise ConfigError(
            f"The data set must be of what the model takes, {takes}. Received: {dataset}"
        )
    measured = measure_set(
        model,
        image_set,
        f"Embed {image_set.name}",
        dataset=dataset,
        clustering=clustering is not False,
        verification=bool(verification),
        stream=stream,
        output=output,
    )
    return _describe(measured, dataset, split, image_set, collection)


def _describe(measured, dataset, split, image_set, collection):
    # A stand-in says that it is one in its name.
    name = collection.images.name
    return {
        "dataset": name if name.startswith(dataset) else dataset,
        "split": split,
        "images": len(image_set),
        "classes": image_set.num_classes,
        **({"left_out": len(collection.problems)} if collection.problems else {}),
        **measured.metrics,
    }


def _is_own_form(dataset):
    """Whether a data set is a form of a user's own data."""
    return dataset in DATASETS and DATASETS[dataset].is_own


def _has_classes_of(run, collection):
    """Whether a data set has the classes of the run's own: the same, in another place."""
    kept = run.read_json("classes.json", {})
    names = [name for side in kept.values() for name in side]
    return sorted(names) == sorted(collection.images.class_names)
