"""The report of a comparison: its numbers, its verdicts, and its pages whatever they are given."""

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import stats

from mdl_tf.compare import report
from mdl_tf.compare.report import baselines, figures, goal, searches, statistics
from mdl_tf.compare.report.outcome import describe_outcome
from mdl_tf.compare.report.results_table import show_results
from mdl_tf.compare.results import Results
from mdl_tf.losses import LOSSES

CONFIG = {
    **{"dataset": "cars196", "data_dir": None, "backbone": "resnet50", "weights": "imagenet"},
    **{"image_size": 224, "embedding_dim": 64, "classes_per_batch": 16, "images_per_class": 4},
    **{"epochs": 10, "steps_per_epoch": 50, "warm_up_epochs": 1, "optimizer": "adamw"},
    **{"weight_decay": 0.004, "clip_norm": None, "learning_rate": 1e-3, "schedule": "cosine"},
    **{"augment": "modern", "monitor": "map_at_r", "seed": 0, "loss": "triplet", "loss_args": {}},
}
START = "start: random layer on features, not trained"
MACHINE = {
    **{"processor": "A processor @ 2.0 GHz", "cores": 2, "gpus": 0, "python": "3.11.2"},
    **{"tensorflow": "2.16.1", "keras": "3.6.0", "mdl_tf": "0.1"},
}
DATA = {
    "train": {"images": 6054, "classes": 73},
    "validation": {"images": 2000, "classes": 25},
    "test": {"images": 8131, "classes": 98},
    "kind": "images",
}


def metrics(map_at_r, **others):
    return {
        **{f"recall_at_{k}": 1 - (1 - map_at_r) / (1.5 + k) for k in (1, 2, 4, 8)},
        "map_at_r": map_at_r,
        "r_precision": map_at_r + 0.1,
        **{"strict_discrimination": map_at_r / 10, "nmi": map_at_r + 0.2, "f1": map_at_r - 0.1},
        **{"lone_queries": 0.0, **others},
    }


def trial(label, phase, number, value=0.5, **others):
    """One run; `history` may be a list of Recall@1."""
    history = others.pop("history", None) or [0.3, 0.4, 0.5]
    history = [{"epoch": i, "val_recall_at_1": v} for i, v in enumerate(history, 1)]
    made = {
        **{"label": label, "phase": phase, "number": number, "config": CONFIG},
        **{"settings": {"learning_rate": 1e-3, "margin": 0.2}, "history": history},
        **{"best_epoch": 3, "value": value, "seconds_per_step": 0.05, "seconds": 30.0},
        **{"failed": None, "machine": MACHINE},
    }
    if phase == "final":
        counts = np.exp(-0.5 * ((np.arange(60) - np.array([[15], [35]])) / 8) ** 2)
        positive, negative = (counts * [[1e3], [1e5]]).astype(int).tolist()
        made |= {"metrics": metrics(value), "neighbors": None}
        made["distances"] = {"highest": 1.8, "positive": positive, "negative": negative}
    made |= others
    if made["failed"] is not None:
        for key in ("metrics", "distances", "neighbors"):
            made.pop(key, None)
        made |= {"value": None, "history": [], "best_epoch": None, "seconds_per_step": None}
    return made


def results(values, **others):
    """What is known if the final runs had `values`: dict from label to MAP@R by seed."""
    seeds = tuple(range(1, 1 + max([1, *map(len, values.values())])))
    trials = [
        trial(label, "final", seed, value)
        for label, of_seeds in values.items()
        for seed, value in zip(seeds, of_seeds, strict=False)
        if value is not None
    ]
    made = {
        **{"name": "compare-cars", "labels": tuple(values), "search": 0, "seeds": seeds},
        **{"config": CONFIG, "data": DATA, "raw": metrics(0.02), "trials": tuple(trials)},
        "untrained": {seed: metrics(0.1 + 0.01 * seed) for seed in seeds},
    }
    return Results(**(made | others))


def realistic(labels, seeds=5, search=16):
    """A whole comparison with noise, as one would be."""
    rng = np.random.default_rng(0)
    trials, of_seed = [], rng.normal(0, 0.01, seeds)
    for i, label in enumerate(labels):
        level = 0.42 + 0.012 * ((7 * i + 9) % 17) ** 0.6
        for number in range(search):
            drawn = (
                {"learning_rate": 1e-3, "margin": 0.2}
                if number == 0
                else {
                    "learning_rate": float(f"{10 ** rng.uniform(-4, -2):.4g}"),
                    "margin": float(f"{rng.uniform(0, 0.6):.4g}"),
                    "mining": str(rng.choice(["hard", "semi_hard", "all"])),
                }
            )
            failed = "The loss is not a number after 31 steps." if rng.random() < 0.05 else None
            value = float(level - 0.1 * rng.random())
            more = {"failed": failed} if failed else {}
            trials.append(trial(label, "search", number, value, settings=drawn, **more))
        best = max(
            (t for t in trials if t["label"] == label and t["value"]), key=lambda t: t["value"]
        )
        for seed in range(seeds):
            value = float(level + of_seed[seed] + rng.normal(0, 0.004))
            rise = (value + 0.15) * (1 - np.exp(-np.arange(1, 11) / (2 + i % 5)))
            history = (rise + rng.normal(0, 0.02, 10)).tolist()
            more = {"history": history, "settings": best["settings"]}
            more["seconds_per_step"] = 0.05 + 0.004 * (i % 4) + 0.01 * rng.random()
            trials.append(trial(label, "final", seed + 1, value, **more))
    return results(
        {label: [] for label in labels},
        **{"trials": tuple(trials), "search": search, "seeds": tuple(range(1, seeds + 1))},
        untrained={seed + 1: metrics(0.1 + of_seed[seed]) for seed in range(seeds)},
    )


