"""Which images are in which batch: balanced, and found again from a seed and a step."""

import math

import numpy as np

from mdl_tf.checks import SHORT_CLASSES, check_integer


class _Deck:
    """Hands of k distinct cards out of n, dealt from shuffled decks without end.

    A hand that takes the last cards of one deck and the first of the next takes none twice, and
    still every card is used once per deck: at any time the uses of two cards differ by one at most.
    After lcm(n, k) cards a deck and a hand end together. Such a block depends on the seed and its
    number only, so that the i-th hand is found without dealing those before its block.
    """

    def __init__(self, n, k, *seed):
        self._n, self._k, self._seed = n, k, seed
        self._hands_per_block = n // math.gcd(n, k) if k else 1
        self._dealt = (None, None)

    def hand(self, i):
        number, place = divmod(i, self._hands_per_block)
        dealt = self._dealt  # read once: two iterators of a stream may run at the same time
        if dealt[0] != number:
            self._dealt = dealt = (number, self._deal(number))
        return dealt[1][place]

    def _deal(self, number):
        if self._k == 0:
            return np.empty((1, 0), np.int64)
        rng = np.random.default_rng([*self._seed, number])
        cards = np.empty(self._hands_per_block * self._k, np.int64)
        for start in range(0, len(cards), self._n):
            deck = rng.permutation(self._n)
            held = start % self._k  # cards of the hand that the last deck left unfinished
            if held:
                in_hand = np.isin(deck, cards[start - held : start])
                completing = np.flatnonzero(~in_hand)[: self._k - held]
                rest = np.delete(deck, completing)
                deck = np.concatenate([deck[completing], rest])
            cards[start : start + self._n] = deck
        return cards.reshape(-1, self._k)


class BalancedPlan:
    """Which images are in which batch: P distinct classes, K images of each, without end.

    Classes, and images inside a class, are used equally often: at any time the counts of two
    classes, or of two images of a class, differ by one at most. The plan is a pure function of the
    seed and the step.

    Args:
        labels: class ids, integers, shape `(N,)`.
        classes_per_batch: P, at least 2, so that each anchor has a negative.
        images_per_class: K, at least 2, so that each anchor has a positive.
        seed: of the shuffling, at least 0. Defaults to `0`.
        short_classes: what to do with classes of fewer than K images: `"error"`, `"drop"` them, or
            `"repeat"` their images within a batch. Defaults to `"error"`.

    Raises:
        ValueError: if P or K is too small, there are fewer than P classes, or there are short
            classes with `"error"`.
    """

    def __init__(
        self, labels, classes_per_batch, images_per_class, *, seed=0, short_classes="error"
    ):
        labels = np.asarray(labels)
        classes_per_batch = check_integer("classes_per_batch", classes_per_batch, least=2)
        images_per_class = check_integer("images_per_class", images_per_class, least=2)
        seed = check_integer("seed", seed, least=0)
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ValueError(
                "`labels` must be integers of shape `(N,)`. "
                f"Received: labels with shape={labels.shape}, dtype={labels.dtype}"
            )
        if short_classes not in SHORT_CLASSES:
            raise ValueError(
                f"`short_classes` must be one of {SHORT_CLASSES}. "
                f"Received: short_classes={short_classes!r}"
            )
        order = np.argsort(labels, kind="stable")
        ids, counts = np.unique(labels, return_counts=True)
        members = np.split(order, np.cumsum(counts)[:-1]) if len(ids) else []
        short = counts < images_per_class
        if short.any() and short_classes == "error":
            raise ValueError(
                f"`images_per_class` must be at most the images of every class, or `short_classes` "
                f"'drop' or 'repeat'. Received: images_per_class={images_per_class}, and "
                f"{short.sum()} of {len(ids)} classes have fewer images "
                f"(the smallest {counts.min()})"
            )
        if short_classes == "drop":
            members = [m for m, is_short in zip(members, short, strict=True) if not is_short]
        if len(members) < classes_per_batch:
            dropped = f" after dropping {short.sum()} short ones" if short_classes == "drop" else ""
            raise ValueError(
                "`classes_per_batch` must be at most the number of classes. Received: "
                f"classes_per_batch={classes_per_batch}, and {len(members)} classes{dropped}"
            )
        self.batch_size = classes_per_batch * images_per_class
        self._members = members
        self._images_per_class = images_per_class
        self._class_deck = _Deck(len(members), classes_per_batch, seed, 0)
        # A short class gives all its images as often as they fit, and deals only the remainder.
        dealt = [
            images_per_class if len(m) >= images_per_class else images_per_class % len(m)
            for m in members
        ]
        self._image_decks = [
            _Deck(len(m), k, seed, 1, c)
            for c, (m, k) in enumerate(zip(members, dealt, strict=True))
        ]

    def batch(self, step):
        """Indices of the images of a step, `(P * K,)` int64, class by class."""
        classes = self._class_deck.hand(step)
        # Every deck holds every class once, so the number of the deck says how often a class came.
        uses = (step * len(classes) + np.arange(len(classes))) // len(self._members)
        return np.concatenate([self._draw(c, u) for c, u in zip(classes, uses, strict=True)])

    def _draw(self, c, use):
        members = self._members[c]
        whole = (
            0 if len(members) >= self._images_per_class else self._images_per_class // len(members)
        )
        dealt = members[self._image_decks[c].hand(use)]
        return np.concatenate([np.tile(members, whole), dealt]) if whole else dealt
