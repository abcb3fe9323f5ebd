"""Anybody's own data: a folder, a CSV file, arrays, `tf.data`, a builder of tensorflow-datasets."""

__all__ = []