class Page(HTMLParser):
    """A page as a reader has it; a tag that is not closed, or closed twice, is an error."""

    VOID = {"meta", "img", "wbr", "br", "link", "input"}

    def __init__(self, text):
        super().__init__()
        self._open, self.tags, self.attributes, self.texts, self.tables = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in self.VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("style", "script"):
            self.texts.append(data)
            if self._open[-1] in ("td", "th"):
                self.tables[-1][-1][-1] += data

    @property
    def text(self):
        return " ".join("".join(self.texts).split())

    def table(self, *head):
        """Rows below the heading that begins with `head`."""
        (found,) = (t for t in self.tables if tuple(t[0][: len(head)]) == head)
        return found[1:]


def written(found, folder):
    """The report's three files: a `Page`, Markdown, and the rows of the table."""
    report.write(found, folder)
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    with open(folder / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return page, (folder / "report.md").read_text(encoding="utf-8"), rows


def lead(found):
    return " ".join(describe_outcome(found))


# Intervals


def test_an_interval_by_hand_and_by_scipy():
    found = statistics.interval([1, 2, 3])
    # Standard deviation 1; the 97.5 % point of Student's t with two degrees of freedom.
    assert found.mean == 2 and found.count == 3
    assert found.half == pytest.approx(4.302652729911275 / 3**0.5)
    values = np.random.default_rng(0).normal(size=7)
    low, high = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    found = statistics.interval(values)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))


def test_one_value_has_no_interval_and_none_has_no_mean():
    assert statistics.interval([0.4]) == (0.4, None, 1)
    assert statistics.interval({}.values()) is None


def test_differences_are_paired_by_seed():
    # Seeds are 0.1 apart, the losses 0.01: only pairs show that.
    values = {"a": [0.31, 0.412, 0.51, 0.609], "b": [0.30, 0.40, 0.50, 0.60]}
    found = results(values)
    apart = statistics.difference(found, "a", "b", "map_at_r")
    # 0.010, 0.012, 0.010, 0.009: squares of what is left sum to 4.75e-6.
    assert apart.mean == pytest.approx(0.01025)
    spread = (4.75e-6 / 3) ** 0.5
    assert apart.half == pytest.approx(3.182446305284263 * spread / 2)
    assert apart.verdict == "better"
    assert statistics.difference(found, "b", "a", "map_at_r").verdict == "worse"
    alone = statistics.interval(values["a"])
    assert alone.half > 0.1


def test_only_seeds_in_common_are_compared():
    found = results({"a": [0.9, 0.5, None], "b": [None, 0.4, 0.1]})
    assert statistics.difference(found, "a", "b", "map_at_r") == (pytest.approx(0.1), None, 1)
    found = results({"a": [0.9, None], "b": [None, 0.4]})
    assert statistics.difference(found, "a", "b", "map_at_r") is None


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.011, 0.01, 0.009], "better"),
        ([-0.011, -0.01, -0.009], "worse"),
        ([0.03, -0.02, 0.01], "inside the noise"),
        ([-0.03, 0.02, -0.01], "inside the noise"),
        ([0.1], "unknown"),
        ([0.0, 0.0], "exactly equal"),
        # Equal but for the last bits.
        ([0.3 - 0.1, 0.4 - 0.2], "better"),
        ([0.1 + 0.2 - 0.3, 0.0], "exactly equal"),
    ],
)
def test_verdicts(values, verdict):
    assert statistics.interval(values).verdict == verdict


def test_who_is_the_reference():
    def of(*labels):
        return statistics.find_reference(results({label: [0.5] for label in labels}))

    assert of("triplet", "margin_discriminate:form=hinge", "margin_discriminate") == (
        "margin_discriminate"
    )
    assert of("triplet", "margin_discriminate:form=hinge") == "margin_discriminate:form=hinge"
    assert of("triplet", "margin") == "triplet"


# Convergence


def curves(histories, **others):
    """Results of histories of Recall@1, dict from label to one for each seed."""
    seeds = range(1, 1 + max(map(len, histories.values())))
    trials = [
        trial(label, "final", seed, history=history, **others.get(label, {}))
        for label, of_seeds in histories.items()
        for seed, history in zip(seeds, of_seeds, strict=False)
    ]
    return results({label: [] for label in histories}, trials=tuple(trials), seeds=tuple(seeds))


