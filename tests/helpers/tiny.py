"""The smallest run and comparison that train: features of twelve classes, no network."""

import contextlib
import io

import numpy as np

from mdl_tf import cli

SETTINGS = [
    *("--backbone", "none", "--steps-per-epoch", "2", "--classes-per-batch", "3"),
    *("--images-per-class", "3", "--validation", "0.4", "--no-clustering"),
    *("--head", "random", "--embedding-dim", "4", "--learning-rate", "0.03"),
]
TRAIN = [*SETTINGS, "--epochs", "2", "--schedule", "constant", "--no-tensorboard"]
COMPARE = [*SETTINGS, "--epochs", "1", "--losses", "triplet,n_pairs", "--search", "2"]
COMPARE += ["--seeds", "1"]


def write_features(path, seed=0):
    """An `.npz` of 72 features of 12 classes."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(12), 6)
    features = rng.normal(size=(12, 6))[labels] + 0.5 * rng.normal(size=(72, 6))
    np.savez(path, features=features.astype(np.float32), labels=labels)
    return path


def call(*arguments):
    """Exit code, output and errors of a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def train(features, folder, name, *more):
    """A run `name` below `folder`."""
    given = ["--dataset", "npz", "--data-dir", features, "--runs-dir", folder, "--name", name]
    return call("train", *given, *TRAIN, *more)


def compare(features, folder, name, *more):
    """A comparison `name` below `folder`."""
    given = ["--dataset", "npz", "--data-dir", features, "--runs-dir", folder, "--name", name]
    return call("compare", *given, *COMPARE, *more)
