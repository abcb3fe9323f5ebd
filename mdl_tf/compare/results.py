"""What a comparison has found out so far, as the report reads it."""

from typing import NamedTuple


class Results(NamedTuple):
    """Everything that is known of a comparison, finished or not.

    A trial is a dict, one training run:

        label             of its entry, such as "triplet" or "triplet:mining=hard"
        phase             "search" (measured on validation alone) or "final" (on the test, too)
        number            of the draw, 0 for the defaults; or the seed of a final one
        config            all settings, `TrainConfig.to_dict()`
        settings          what was drawn or chosen for this loss: {"learning_rate": 1e-3, ...}
        history           a dict for each epoch: epoch (from 1), loss, val_recall_at_1,
                          val_map_at_r, ..., shares from 0 to 1
        best_epoch        the epoch whose weights were measured: that of the best `monitor`; the
                          start is none of them
        start             what validation had before the first epoch: epoch 0, val_recall_at_1, ...;
                          missing in trials of version 0.1.0
        value             its `monitor` on validation; `None` if the run failed
        seconds_per_step  median over the steps; `None` if there is none
        seconds           of the whole trial
        failed            `None`, or why there is no value
        machine           {"processor": ..., "cores": ..., "python": ..., "tensorflow": ...,
                          "keras": ..., "mdl_tf": ...}

    and a final one that did not fail also has

        metrics           on the test: recall_at_1, ..., map_at_r, r_precision,
                          strict_discrimination, perhaps nmi and f1
        distances         {"highest": d, "positive": [...], "negative": [...]}: how many pairs of
                          one class and of two are in equal bins from 0 to `highest`
        neighbors         file name of a picture in the folder `pictures/`, or `None`: of the first
                          seed alone, and only where there are images
    """

    name: str  # of the comparison
    labels: tuple  # of the entries, in the order in which they were asked for
    search: int  # draws for each entry
    seeds: tuple  # of the final runs
    config: dict  # settings that all runs share, `TrainConfig.to_dict()`
    # {"name": ..., "kind": "images" or "features", "train": {"images": n, "classes": c},
    #  "validation": {...}, "test": {...}}; empty before the data were read
    data: dict
    raw: dict | None  # metrics of raw pixels, or of the features, on the test
    untrained: dict  # seed -> metrics of the start, before training, on the test
    trials: tuple  # all that are done
    # Metrics on the test of the features of a pretrained network, of unit length; or `None`.
    features: dict | None = None

    def searched(self, label):
        """The search of an entry, by number."""
        return self._of(label, "search")

    def final(self, label):
        """The final runs of an entry, by seed."""
        return self._of(label, "final")

    def _of(self, label, phase):
        trials = [t for t in self.trials if t["label"] == label and t["phase"] == phase]
        return sorted(trials, key=lambda trial: trial["number"])