def test_a_curve_is_the_mean_over_seeds_as_far_as_all_of_them_go():
    found = statistics.curve(curves({"a": [[0.1, 0.2, 0.9], [0.3, 0.6]]}), "a")
    assert found.steps.tolist() == [50, 100]
    assert found.mean == pytest.approx([0.2, 0.4])
    assert found.low.tolist() == [0.1, 0.2] and found.high.tolist() == [0.3, 0.6]
    assert found.seconds == pytest.approx([2.5, 5])


def test_one_slow_run_does_not_slow_a_loss():
    found = results({"a": [0.5] * 3})
    for t, seconds in zip(found.trials, (0.1, 0.2, 9.0), strict=True):
        t["seconds_per_step"] = seconds
    assert statistics.seconds_per_step(found, "a") == 0.2
    found.trials[1]["seconds_per_step"] = None
    assert statistics.seconds_per_step(found, "a") == pytest.approx(4.55)
    assert statistics.seconds_per_step(results({"a": []}), "a") is None


@pytest.mark.parametrize(
    ("values", "target", "epoch"),
    [
        ({1: 0.1, 2: 0.3}, 0.2, 1.5),
        ({1: 0.1, 2: 0.3}, 0.3, 2),
        # What was before the first epoch is not known.
        ({1: 0.1, 2: 0.3}, 0.05, 1),
        # The first time, not the last; from the epoch right before it.
        ({1: 0.1, 2: 0.0, 3: 0.4, 4: 0.2, 5: 0.5}, 0.3, 2.75),
        ({1: 0.1, 2: 0.3}, 0.31, None),
        ({}, 0.1, None),
    ],
)
def test_when_a_curve_reaches_a_value(values, target, epoch):
    assert goal.find_epoch(values, target) == (epoch and pytest.approx(epoch))


def test_steps_to_the_best_of_triplet():
    found = curves(
        {
            "triplet:mining=hard": [[0.2, 0.4, 0.3], [0.2, 0.6, 0.6], [0.1, 0.2, 0.3]],
            # Each seed has its own goal: 0.4, 0.6, 0.3.
            "fast": [[0.3, 0.5, 0.5], [0.5, 0.7, 0.7], [0.3, 0.3, 0.3]],
            "halfway": [[0.0, 0.2, 0.6], [0.1, 0.2, 0.3], [0.2, 0.1, 0.2]],
            "never": [[0.1, 0.1, 0.1]] * 3,
            "triplet": [[0.9, 0.9, 0.9]] * 3,
        }
    )
    best = goal.find_goal(found)
    assert best == "triplet:mining=hard"
    # After 1.5, 1.5 and 1 epochs of 50 steps of 0.05 seconds.
    assert goal.measure_time_to_goal(found, "fast", best) == (75, pytest.approx(3.75), 3, 3)
    assert goal.measure_time_to_goal(found, "halfway", best) == (125, pytest.approx(6.25), 1, 3)
    assert goal.measure_time_to_goal(found, "never", best) == (None, None, 0, 3)
    assert goal.measure_time_to_goal(found, best, best)[0] == 100
    assert goal.find_goal(results({"margin": []})) is None


def test_goals_of_seeds_that_triplet_has_not_are_none():
    found = curves({"triplet": [[0.2]], "a": [[0.3], [0.4]]})
    assert goal.measure_time_to_goal(found, "a", "triplet").seeds == 1
    found = results({"triplet": [None, 0.5], "a": [0.5]})
    assert goal.measure_time_to_goal(found, "a", "triplet") is None


# The outcome


def test_the_best_is_ahead_or_inside_the_noise():
    found = results(
        {
            "margin_discriminate": [0.50, 0.60, 0.70],
            "triplet": [0.401, 0.50, 0.599],
            "circle": [0.49, 0.61, 0.69],
        }
    )
    assert describe_outcome(found) == [
        "On 98 classes that were never trained on, margin_discriminate has the best mean MAP@R of "
        "3 losses: 0.600 ± 0.248 over 3 seeds. Its lead over circle is inside the noise of the "
        "seeds: it may be as good. triplet is worse by more than the noise. "
        "The reference is margin_discriminate itself."
    ]


def test_where_the_reference_stands():
    found = results({"margin_discriminate": [0.4, 0.502], "triplet": [0.6, 0.7]})
    assert lead(found).endswith(
        "It is ahead of the other by more than the noise of the seeds. margin_discriminate, the "
        "reference, is in place 2 of 2 with 0.451 ± 0.648; seed by seed its difference to triplet "
        "is −0.199 ± 0.013, more than the noise."
    )
    found = results({"margin_discriminate": [0.4, 0.7], "triplet": [0.5, 0.61]})
    assert "nothing here says that it is better" in lead(found)
    assert lead(found).endswith("inside the noise.")


