"""Shared by the tests: the tests' own cache folder, quiet TensorFlow, and batches that can tell
right from wrong."""

import os

# Before TensorFlow is imported anywhere.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """Drawn images go to a folder of this test session, never to the user's own cache."""
    folder = tmp_path_factory.mktemp("mdl_tf_home")
    os.environ["MDL_TF_HOME"] = str(folder)
    return folder


# Minutes each: begun last, one of them would be waited for alone.
LONG = (
    *("test_loss_contract", "test_shown_code", "test_smoke", "test_train", "test_cli"),
    *("test_cross_validation", "test_training_model"),
)


def pytest_collection_modifyitems(items):
    def place(item):
        return LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG)

    items.sort(key=place)


def mixed_batch(seed=0, dim=6, dtype="float64"):
    """Unit vectors of four tight or loose classes of 4, 3, 2 and 1 images, shuffled.

    With a margin of 0.2 some anchors are easy and some are violated, and the last has no positive.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(4, dim))
    labels = np.repeat([7, 3, 11, 5], [4, 3, 2, 1])
    spread = np.repeat([0.08, 1.2, 0.6, 0.1], [4, 3, 2, 1])[:, None]
    embeddings = centres[np.repeat(np.arange(4), [4, 3, 2, 1])] + spread * rng.normal(
        size=(10, dim)
    )
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    order = rng.permutation(10)
    return labels[order], embeddings[order].astype(dtype)
