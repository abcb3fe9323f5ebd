"""A process of its own: losses on virtual replicas beside one device with the whole batch.

    python replica_table.py REPLICAS CASE [CASE ...]

prints a JSON object, for each case the largest differences of the logs and of the weights. Virtual
devices must be settled before TensorFlow begins.
"""

import contextlib
import json
import os
import sys
import warnings

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

from helpers.loss_rows import ROWS
from mdl_tf import distribute

CLASSES, IMAGES, FEATURES, DIM = 12, 4, 20, 6
# Cases beside those of the rows: what differs from the usual one.
OPTIONS = {
    "adam": {"optimizer": "adam"},
    "sum": {"loss": {"reduction": "sum"}, "optimizer": "small"},
    "float64": {"loss": {"dtype": "float64"}},
    "compile": {"metric_model": False},
    "eager": {"compile": {"run_eagerly": True}},
    "uneven first": {"sizes": (45, 44)},
    "nothing": {"sizes": (48, 3, 1)},
    "weights alone": {"metric_model": False, "weighted": True},
    "mixed": {"policy": "mixed_float16"},
}
SUMS = ("sum of losses", "sum of losses in compile")
BY_HAND = "functions in a loop of one's own"


def main(replicas, cases):
    """Print the differences of each case."""
    strategy = distribute.strategy(replicas)
    # Loaded after the devices are settled.
    import numpy as np

    report = {}
    for case in cases:
        run = train_by_hand if case == BY_HAND else train
        one, several = run(case, None), run(case, strategy)
        assert set(one[0]) == set(several[0]), (set(one[0]), set(several[0]))
        logs = [abs(one[0][k] - several[0][k]) / max(1, abs(one[0][k])) for k in one[0]]
        report[case] = {
            "logs": max(logs),
            "weights": float(np.abs(one[1] - several[1]).max()),
            "moved": float(np.abs(one[1] - one[2]).max()),
            "keys": sorted(one[0]),
        }
    print(json.dumps(report))


def train(case, strategy):
    """Logs of three steps, and the weights after and before them."""
    import keras
    import numpy as np

    from mdl_tf.losses import AnchorsThatCount, MetricModel

    row, _, variant = case.partition(" | ")
    options = OPTIONS.get(variant, {})
    make, by_class, metric_model = find_loss(row, options)
    metric_model = metric_model and options.get("metric_model", True)
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(options.get("policy", "float32"))
    optimizer = {
        "adam": lambda: keras.optimizers.Adam(0.01),
        "small": lambda: keras.optimizers.SGD(0.001, momentum=0.9),
        None: lambda: keras.optimizers.SGD(0.05, momentum=0.9),
    }[options.get("optimizer")]
    with strategy.scope() if strategy else contextlib.nullcontext():
        inputs = keras.Input((FEATURES,))
        hidden = keras.layers.Dense(16, activation="tanh")(inputs)
        outputs = keras.layers.Dense(DIM, dtype="float32")(hidden)
        outputs = keras.layers.UnitNormalization(dtype="float32")(outputs)
        model, loss = keras.Model(inputs, outputs), make()
        settings = dict(options.get("compile", {}))
        if metric_model:
            model = MetricModel(model, loss)
        else:
            metrics = loss.part_metrics() if hasattr(loss, "part_metrics") else []
            settings.update(loss=loss, metrics=[AnchorsThatCount(), *metrics])
        model.compile(optimizer(), **settings)
    before = flatten(model)
    data = make_batches(by_class, options.get("sizes", (48, 44, 3)), options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anchors that do not count, in the small batches
        history = model.fit(data, verbose=0, shuffle=False).history
    keras.config.set_dtype_policy("float32")
    assert np.isfinite(flatten(model)).all()
    return {key: values[0] for key, values in history.items()}, flatten(model), before


def train_by_hand(case, strategy):
    """As `train`, with the functions of two losses in `strategy.run`."""
    import numpy as np
    import tensorflow as tf

    from mdl_tf.losses import angular_loss, triplet_loss

    strategy = strategy or tf.distribute.get_strategy()
    size = CLASSES * IMAGES
    batches = make_batches(False, (size, size - 1), {"weighted": False})
    before = np.random.default_rng(1).normal(size=(FEATURES, DIM)).astype(np.float32)
    with strategy.scope():
        matrix = tf.Variable(before)

    def part(x, labels):
        with tf.GradientTape() as tape:
            embeddings = tf.math.l2_normalize(x @ matrix, axis=1)
            rows = triplet_loss(labels, embeddings) + angular_loss(labels, embeddings)
            loss = tf.reduce_sum(rows) / size
        gradient = tape.gradient(loss, matrix)
        context = tf.distribute.get_replica_context()
        return context.all_reduce("SUM", loss), context.all_reduce("SUM", gradient)

    @tf.function
    def step(batch):
        loss, gradient = strategy.run(part, args=batch)
        return [strategy.experimental_local_results(each)[0] for each in (loss, gradient)]

    losses = []
    for batch in strategy.experimental_distribute_dataset(batches):
        loss, gradient = step(batch)
        matrix.assign_sub(0.5 * gradient)
        losses.append(float(loss))
    return {"loss": losses[0], "last": losses[-1]}, matrix.numpy().ravel(), before.ravel()


def find_loss(row, options):
    """A function that makes the loss, whether labels are class indices, and for a MetricModel."""
    from mdl_tf import losses

    if row in SUMS:
        proxies = [(losses.ArcFaceLoss(CLASSES), 0.5)] if row == SUMS[0] else []
        parts = [(losses.TripletLoss(), 1.0), (losses.LiftedStructureLoss(), 0.3), *proxies]
        return lambda: losses.WeightedSum(parts), bool(proxies), bool(proxies)
    name, settings, _ = ROWS[row]
    settings = {**settings, **options.get("loss", {})}
    return lambda: losses.LOSSES[name](**settings), "num_classes" in settings, True


def make_batches(by_class, sizes, options):
    """Batches of different sizes, mixed, with labels that no float holds, perhaps with weights."""
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), IMAGES)
    x = rng.normal(size=(CLASSES, FEATURES)).repeat(IMAGES, axis=0)
    x = (x + rng.normal(size=x.shape)).astype(np.float32)
    weights = rng.uniform(0.5, 2, len(x)).astype(np.float32)
    if not by_class:
        labels = np.where(labels < 3, 2**40 + labels, labels)
    batches = None
    for step, size in enumerate(sizes):
        rows = np.random.default_rng(step).permutation(len(x))[:size]
        parts = [x[rows], labels[rows]]
        # Keras knows the structure of a stream by its first element.
        if options.get("weighted", options.get("metric_model", True)):
            parts.append(weights[rows])
        batch = tf.data.Dataset.from_tensors(tuple(parts))
        batches = batch if batches is None else batches.concatenate(batch)
    return batches


def flatten(model):
    """All weights of a model, a vector."""
    import numpy as np

    return np.concatenate([np.ravel(weight) for weight in model.get_weights()])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