def test_what_was_not_trained_may_be_ahead():
    ahead = "No loss is ahead of what was not trained on these classes: "
    found = results({"triplet": [0.1, 0.2], "n_pairs": [0.05, 0.06]})
    assert ahead not in " ".join(describe_outcome(found))
    one = {**found.raw, "map_at_r": 0.4}
    assert describe_outcome(found._replace(raw=one))[1] == (
        f"{ahead}raw pixels (0.400). Training has not paid off: it may be too short, its learning "
        "rate too high, or the start too poor."
    )
    found = found._replace(raw=one, untrained={seed: one for seed in found.untrained})
    assert f"raw pixels (0.400) and {START} (0.400" in describe_outcome(found)[1]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"head": "whitened"}, "start: whitened features, not trained"),
        ({"head": "pca"}, "start: principal axes of features, not trained"),
        ({"head": "kept", "start": "runs/x"}, "start: model of another run, not trained"),
        ({"head": "random"}, START),
        ({"head": "random", "weights": None}, "start: random network, not trained"),
        ({"head": "random", "weights": None, "backbone": "none"}, START),
        # Of version 0.1.0.
        ({"weights": None}, "start: random network, not trained"),
    ],
)
def test_the_start_in_words(settings, name):
    found = results({"a": [0.5]}, config={**CONFIG, **settings}, features=metrics(0.3))
    rows = baselines.baselines(found)
    assert list(rows) == ["raw pixels", "features of unit length", name]
    assert [row["map_at_r"].mean for row in rows.values()] == [0.02, 0.3, 0.11]


def with_starts(values, starts):
    """As `results`, with the MAP@R that validation had before the first epoch: 0.2 or `starts`."""
    found = results(values)
    for one in found.trials:
        start = starts.get(one["label"], 0.2)
        one["start"] = {"epoch": 0, "val_map_at_r": start, "val_recall_at_1": start + 0.1}
    return found


def test_a_gain_is_paired_by_seed():
    # The starts are 0.11, 0.12 and 0.13.
    found = results({"a": [0.31, 0.33, 0.35], "b": [0.10, 0.12, 0.14], "c": [0.5, None, None]})
    assert baselines.gain(found, "a")[:2] == (pytest.approx(0.21), pytest.approx(0.0248414))
    assert baselines.gain(found, "b").mean == 0 and baselines.is_below(found, "b")
    assert not baselines.is_below(found, "a")
    assert baselines.gain(found._replace(untrained={2: metrics(0.1)}), "c") is None


def test_a_loss_that_is_not_above_the_start_is_marked(tmp_path):
    values = {"margin_discriminate": [0.5, 0.6], "triplet": [0.05, 0.09], "circle": [0.3, 0.4]}
    page, text, rows = written(with_starts(values, {"circle": 0.41, "triplet": 0.04}), tmp_path)
    table = page.table("loss", "MAP@R", "over the start")
    assert [row[0] for row in table] == [
        *("margin_discriminate", "circle", "triplet ▼", "raw pixels", START),
    ]
    assert [row[2] for row in table] == [
        *("+0.435 ± 0.572", "+0.235 ± 0.572 ▽", "−0.045 ± 0.191 ▼", "–", "–"),
    ]
    assert (
        "Not above the start on these classes is triplet (−0.045 ± 0.191): trained with them, the "
        "network retrieves no better than before its first step. In no seed above the start on the "
        "validation classes, by MAP@R: circle."
    ) in page.text.replace("  ", " ")
    assert "▼ On the test classes the trained network is not above the start" in text
    assert "triplet ▼ not above the start" in (tmp_path / "pictures/map_at_r.svg").read_text()
    assert "not above" not in (tmp_path / "pictures/recall_at_1.svg").read_text()
    assert [row["start"] for row in rows] == ["0.2", "0.2", "0.04", "0.04", "0.41", "0.41"]
    # One seed that is above is enough on validation, and what is equal is not above.
    assert not baselines.is_never_above(with_starts({"a": [0.1, 0.3]}, {}), "a")
    assert baselines.is_never_above(with_starts({"a": [0.1, 0.2]}, {}), "a")


def test_where_all_are_above_the_start_there_are_no_marks(tmp_path):
    page, text, _ = written(with_starts({"triplet": [0.5, 0.6], "a": [0.4, 0.4]}, {}), tmp_path)
    assert "not above" not in page.text.split("How to read this")[-2]
    assert not re.search("[▼▽]", text.split("## How to read this")[0])
    assert "Training has not paid off" not in text


def test_results_without_a_start_have_no_marks(tmp_path):
    """As those of version 0.1.0 have it of validation."""
    found = results({"triplet": [0.01, 0.02], "a": [0.4, 0.4]}, untrained={})
    page, text, _ = written(found, tmp_path)
    assert not baselines.is_below(found, "triplet") and not baselines.is_never_above(found, "a")
    assert "over the start" not in page.text
    assert page.table("loss", "MAP@R", "Recall@1")[0][-1] == "50.0"


