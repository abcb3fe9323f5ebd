"""A worker of a small training, or all of it where there is no `TF_CONFIG`.

    python worker.py OUT [DEVICES] [MODE]

writes weights and logs of three steps into `OUT`, an `.npz`. `MODE` is one of `other`, data in
another order on the second worker; `stream`, a stream that knows nothing of workers; `plain`.
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np

from mdl_tf import distribute


def main(out, devices="1", mode="plain"):
    """Train, and write what came out."""
    cluster = distribute.read_cluster()
    strategy = distribute.strategy(int(devices))
    import keras

    from mdl_tf import batches
    from mdl_tf.callbacks import RetrievalMetrics
    from mdl_tf.datasets import ImageSet
    from mdl_tf.losses import MarginDiscriminateLoss, MetricModel

    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), 5)
    features = rng.normal(size=(8, 10))[labels] + rng.normal(size=(40, 10))
    if mode == "other" and cluster and cluster.index:
        labels = labels[::-1].copy()
    names = tuple(map(str, range(8)))
    train = ImageSet("train", labels, names, features=features.astype(np.float32))
    keras.utils.set_random_seed(1)
    with strategy.scope():
        inputs = keras.Input((10,))
        hidden = keras.layers.Dense(12)(inputs)
        hidden = keras.layers.BatchNormalization(synchronized=True)(hidden)
        outputs = keras.layers.UnitNormalization()(keras.layers.Dense(4)(hidden))
        model = MetricModel(keras.Model(inputs, outputs), MarginDiscriminateLoss())
        model.compile(keras.optimizers.SGD(0.5, momentum=0.9))
    given = {} if mode == "stream" else {"strategy": strategy}
    stream = batches.balanced(train, classes_per_batch=4, images_per_class=3, seed=3, **given)
    validation = features.astype(np.float32), labels
    history = model.fit(
        stream,
        steps_per_epoch=3,
        epochs=2,
        verbose=0,
        shuffle=False,
        callbacks=[RetrievalMetrics(validation)],
    ).history
    weights = np.concatenate([np.ravel(weight) for weight in model.get_weights()])
    np.savez(out, weights=weights, **{key: np.array(values) for key, values in history.items()})
    print("trained", {key: values[-1] for key, values in history.items()}, flush=True)
    distribute.wait_for_all(strategy)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ValueError as error:
        print(f"refused: {error}", file=sys.stderr, flush=True)
        sys.stderr.flush()
        os._exit(2)  # without waiting for the others, which are refused as well
