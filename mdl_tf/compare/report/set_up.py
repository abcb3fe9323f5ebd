"""The section of a report about data, network, training, search and machines."""

from collections import Counter

from mdl_tf.compare.report.baselines import name_start
from mdl_tf.compare.report.blocks import Folded, Section, Table
from mdl_tf.compare.report.searches import drawn_learning_rates
from mdl_tf.compare.report.words import NONE, count, listing, value
from mdl_tf.metrics import table

_NOT_SHARED = ("loss", "loss_args", "seed")


def show_set_up(results):
    """Data, network, training, search and machines.

    Args:
        results: a `Results`.

    Returns:
        A `Section`.
    """
    rows = [*_describe_network(results.config, results), *_describe_search(results)]
    rows = tuple((name, text) for name, text in rows if text)
    settings = tuple((key, value(v)) for key, v in results.config.items() if key not in _NOT_SHARED)
    return Section(
        "Set-up",
        (
            *_describe_data(results),
            Table(("", "the same for all losses"), rows, text_columns=(1,)),
            *_describe_machines(results),
            Folded(
                f"All {len(settings)} settings that the runs share",
                (Table(("setting", "value"), settings, text_columns=(1,)),),
            ),
        ),
    )


def data_set_name(results):
    """The name of the data set, which says whether it is a stand-in for another one."""
    return results.data.get("name") or results.config["dataset"]


def _describe_data(results):
    name, data = data_set_name(results), results.data
    purposes = {
        "train": "training",
        "validation": "choosing settings and the best epoch",
        "test": "results",
    }
    rows = tuple(
        (part, f"{data[part]['classes']:,}", f"{data[part]['images']:,}", purpose)
        for part, purpose in purposes.items()
        if data.get(part)
    )
    if not rows:
        return [f"Data set {name}; its classes have not been counted yet."]
    head = ("part", "classes", data.get("kind", "images"), "used for")
    return [
        f"Data set {name}. No class is in two parts, so every number is about unseen classes.",
        Table(head, rows, text_columns=(3,)),
    ]


def _describe_network(config, results):
    has_images = config["backbone"] != "none"
    network = "embedding layer alone"
    if has_images:
        weights = f", weights {config['weights']}" if config.get("weights") else ""
        size = config["image_size"]
        network = f"{config['backbone']}{weights} at {size} x {size} pixels"
        if config.get("start"):
            network += f", of the run {config['start']}"
        if config.get("frozen"):
            network += "; it is not trained, the embedding layer alone is"
    p, k = config["classes_per_batch"], config["images_per_class"]
    epochs, steps = config["epochs"], config["steps_per_epoch"]
    in_all = f"{epochs * steps:,}: {count(epochs, 'epoch')} of {steps:,}, validated after each"
    optimizer = config["optimizer"]
    if config.get("weight_decay"):
        optimizer += f", weight decay {config['weight_decay']:g}"
    if config.get("clip_norm"):
        optimizer += f", gradients clipped to norm {config['clip_norm']:g}"
    schedule = config["schedule"]
    if config.get("warm_up_epochs"):
        schedule += f", network frozen for {count(config['warm_up_epochs'], 'epoch')}"
    return [
        ("network", network),
        ("embedding", f"{config['embedding_dim']} numbers"),
        ("start", name_start(results).removeprefix("start: ").removesuffix(", not trained")),
        ("batch", f"{p} classes x {k} {results.data.get('kind', 'images')} = {p * k:,}"),
        ("steps", in_all),
        ("optimizer", optimizer),
        ("schedule", schedule),
        ("augmentation", config.get("augment", "") if has_images else ""),
    ]


def _describe_search(results):
    monitor = table.title(results.config["monitor"])
    if results.search > 1:
        yield "search", f"{results.search} draws for each loss, the first of them its defaults"
        yield "chosen by", f"best {monitor} on the validation classes, as is the epoch"
    else:
        yield "search", "none: the defaults of each loss"
        yield "best epoch by", f"{monitor} on the validation classes"
    rates = drawn_learning_rates(results)
    if rates:
        low, high = rates
        yield "learning rates drawn", low if low == high else f"{low} to {high}"
    seeds = ", ".join(map(str, results.seeds))
    yield "final runs", f"{count(len(results.seeds), 'seed')} each: {seeds}"


def _describe_machines(results):
    machines = Counter(
        tuple((name, str(fact)) for name, fact in trial["machine"].items())
        for trial in results.trials
    )
    if not machines:
        return
    facts = [dict(machine) for machine in machines]
    names = list(dict.fromkeys(name for machine in facts for name in machine))
    rows = tuple(
        (str(i), str(runs), *(machine.get(name, NONE) for name in names))
        for i, (machine, runs) in enumerate(zip(facts, machines.values(), strict=True), 1)
    )
    yield Table(("machine", "runs", *names), rows, text_columns=tuple(range(2, 2 + len(names))))
    if len(facts) > 1:
        differ = [name for name in names if len({machine.get(name) for machine in facts}) > 1]
        yield (
            f"The runs differ in {listing(differ)}: seconds of different machines or versions "
            "cannot be compared, and the same seed may give other numbers."
        )