def test_curves_show_the_start():
    found = with_starts({"margin_discriminate": [0.5, 0.6], "triplet": [0.4, 0.5]}, {"triplet": 0})
    drawn = {label: statistics.curve(found, label) for label in found.labels}
    assert [one.start for one in drawn.values()] == pytest.approx([0.3, 0.1])
    (axes,) = figures.draw_convergence(drawn, "triplet", "margin_discriminate").axes
    dotted = [line for line in axes.lines if line.get_color() == figures.QUIET]
    assert [line.get_ydata()[0] for line in dotted] == pytest.approx([0.1])
    assert axes.get_ylim()[0] < 0.1


def test_draws_above_the_start_are_counted(tmp_path):
    draws = [trial("a", "search", i, value) for i, value in enumerate([0.3, 0.5, 0.2, 0.4])]
    for one in draws[:3]:
        one["start"] = {"epoch": 0, "val_map_at_r": 0.3}
    draws.append(trial("a", "search", 4, failed="diverged"))
    page, _, _ = written(results({"a": []}, search=5, trials=tuple(draws)), tmp_path)
    assert page.table("loss", "draws")[0][-1] == "1 of 3"
    assert page.table("draw", "MAP@R", "Recall@1")[1][:4] == ["1", "0.500", "0.500", "3"]


def test_one_seed_tells_nothing(tmp_path):
    found = results({"margin_discriminate": [0.4], "triplet": [0.6]})
    assert "One seed gives no interval: another seed may turn the order around." in lead(found)
    assert "noise of the seeds" not in lead(found)
    page, _, _ = written(found, tmp_path)
    assert page.table("loss", "MAP@R", "verdict")[0][:3] == ["triplet", "+0.200", "unknown"]
    assert "One seed in common gives no interval, so no difference can be judged." in page.text
    assert page.table("loss", "MAP@R", "over the start")[0][:4] == [
        "triplet",
        "0.600",
        "+0.490",
        "0.840",
    ]
    assert "±" not in str(page.table("loss", "MAP@R", "over the start"))


def test_few_seeds_in_common_tell_little():
    # One seed of each is done so far.
    found = results({"triplet": [0.5, None], "circle": [0.6, None]}, seeds=(1, 2))
    assert "One seed gives no interval" in lead(found) and "provisional" in lead(found)
    values = {"a": [0.6, 0.7, None], "b": [0.5, 0.69, None], "c": [None, 0.52, 0.51]}
    text = lead(results(values | {"d": [None, None, 0.4]}))
    assert "It has too few seeds in common with c and d for a comparison." in text
    assert "Its lead over b is inside the noise" in text
    values["b"] = [0.5, 0.601, None]
    assert "It is ahead of b by more than the noise of the seeds." in lead(results(values))
    values = {"a": [0.6, 0.7], "b": [0.5, 0.601], "c": [0.4, 0.501]}
    assert "It is ahead of each of the other 2 by more than" in lead(results(values))


def test_a_mean_over_fewer_seeds_is_not_called_best():
    found = results({"triplet": [0.4, 0.5], "lucky": [0.9, None]})
    assert "triplet has a mean MAP@R" in lead(found)
    assert "Not ranked here, since a seed or more is missing: lucky." in lead(found)
    assert "Final runs are missing for: lucky (1 of 2 seeds)." in lead(found)


# Whatever is there


@pytest.mark.parametrize("data", [DATA, {}])
def test_nothing_is_done_yet(tmp_path, data):
    found = results({"a": [], "b": []}, data=data, raw=None, search=4, untrained={}, trials=())
    page, text, rows = written(found, tmp_path)
    assert rows == [] and "No loss has been measured on the test classes yet." in page.text
    assert "The search goes on for: a (0 of 4 draws) and b (0 of 4 draws)." in text
    uncounted = "Data set cars196; its classes have not been counted yet."
    assert (uncounted in page.text) == (not data)


def test_the_search_alone(tmp_path):
    searched = [trial("a", "search", i, 0.1 * i) for i in range(3)]
    searched += [trial("a", "search", 3, failed="diverged")]
    searched += [trial("b", "search", i, failed="diverged") for i in range(4)]
    found = results({"a": [], "b": []}, search=4, trials=tuple(searched))
    page, _, rows = written(found, tmp_path)
    assert len(rows) == 8 and "map_at_r" not in rows[0]
    assert "Final runs are missing for: a (0 of 1 seeds)." in page.text
    assert "Every run of the search failed, so no settings could be chosen, for: b." in page.text
    # What is known of the test is shown.
    assert page.table("", "Recall@1")[0][0] == "raw pixels"
    searches = page.table("loss", "draws")
    assert searches[0][:5] == ["a", "4 of 4", "1", "0.200", "0.000"]
    assert searches[1][:6] == ["b", "4 of 4", "4", "–", "–", "–"]


