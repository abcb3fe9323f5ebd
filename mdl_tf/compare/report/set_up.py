"""The sections of a report about how it was done, and how to read it."""

from mdl_tf.compare.report.blocks import Folded, Section, Table
from mdl_tf.compare.report.searches import learning_rates
from mdl_tf.compare.report.words import NONE, count, listing, value
from mdl_tf.metrics.columns import COLUMNS

_READING = (
    ("Recall@K", "Share of the queries with an image of their class among the K nearest."),
    (
        "MAP@R",
        "R is how many other images the class has. Mean over the R nearest of: precision up to "
        "there if it is a hit, else 0. It sees the order of all of them, not the first hit alone.",
    ),
    ("R-precision", "Share of hits among the R nearest."),
    (
        "strict",
        "Share of the queries for which every image of their class is nearer than every other.",
    ),
    ("NMI", "How much clusters of k-means tell about classes: 0 nothing, 1 all."),
    ("F1", "Pairs in one cluster against pairs in one class: precision and recall in one number."),
    (
        "±",
        "Half of the 95 % interval of a mean over seeds. What is smaller than it is noise: another "
        "set of seeds would give another order.",
    ),
    (
        "better, worse",
        "The interval of the differences seed by seed does not contain 0. Two intervals of the "
        "results may overlap all the same: what a seed does to both alike cancels in a difference.",
    ),
    (
        "raw pixels, features, untrained network",
        "What there is without any training. A loss that is not far above has learned little.",
    ),
)
_NOT_SHARED = ("loss", "loss_args", "learning_rate_factors", "seed")


def set_up(results):
    """Data, network, training, search and machines."""
    rows = [row for row in (*_network(results), *_search(results)) if row[1]]
    settings = tuple((key, value(v)) for key, v in results.config.items() if key not in _NOT_SHARED)
    return Section(
        "Set-up",
        (
            *_data(results),
            Table(("", "the same for all losses"), tuple(rows), words=(1,)),
            *_machines(results),
            Folded(
                f"All {len(settings)} settings that the runs share",
                (Table(("setting", "value"), settings, words=(1,)),),
            ),
        ),
    )


def data_set(results):
    """The name of the data set, which says whether it is a stand-in for another one."""
    return results.data.get("name") or results.config["dataset"]


def _data(results):
    name, data = data_set(results), results.data
    rows = tuple(
        (part, f"{data[part]['classes']:,}", f"{data[part]['images']:,}", purpose)
        for part, purpose in (
            ("train", "training"),
            ("validation", "choosing settings and the best epoch"),
            ("test", "results"),
        )
        if data.get(part)
    )
    if not rows:
        return [f"Data set {name}; its classes have not been counted yet."]
    yield f"Data set {name}. No class is in two parts, so every number is about unseen classes."
    head = ("part", "classes", data.get("kind", "images"), "used for")
    yield Table(head, rows, words=(3,))


def _network(results):
    config = results.config
    features = config["backbone"] == "none"
    weights = f", weights {config['weights']}" if config.get("weights") else ""
    size = f" at {config['image_size']} x {config['image_size']} pixels"
    yield "network", "embedding layer alone" if features else f"{config['backbone']}{weights}{size}"
    yield "embedding", f"{config['embedding_dim']} numbers"
    p, k = config["classes_per_batch"], config["images_per_class"]
    yield "batch", f"{p} classes x {k} {results.data.get('kind', 'images')} = {p * k:,}"
    epochs, steps = config["epochs"], config["steps_per_epoch"]
    yield (
        "steps",
        f"{epochs * steps:,}: {count(epochs, 'epoch')} of {steps:,}, validated after each",
    )
    decay = f", weight decay {config['weight_decay']:g}" if config.get("weight_decay") else ""
    clip = f", gradients clipped to norm {config['clip_norm']:g}" if config.get("clip_norm") else ""
    yield "optimizer", f"{config['optimizer']}{decay}{clip}"
    yield "schedule", f"{config['schedule']}{_warm_up(config)}"
    yield "augmentation", "" if features else config.get("augment", "")


def _warm_up(config):
    epochs = config.get("warm_up_epochs")
    return f", network frozen for {count(epochs, 'epoch')}" if epochs else ""


def _search(results):
    config = results.config
    monitor = COLUMNS.get(config["monitor"], config["monitor"])
    if results.search > 1:
        yield "search", f"{results.search} draws for each loss, the first of them its defaults"
        yield "chosen by", f"best {monitor} on the validation classes, as is the epoch"
    else:
        yield "search", "none: the defaults of each loss"
        yield "best epoch by", f"{monitor} on the validation classes"
    rates = learning_rates(results)
    low, high = rates or (None, None)
    yield "learning rates drawn", f"{low} to {high}" if low != high else low or ""
    seeds = ", ".join(map(str, results.seeds))
    yield "final runs", f"{count(len(results.seeds), 'seed')} each: {seeds}"


def _machines(results):
    found = {}
    for trial in results.trials:
        key = tuple((name, str(v)) for name, v in trial["machine"].items())
        found[key] = found.get(key, 0) + 1
    if not found:
        return
    names = list(dict.fromkeys(name for key in found for name, _ in key))
    rows = tuple(
        (str(i), str(runs), *(dict(key).get(name, NONE) for name in names))
        for i, (key, runs) in enumerate(found.items(), 1)
    )
    words = tuple(range(2, 2 + len(names)))
    yield Table(("machine", "runs", *names), rows, words)
    if len(found) > 1:
        differ = [name for name in names if len({dict(key).get(name) for key in found}) > 1]
        yield (
            f"The runs differ in {listing(differ)}: seconds of different machines or versions "
            "cannot be compared, and the same seed may give other numbers."
        )


def reading():
    """What the words and numbers mean."""
    return Section("How to read this", (Table(("", "what it is"), _READING, words=(1,)),))
