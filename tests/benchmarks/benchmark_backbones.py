"""Images a second of Inception-BN, forward and in training, beside PyTorch and InceptionV3.

    python tests/benchmarks/benchmark_backbones.py [--sizes 224 64] [--rounds 5] [--seconds 6]

Every row is a process of its own in every round, so that no library's threads disturb another's; a
row's number is the median over the rounds of the median step of a round. A training step is
forward, backward and SGD without momentum, on the mean square of the features. PyTorch's twin
(`tests/golden/make_inception_bn.py`) is measured if PyTorch is installed, as one writes it and with
the layout `channels_last`. The rows below "Inception-BN" show where time goes: batch normalisation
folded into the convolutions (forward only), TensorFlow's fused operation in place of Keras's
formula, XLA, and oneDNN turned off. InceptionV3 takes no less than 75 pixels.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from machine import machine

BATCHES = {224: 32, 64: 128}  # images in a batch by size
SMALLEST_V3 = 75
WARM_UP = 2  # steps, the first of which compiles
ROWS = {
    "Inception-BN": {},
    "  BN folded": {"folded": True},
    "  fused BN operation": {"fused": True},
    "  XLA": {"jit": True},
    "  without oneDNN": {},
    "InceptionV3": {},
    "PyTorch": {},
    "PyTorch, channels_last": {"channels_last": True},
}
RATE = 1e-6


def pixels(size, batch):
    return np.random.default_rng(0).uniform(-110, 140, (batch, size, size, 3)).astype(np.float32)


def use_fused_operation():
    """Let Keras's layer use the operation that TensorFlow has for the whole of it."""
    import keras
    import tensorflow as tf

    def call(self, inputs, training=None, mask=None):
        training = bool(training and self.trainable)
        empty = tf.zeros([0])
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=empty if training else self.moving_mean.value,
            variance=empty if training else self.moving_variance.value,
            epsilon=self.epsilon,
            is_training=training,
        )
        if training:
            # The operation gives the variance divided by n - 1; Keras keeps the other one.
            n = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], variance.dtype)
            new = ((self.moving_mean, mean), (self.moving_variance, variance * (n - 1) / n))
            for kept, value in new:
                kept.assign(kept * self.momentum + value * (1 - self.momentum))
        return outputs

    keras.layers.BatchNormalization.call = call


def folded(network):
    """The same network for inference with each normalisation inside its convolution."""
    import keras

    def call(layer, *args, **kwargs):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        return args[0] if is_norm else layer(*args, **kwargs)

    result = keras.models.clone_model(
        network,
        clone_function=lambda layer: type(layer).from_config(layer.get_config()),
        call_function=call,
    )
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            norm = network.get_layer(f"{layer.name}_bn")
            (kernel, bias), (gamma, beta, mean, variance) = layer.get_weights(), norm.get_weights()
            scale = gamma / np.sqrt(variance + norm.epsilon)
            weights = [kernel * scale, (bias - mean) * scale + beta]
            result.get_layer(layer.name).set_weights(weights)
    return result


def in_tensorflow(row, size, batch, *, folded=False, fused=False, jit=False):
    """Functions of no arguments: forward pass and training step (`None` if there is none)."""
    import keras
    import tensorflow as tf

    from mdl_tf.backbones import InceptionBN

    if fused:
        use_fused_operation()
    if row == "InceptionV3":
        size = max(size, SMALLEST_V3)
        network = keras.applications.InceptionV3(
            include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg"
        )
    else:
        network = InceptionBN(input_shape=(size, size, 3), pooling="avg")
    if folded:
        network = globals()["folded"](network)
    x = tf.constant(pixels(size, batch))
    variables = [v.value for v in network.trainable_variables]

    @tf.function(jit_compile=jit)
    def forward():
        return network(x, training=False)

    @tf.function(jit_compile=jit)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(network(x, training=True)))
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(RATE * gradient)
        return loss

    return lambda: forward().numpy(), None if folded else (lambda: step().numpy())


def in_torch(size, batch, *, channels_last=False):
    """The same of PyTorch's twin."""
    import torch

    sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
    from make_inception_bn import InceptionBN

    network = InceptionBN()
    x = torch.from_numpy(pixels(size, batch)).permute(0, 3, 1, 2).contiguous()
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    # The classifier would get no gradient.
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)

    def forward():
        network.eval()
        with torch.no_grad():
            return network(x)[1].numpy()

    def step():
        network.train()
        optimizer.zero_grad()
        loss = network(x)[1].square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    return forward, step


def images_a_second(function, batch, seconds):
    for _ in range(WARM_UP):
        function()
    times, began = [], time.perf_counter()
    while time.perf_counter() < began + seconds or len(times) < 3:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return batch / statistics.median(times)


def measure(row, size, batch, seconds):
    """Print the two numbers of one row; in a process of its own."""
    if row.startswith("PyTorch"):
        functions = in_torch(size, batch, **ROWS[row])
    else:
        functions = in_tensorflow(row, size, batch, **ROWS[row])
    print(*(images_a_second(f, batch, seconds) if f else "nan" for f in functions))


def measured_apart(row, size, batch, seconds):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if row == "  without oneDNN":
        environment["TF_ENABLE_ONEDNN_OPTS"] = "0"
    command = [sys.executable, __file__, "--seconds", str(seconds)]
    command += ["--measure", row, str(size), str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [float(number) for number in done.stdout.split()[-2:]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", choices=list(BATCHES), default=[224, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6, help="of each measurement")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        row, size, batch = options.measure
        return measure(row, int(size), int(batch), options.seconds)
    packages = ["tensorflow", "keras"]
    rows = options.rows
    if importlib.util.find_spec("torch"):
        packages.append("torch")
    else:
        rows = [row for row in rows if not row.startswith("PyTorch")]
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
    print(f"{machine()}, Python {platform.python_version()}, {versions}", flush=True)
    for size in options.sizes:
        found = {row: [] for row in rows}
        for number in range(options.rounds):
            for row in rows:
                found[row].append(measured_apart(row, size, BATCHES[size], options.seconds))
                print(f"\r  {size}: round {number + 1}, {row.strip():<24}", end="", file=sys.stderr)
        print(file=sys.stderr)
        print(f"\n{size} x {size}, batches of {BATCHES[size]}{'forward':>16}{'training':>12}")
        for row in rows:
            forward, step = (statistics.median(values) for values in zip(*found[row], strict=True))
            enlarged = row == "InceptionV3" and size < SMALLEST_V3
            label = f"{row} at {SMALLEST_V3}" if enlarged else row
            print(f"  {label:<32}{forward:>10.1f}{step:>12.1f}", flush=True)


if __name__ == "__main__":
    main()