def test_half_of_it(tmp_path):
    found = realistic(["margin_discriminate", "triplet", "circle"], seeds=3)
    for keep in (0, 10, 20, 49, 52, 56):
        part = found._replace(trials=found.trials[:keep], untrained={})
        page, _, rows = written(part, tmp_path)
        assert len(rows) == keep and "Unfinished." in page.text
    assert "Unfinished" not in " ".join(describe_outcome(found))


@pytest.mark.longest
def test_the_reference_is_missing(tmp_path):
    found = results({"margin_discriminate": [], "triplet": [0.5, 0.6], "circle": [0.5, 0.6]})
    page, _, _ = written(found, tmp_path)
    assert "margin_discriminate, the reference, is not among them yet." in page.text
    assert "They need two losses with final runs, one of them the reference." in page.text


def test_losses_that_are_equal(tmp_path):
    found = results({"margin_discriminate": [0.5, 0.5], "triplet": [0.5, 0.5]})
    page, _, _ = written(found, tmp_path)
    assert page.table("loss", "MAP@R", "verdict")[0][:3] == [
        "triplet",
        "+0.000 ± 0.000",
        "exactly equal",
    ]
    assert "nothing here says that it is better" in lead(found)


def test_failed_runs(tmp_path):
    found = results({"margin_discriminate": [0.5, 0.6], "triplet": [0.4, None]})
    broken = trial("triplet", "final", 2, failed="The loss is\nnot a number. " + 99 * "Sorry. ")
    found = found._replace(trials=(*found.trials, broken))
    page, _, rows = written(found, tmp_path)
    assert "Final runs failed for: triplet (1 of 2 seeds)." in page.text
    why = page.table("loss", "phase")[0]
    assert why[:3] == ["triplet", "final", "seed 2"]
    assert why[3].startswith("The loss is not a number. Sorry.") and len(why[3]) <= 400
    assert [row["failed"][:11] for row in rows] == ["", "", "", "The loss is"]
    assert rows[3]["map_at_r"] == rows[3]["value"] == ""
    assert [row[-1] for row in page.table("loss", "MAP@R", "over the start")[:2]] == [
        "2 of 2",
        "1 of 2",
    ]


def test_machines_that_differ_are_said(tmp_path):
    found = results({"margin_discriminate": [0.5, 0.6], "triplet": [0.4, 0.5]})
    page, _, _ = written(found, tmp_path)
    assert "cannot be compared" not in page.text
    found.trials[0]["machine"] = {**MACHINE, "keras": "3.9.0", "cores": 8}
    page, text, _ = written(found, tmp_path)
    said = "The runs differ in cores and keras: seconds of different machines or versions cannot"
    assert said in page.text and said in text
    assert [row[1] for row in page.table("machine")] == ["1", "3"]


def test_features_have_no_pictures(tmp_path):
    found = results({"triplet": [0.5, 0.6]}, data={**DATA, "kind": "features"})
    page, _, _ = written(found, tmp_path)
    assert "There are none of features, which are no pictures." in page.text
    assert page.table("loss", "MAP@R", "over the start")[1][0] == "features of unit length"


def test_without_triplet_there_is_no_goal(tmp_path):
    data = {**DATA, "name": "cars196 (stand-in)"}
    page, text, _ = written(results({"margin": [0.5], "circle": [0.6]}, data=data), tmp_path)
    assert text.startswith("# compare-cars: 2 losses on cars196 (stand-in)\n")
    assert "Left out: no triplet loss is among the losses." in page.text
    assert "Left out: no triplet loss is among the losses." in text


def test_neighbors_are_in_the_page_and_beside_the_markdown(tmp_path):
    found = results({"triplet": [0.5], "circle": [0.6]})
    found.trials[0]["neighbors"], found.trials[1]["neighbors"] = "a b.png", "../secret.png"
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a b.png").write_bytes(b"picture")
    (tmp_path / "secret.png").write_bytes(b"secret")
    page, text, _ = written(found, tmp_path)
    sources = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert "data:image/png;base64,cGljdHVyZQ==" in sources
    assert not any("c2VjcmV0" in source for source in sources)
    assert "The file pictures/../secret.png is missing." in page.text
    assert "(pictures/a%20b.png)" in text


# The search


def searched(rates, picked, **more):
    drawn = [{"learning_rate": rate, **more} for rate in rates]
    trials = [
        trial("a", "search", i, float(i == picked), settings=settings)
        for i, settings in enumerate(drawn)
    ]
    return results({"a": []}, search=len(rates), trials=tuple(trials))


@pytest.mark.parametrize(
    ("picked", "at_edge"), [(0, True), (1, True), (2, False), (4, False), (5, True), (6, True)]
)
def test_a_chosen_number_at_the_edge(picked, at_edge):
    found = searched([1, 2, 3, 4, 5, 6, 7], picked)
    assert searches.find_edges(found, "a") == (["learning_rate"] if at_edge else [])
    # In whatever order they were drawn.
    found = searched([7, 6, 5, 4, 3, 2, 1], picked)
    assert searches.find_edges(found, "a") == (["learning_rate"] if at_edge else [])


