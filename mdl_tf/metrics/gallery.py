"""A gallery prepared for exact search: float32 chooses, float64 decides.

For a fixed query `q` the key `q·g - |g|²/2` grows as the distance to `g` shrinks, so one matrix
product replaces distances. Twice as many keys a second come in float32 ("coarse" keys) as in
float64 ("fine" keys), and the coarse ones say which few fine ones are needed.

Nothing is missed. Whatever the order in which a product sums its `D + 1` terms, a coarse key is
off by at most `(D + 5) * 2^-24 * (|q||g| + |g|²/2)` (Higham, Accuracy and Stability of Numerical
Algorithms, 2002, section 3.1: the sum, two rounded factors a term, the last place of a threshold).
Nobody within a distance d of the query is longer than `|q| + d`, so a far outlier does not blur the
others; that this d is itself read from a coarse key is paid for with a factor, `_SLACK`, which is
enough up to `WIDEST` numbers. Coarse rows are scaled by powers of two, so that no norm exceeds 1
and no square overflows; what underflows is `_UNDERFLOW` at most.

Rounding of fine keys. A point in the middle of the gallery is subtracted from both sides: distances
do not change, and embeddings huddled far from the origin keep their digits. Two squared distances
closer than the rounding error of the product, about `D * 2e-16` of the squared norms (unit vectors,
D = 128: 1e-13), are a tie.

Memory. A float32 copy of the gallery and a number more for each image, `4 * G * (D + 3)` bytes;
the embeddings themselves are not copied.
"""

from typing import NamedTuple

import numpy as np

# E(key) <= 1.25 E(key') for keys that differ by 2 E, while 2.74 sqrt((D + 5) * 2^-24) <= 0.118.
_SLACK = 1.25
WIDEST = 2**14
# Results below 2^-126 may be set to 0.
_UNDERFLOW = 2.0**-124
_LOWEST = np.finfo(np.float32).min
_ROWS = 2**16  # copied at a time


class Queries(NamedTuple):
    """Some queries, centred as the gallery is; n of them."""

    fine: np.ndarray  # (n, D) float64
    norms: np.ndarray  # (n, 1) float64
    coarse: np.ndarray  # (n, D + 1) float32, rows `[q, 1]`, scaled
    unit: np.ndarray  # (n, 1) float64, a power of two: a coarse key is a fine one times this


class Gallery:
    """Keys of a gallery's images, coarse for all of them and fine for some.

    Args:
        embeddings: float32 or float64, finite, shape `(G, D)`; kept as they are.
        order: positions of `embeddings`, shape `(G,)`: the image of each column; some or all.
    """

    def __init__(self, embeddings, order):
        self.embeddings, self.order = embeddings, order
        size, width = len(order), embeddings.shape[1]
        # A median is not dragged away by outliers, and any point does, so a sample is enough.
        sample = embeddings[:: len(embeddings) // 1024 + 1].astype(np.float64)
        self.centre = np.median(sample, axis=0)
        reach = np.maximum(
            embeddings.max(axis=0) - self.centre, self.centre - embeddings.min(axis=0)
        )
        # Squares of what is smaller underflow in float64 too.
        self._exponent = -max(int(np.frexp(np.linalg.norm(reach))[1]), -500)
        self.coarse = np.empty((size, width + 1), np.float32)
        self._half_squares = np.empty(size)
        for start in range(0, size, _ROWS):
            part = slice(start, start + _ROWS)
            centred = embeddings[order[part]] - self.centre
            self._half_squares[part] = np.einsum("nd,nd->n", centred, centred) / 2
            centred *= 2.0**self._exponent
            self.coarse[part, :-1] = centred
        self.coarse[:, -1] = np.ldexp(-self._half_squares, 2 * self._exponent)
        self._largest_norm = np.sqrt(2 * self._half_squares.max())

    def __len__(self):
        return len(self.order)

    def queries(self, queries):
        """Centres queries, shape `(n, D)`, and makes their coarse rows."""
        fine = queries - self.centre
        norms = np.sqrt(np.einsum("nd,nd->n", fine, fine))[:, None]
        scale = np.maximum(np.frexp(norms)[1] + self._exponent, 0)
        coarse = np.empty((len(fine), fine.shape[1] + 1), np.float32)
        coarse[:, :-1] = np.ldexp(fine, self._exponent - scale)
        coarse[:, -1:] = np.ldexp(1.0, -scale)
        return Queries(fine, norms, coarse, np.ldexp(1.0, 2 * self._exponent - scale))

    def fine_tile(self, fine, start, stop):
        """Fine keys of centred queries, `(n, D)`, with a range of columns, `(n, stop - start)`."""
        columns = slice(start, stop)
        keys = fine @ (self.embeddings[self.order[columns]] - self.centre).T
        keys -= self._half_squares[columns]
        return keys

    def fine_pairs(self, queries, rows, columns):
        """Fine keys of single pairs of a row of `queries` and a column, shape `(p,)`."""
        keys = np.empty(len(rows))
        step = max(1, 2**18 // self.embeddings.shape[1])
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            images = self.embeddings[self.order[columns[part]]] - self.centre
            keys[part] = np.einsum("pd,pd->p", queries.fine[rows[part]], images)
        return keys - self._half_squares[columns]

    def rounding(self, norms, keys):
        """How far two fine keys of equally distant images can differ; shapes broadcast."""
        terms = self.coarse.shape[1] + 8
        return terms * np.finfo(np.float64).eps * self._product_size(norms, keys)

    def coarse_error(self, queries, keys):
        """How far the coarse key of an image with one of these fine keys can be off, scaled."""
        terms = self.coarse.shape[1] + 4
        size = self._product_size(queries.norms, keys) * queries.unit
        return _SLACK * terms * 2.0**-24 * size + terms * _UNDERFLOW

    def coarse_bounds(self, queries, keys):
        """Bounds of coarse keys, float32: of images at one of these fine keys or nearer.

        Args:
            queries: `Queries`, n of them.
            keys: fine keys, shape `(n, m)`.

        Returns:
            `(low, high)`, shapes `(n, m)`: no image with a fine key of at least `keys` has a coarse
            key below `low`, and no other one a coarse key of at least `high`.
        """
        scaled, error = keys * queries.unit, self.coarse_error(queries, keys)
        low = np.nextafter(np.maximum(scaled - error, _LOWEST).astype(np.float32), -np.inf)
        high = np.nextafter(np.maximum(scaled + error, _LOWEST).astype(np.float32), np.inf)
        # Minus infinity stands for a column that is left out.
        return np.maximum(low, _LOWEST), high

    def _product_size(self, norms, keys):
        """Bound of `|q||g| + |g|²/2` for images with one of these fine keys or nearer."""
        distances = np.sqrt(np.maximum(norms**2 - 2 * keys, 0))
        # Nobody within that distance is longer; a far outlier does not blur the others.
        longest = np.minimum(self._largest_norm, norms + np.where(keys < np.inf, distances, 0))
        return norms * longest + longest**2 / 2
