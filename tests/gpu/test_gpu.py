"""What a GPU may compute otherwise than a processor; skipped where there is none.

    CUDA_VISIBLE_DEVICES=0 pytest tests/gpu --slow

`tests/conftest.py` hides GPUs from all other tests, so that they do not hang on one.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.batches import mixed_batch
from helpers.loss_rows import ROWS

from mdl_tf import backbones, losses
from mdl_tf.config import TrainConfig
from mdl_tf.embedding import embedding_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not tf.config.list_physical_devices("GPU"),
        reason="needs a GPU: CUDA_VISIBLE_DEVICES=0 pytest tests/gpu --slow",
    ),
]
LABELS, EMBEDDINGS = mixed_batch(0, 6, "float32")
# Largest error of a gradient, of its largest number: TF32 has 10 bits, bfloat16 8.
PRECISIONS = {
    "float32": ("float32", False, 1e-4),
    "TF32": ("float32", True, 0.05),
    "bfloat16": ("bfloat16", True, 0.2),
    "float16": ("float16", True, 0.05),
}


def step(row, x, jit=False, **options):
    name, settings, _ = ROWS[row]
    loss = losses.LOSSES[name](**settings, **options)
    rng = np.random.default_rng(3)
    about = 1.0 if isinstance(loss, losses.MarginLoss) else 0.0
    loss.attach(
        {
            key: tf.constant(about + 0.3 * rng.normal(size=shape), tf.float32)
            for key, (shape, _) in loss.weight_specs(6).items()
        }
    )

    @tf.function(jit_compile=jit, autograph=False)
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(LABELS, x)
        return value, tape.gradient(value, x)

    value, gradient = run(x)
    return float(value), tf.cast(gradient, tf.float64).numpy()


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("row", ROWS)
def test_every_loss_in_every_precision(row, precision, jit):
    dtype, tf32, tolerance = PRECISIONS[precision]
    with tf.device("CPU"):
        expected = step(row, tf.constant(EMBEDDINGS))
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    try:
        value, gradient = step(row, tf.cast(EMBEDDINGS, dtype), jit)
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
    assert value == pytest.approx(expected[0], rel=tolerance, abs=tolerance)
    largest = np.abs(expected[1]).max()
    np.testing.assert_allclose(gradient, expected[1], rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("row", ["margin_discriminate", "triplet-all", "sup_con"])
def test_tiles(row, jit):
    expected = step(row, tf.constant(EMBEDDINGS), tile=None)
    value, gradient = step(row, tf.constant(EMBEDDINGS), jit, tile=4)
    assert value == pytest.approx(expected[0], rel=0.01)
    largest = np.abs(expected[1]).max()
    np.testing.assert_allclose(gradient, expected[1], rtol=0, atol=0.05 * largest)


@pytest.mark.parametrize("micro_batch", [None, 4])
@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", ["inception_bn", "efficientnet_lite0"])
def test_networks_train(name, policy, jit, micro_batch):
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)
    try:
        model = embedding_model(*backbones.build(name, (64, 64, 3)), embedding_dim=16)
        if micro_batch:
            from mdl_tf.embedding import set_batch_norm

            set_batch_norm(model, "statistics")
        model = losses.MetricModel(model, losses.MarginDiscriminateLoss(), micro_batch=micro_batch)
        model.compile(keras.optimizers.SGD(1e-3), jit_compile=jit)
    finally:
        keras.config.set_dtype_policy("float32")
    images = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3)).astype(np.float32)
    history = model.fit(images, np.arange(16) // 4, batch_size=16, epochs=3, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize("options", [{}, {"jit": True, "policy": "mixed_bfloat16"}])
def test_a_whole_training(tmp_path, options):
    from mdl_tf.runs import Run, train

    config = TrainConfig(
        dataset="digits", backbone="conv4", image_size=16, epochs=2, steps_per_epoch=20,
        classes_per_batch=2, cache="ram", clustering=False, tensorboard=False, **options,
    )  # fmt: skip
    results = train(config, Run.create(config, tmp_path / "run"), report=lambda line: None)
    assert results["trained"]["recall_at_1"] >= results["untrained"]["recall_at_1"] - 0.05