def test_what_has_no_edge():
    assert searches.find_edges(searched([1, 2, 3, 4], 0), "a") == []
    assert searches.find_edges(searched([3, 3, 3, 3, 3, 5], 0), "a") == []
    found = searched([1, 2, 3, 4, 5], 2, mining="hard", learn_beta=True)
    for other, mining in ((0, "semi_hard"), (1, "all"), (3, "semi_hard"), (4, "semi_hard")):
        found.trials[other]["settings"] |= {"mining": mining, "learn_beta": False}
    assert searches.find_edges(found, "a") == []


def test_the_earliest_of_equal_draws_and_what_the_final_runs_had():
    found = searched([1, 2, 3], 9)
    assert searches.find_best_draw(found, "a")["number"] == 0
    final = trial("a", "final", 1, settings={"learning_rate": 2})
    found = found._replace(trials=(*found.trials, final))
    assert searches.find_settings(found, "a") == {"learning_rate": 2}


# Texts from outside

HOSTILE = (
    *("<script>alert(1)</script>", "a|b", "=cmd()", "cost $x^2$ and $", "\"quoted\" & 'so'"),
    *(
        "`code` *x* [a](http://example.com)",
        "@sum",
        "+1",
        "-1",
        "x" * 300,
        "half \ud83d",
        "\x1b[31m",
    ),
)


def test_no_text_from_outside_becomes_markup(tmp_path):
    found = results({label: [0.3, 0.4 + 0.01 * i] for i, label in enumerate(HOSTILE)})
    for t, text in zip(found.trials, HOSTILE * 2, strict=True):
        t["settings"] = {"learning_rate": 1e-3, text: text}
        t["machine"] = {**MACHINE, "processor": text}
    failed = [trial(text, "search", 1, failed=text) for text in HOSTILE]
    config = {**CONFIG, "dataset": "tfds:<b>|", "data_dir": "/x/<i>|`"}
    found = found._replace(name="<u>", trials=(*found.trials, *failed), config=config)
    page, text, rows = written(found, tmp_path)
    assert not {"script", "b", "i", "u"} & set(page.tags)
    assert "<script>alert(1)</script>" in page.text and "<u>: 12 losses on tfds:<b>|" in page.text
    assert "half \\ud83d" in page.text and "\\x1b[31m" in page.text
    # Every row of a Markdown table has the cells of its heading.
    for block in text.split("\n\n"):
        if block.startswith("| "):
            lines = block.splitlines()
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert not re.search(r"(?<!\\)[<`$]", text.replace("\\\\", ""))
    formulas = [row[key] for row in rows for key in ("label", "failed", "settings")]
    texts = [cell for cell in formulas if not re.fullmatch(r"[+-]?\d+", cell)]
    assert not [cell for cell in texts if cell.startswith(("=", "+", "-", "@"))]
    assert {"'=cmd()", "'@sum", "+1", "-1"} <= {row["label"] for row in rows}


