"""From images to embeddings: the model that makes them, and what of it learns."""

from mdl_tf.embedding.batch_norm import set_batch_norm
from mdl_tf.embedding.head import Head, fit_head
from mdl_tf.embedding.loading import load_model
from mdl_tf.embedding.model import concatenated, embed, embedding_model

__all__ = [
    "Head",
    "concatenated",
    "embed",
    "embedding_model",
    "fit_head",
    "load_model",
    "set_batch_norm",
]
