"""Digits: scikit-learn's 1,797 handwritten digits, 8 x 8 pixels, which come with the package."""

import numpy as np

from mdl_tf.datasets.image_set import ImageSet, first_for_training

TRAIN_CLASSES = 5


def read(data_dir=None, progress=None):
    """The digits: 0 to 4 to train from, 5 to 9 for the test.

    Args:
        data_dir: not used.
        progress: not used.

    Returns:
        A `Collection`.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)  # inks 0 to 16
    image_set = ImageSet(
        "digits", digits.target.astype(np.int64), tuple("0123456789"), images=images
    )
    return first_for_training(image_set, TRAIN_CLASSES)