def test_a_dollar_in_a_label_is_a_dollar(tmp_path):
    label = r"triplet:x=$\frac{1}{2}$"
    report.write(results({label: [0.5, 0.6], "margin_discriminate": [0.4, 0.5]}), tmp_path)
    for name in ("map_at_r", "differences", "convergence-steps-01", "distances-01"):
        text = (tmp_path / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
        # Beside what is drawn stands what it was made of, as a comment.
        assert label in re.sub(r"<!--.*?-->", "", text)


def test_the_page_needs_nothing_else(tmp_path):
    page, text, _ = written(realistic(["margin_discriminate", "triplet"], seeds=2), tmp_path)
    assert "script" not in page.tags and "link" not in page.tags
    assert ("html", "lang", "en") in page.attributes
    assert ("meta", "name", "viewport") in page.attributes
    ids = {value for _, name, value in page.attributes if name == "id"}
    for _, name, value in page.attributes:
        assert not name.startswith("on")
        if name == "src":
            assert value.startswith("data:image/svg+xml;base64,")
        if name == "href":
            assert value[0] == "#" and value[1:] in ids
    assert page.tags.count("img") == sum(name == "alt" for _, name, _ in page.attributes) == 9
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "url(" not in html and "@import" not in html
    for name in re.findall(r"\]\(([^)]*)\)", text):
        assert (tmp_path / name).is_file()


# All of it


def test_all_losses(tmp_path):
    labels = (*list(LOSSES)[:-1], "triplet:mining=hard")
    found = realistic(labels)
    page, text, rows = written(found, tmp_path)
    ranked = statistics.ranking(found)
    assert [row[0] for row in page.table("loss", "MAP@R", "over the start")] == [
        *ranked,
        *("raw pixels", START),
    ]
    assert len(page.table("loss", "MAP@R", "verdict")) == 16
    assert "of these 48 about 2.4 would still say better or worse" in page.text
    assert [row[0] for row in page.table("loss", "draws")] == list(labels)
    assert len(rows) == 17 * 21
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert len(names) == 3 + 3 * 17
    assert all(f"(pictures/{name})" in text for name in names)


def test_numbers_of_the_table(tmp_path):
    values = {"margin_discriminate": [0.5, 0.6, 0.7], "triplet": [0.5, 0.5, 0.5]}
    page, text, _ = written(results(values), tmp_path)
    best, other, raw, untrained = page.table("loss", "MAP@R", "over the start")
    # 1 - (1 - 0.6) / 2.5, and 0.1 * 4.3027 / sqrt(3), with a standard deviation of 0.1 / 2.5.
    # The start is higher by 0.01 from seed to seed.
    assert best[1:4] == ["0.600 ± 0.248", "+0.480 ± 0.224", "0.840 ± 0.099"]
    assert other[1] == "0.500 ± 0.000" and other[-1] == "50.0"
    assert raw[1] == "0.020" and untrained[1] == "0.120 ± 0.025"
    assert (
        "| **margin_discriminate** | **0.600 ± 0.248** | **+0.480 ± 0.224** | **0.840 ± 0.099** |"
        in text
    )


def test_the_table_for_programs(tmp_path):
    found = results({"b": [0.5], "a": [0.25]})
    drawn = trial("a", "search", 0, 0.125, settings={"margin": -0.5})
    found = found._replace(trials=(*found.trials, drawn), search=1)
    _, _, rows = written(found, tmp_path)
    assert [(row["label"], row["phase"], row["number"]) for row in rows] == [
        ("b", "final", "1"),
        ("a", "search", "0"),
        ("a", "final", "1"),
    ]
    assert list(rows[0])[:11] == [
        *("label", "phase", "number", "failed", "value", "start", "best_epoch"),
        *("seconds_per_step", "seconds", "learning_rate", "settings"),
    ]
    assert list(rows[0])[11:13] == ["recall_at_1", "recall_at_2"]
    assert list(rows[0])[-2:] == ["f1", "lone_queries"]
    assert float(rows[0]["map_at_r"]) == 0.5 and rows[1]["map_at_r"] == ""
    # What was not drawn is what all runs share.
    assert rows[1]["learning_rate"] == "0.001" and json.loads(rows[1]["settings"]) == {
        "margin": -0.5
    }


def test_a_report_is_the_same_whenever_it_is_written(tmp_path):
    found = realistic(["margin_discriminate", "triplet"], seeds=2, search=2)
    first = {path: path.read_bytes() for path in report.write(found, tmp_path)}
    assert [path.name for path in first][:3] == ["report.html", "report.md", "results.csv"]
    assert {path: path.read_bytes() for path in report.write(found, tmp_path)} == first
    # Nothing unfinished is left.
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == set(first)


def test_panels_have_the_same_axes_and_one_strong_line():
    found = realistic(["margin_discriminate", "triplet", "circle"], seeds=2, search=2)
    drawn = {label: statistics.curve(found, label) for label in found.labels}
    panels = [
        figures.draw_convergence(drawn, label, "margin_discriminate", seconds)
        for label in drawn
        for seconds in (False, True)
    ]
    for same in (panels[::2], panels[1::2]):
        assert len({(p.axes[0].get_xlim(), p.axes[0].get_ylim()) for p in same}) == 1
    for panel, dashed in zip(panels[::2], (0, 1, 1), strict=True):
        colours = [line.get_color() for line in panel.axes[0].lines]
        assert colours.count(figures.OTHERS) == 3
        assert colours.count(figures.REFERENCE) == dashed
        assert colours[-1] == figures.THIS


def test_the_best_stands_at_the_top_and_the_reference_in_its_own_colour():
    found = results({"a": [0.3, 0.4], "margin_discriminate": [0.4, 0.5], "b": [0.5, 0.6]})
    picture = show_results(found).blocks[-1].pictures[0]
    (axes,) = picture.figure.axes
    rows = ["b", "margin_discriminate", "a", "raw pixels", START]
    assert [text.get_text() for text in axes.texts] == rows
    assert re.findall(r"(\w+) 0\.", picture.alt) == ["b", "margin_discriminate", "a"]
    means = [line for line in axes.lines if line.get_marker() == "o" and not line.get_alpha()]
    colours = [line.get_color() for line in means]
    assert colours == [figures.THIS, figures.REFERENCE, figures.THIS, *[figures.QUIET] * 2]


def test_dots_stand_in_order_with_their_intervals():
    rows = [
        ("a", statistics.interval([0.4, 0.5]), [0.4, 0.5], figures.THIS),
        ("b", statistics.interval([0.3]), [0.3], figures.THIS),
    ]
    (axes,) = figures.draw_dots(rows, "MAP@R").axes
    assert [text.get_text() for text in axes.texts] == ["a", "b"]
    low, high = axes.get_ylim()
    assert low > 1 > 0 > high  # the first row is at the top
    bars = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
    half = 12.706204736432095 * 0.05
    assert [0.45 - half, 0.45 + half] in [pytest.approx(list(bar)) for bar in bars]
