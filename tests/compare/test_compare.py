"""Comparisons of losses: what is drawn, what is shared, what is kept, and that the test decides
nothing."""

import dataclasses
import errno
import hashlib
import json
import shutil

import helpers
import keras
import numpy as np
import pytest
from helpers.runs import policy_as_before  # noqa: F401

from mdl_tf import cli, compare, files
from mdl_tf.compare import Comparison, Entry, Folder, asked, parse, prepare, runner, trial
from mdl_tf.compare import comparison as comparison_module
from mdl_tf.compare import folder as folder_module
from mdl_tf.compare.comparison import choose_settings
from mdl_tf.compare.spaces import changes, draws, space
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.config.setting import setting
from mdl_tf.embedding import load_model
from mdl_tf.losses import LOSSES
from mdl_tf.losses.space import Choice, Only, Range
from mdl_tf.runs import phases
from mdl_tf.runs.data import read_data
from mdl_tf.runs.measure import Measured
from mdl_tf.runs.network import build_loss

# Label, seed, and the first draws at a learning rate of 0.003: as version 0.1.0 wrote them, and
# those of which a range or a default has changed in 0.2.0.
DRAWS = {
    (label, seed): drawn
    for name in ("draws_0_1_0.json", "draws_0_2_0.json")
    for label, seed, drawn in json.loads((helpers.GOLDEN / name).read_text())
}
# What papers and their authors' code have, beside the defaults of the losses.
PAPERS = [
    *[("generalized_lifted_structure", "margin", value) for value in (0.1, 1)],
    *[("angular", "alpha", value) for value in (36, 55)],
    *[("circle", "margin", 0.25), ("circle", "gamma", 256)],
    *[("multi_similarity", "base", 0.5), ("multi_similarity", "base", 1)],
    *[("margin", "boundary", 1000), ("soft_triple", "centers", 100)],
    *[(name, "proxies", 1) for name in ("cos_face", "arc_face", "normalized_softmax")],
    ("proxy_anchor", "proxies", 100),
]


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Vectors of twenty classes, noisy enough that losses differ."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 8)
    centres = rng.normal(size=(20, 12))
    path = tmp_path_factory.mktemp("data") / "features.npz"
    vectors = centres[labels] + rng.normal(size=(160, 12))
    np.savez(path, features=vectors.astype("float32"), labels=labels)
    return path


def config_of(path, **changes):
    settings = {
        "dataset": "npz",
        "data_dir": str(path),
        "backbone": "none",
        "embedding_dim": 4,
        "validation": 0.4,
        "classes_per_batch": 4,
        "images_per_class": 3,
        "epochs": 2,
        "steps_per_epoch": 3,
        "learning_rate": 0.01,
        "head": "random",
    }
    return TrainConfig(**{**settings, **changes})


def closed(config):
    """A config as a comparison has it: nothing is left open."""
    from mdl_tf.runs.resolve import resolve

    config = resolve(config)
    return dataclasses.replace(config, batch_norm=config.batch_norm or "train")


def quiet(line):
    pass


# ------------------------------------------------------------------------------ what is asked for


def test_losses_as_they_are_typed():
    assert parse("triplet, n_pairs") == (Entry("triplet"), Entry("n_pairs"))
    entry = parse("triplet:mining=hard:soft=true:margin=0.1")[0]
    assert entry.held == (("mining", "hard"), ("soft", True), ("margin", 0.1))
    assert entry.label == "triplet:mining=hard:soft=true:margin=0.1"
    assert entry.slug == "triplet-mining-hard-soft-true-margin-0.1"
    assert parse(entry.label) == (entry,)
    assert [one.loss for one in parse("all")] == list(LOSSES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("triplets", "`losses` must be all, or some of margin_discriminate, contrastive, triplet,"),
        ("", "Received: ''"),
        ("triplet,triplet", "`losses` must be different ones. Received twice: triplet"),
        ("all,triplet", "Received twice: triplet"),
        ("triplet:mining", "such as triplet:mining=hard. Received: 'triplet:mining'"),
        ("triplet:mining=hard:mining=all", "each setting once"),
        ("proxy_nca:proxies=[1]", "must be setting=value, a text, a number, true or false"),
    ],
)
def test_losses_that_cannot_be(text, message):
    with pytest.raises(ConfigError) as raised:
        parse(text)
    assert message in str(raised.value)


def test_ranges():
    assert [Range(1, 100, log=True).at(share) for share in (0, 0.5, 1)] == [1, 10, 100]
    assert [Range(0, 0.6).at(share) for share in (0, 0.5, 1)] == [0, 0.3, 0.6]
    assert [Choice("abc").at(share) for share in (0, 0.34, 0.99, 1)] == ["a", "b", "c", "c"]


@pytest.mark.parametrize("loss", LOSSES)
def test_every_draw_of_every_loss_can_be_trained(loss):
    """What is searched are settings that the loss has, and no draw is refused."""
    comparison = Comparison(TrainConfig(validation=0.2, monitor="map_at_r"), parse(loss), search=16)
    (entry,) = comparison.entries
    drawn = comparison.drawn(entry)
    assert len(drawn) == 16
    for settings in drawn:
        built = build_loss(comparison.run_config(entry, settings, 0), num_classes=10)
        for name in LOSSES[loss].search_space:
            if name in settings and name not in ("l2_normalize", "proxies", "centers"):
                assert getattr(built, name, settings[name]) == settings[name]
    searched = {name for settings in drawn[1:] for name in settings}
    assert searched == {"learning_rate", *LOSSES[loss].search_space}
    for name in searched:
        values = {json.dumps(settings[name]) for settings in drawn[1:] if name in settings}
        assert len(values) > 1, name


def defaults_in_ranges():
    """Loss, setting and default of what is searched between two numbers."""
    for loss in LOSSES:
        for name, value in draws(Entry(loss), 1e-3, 1, 0)[0].items():
            if name != "learning_rate" and not isinstance(value, str | bool):
                yield loss, name, value


@pytest.mark.parametrize(("loss", "name", "value"), [*defaults_in_ranges(), *PAPERS])
def test_what_papers_have_is_not_at_the_edge_of_a_range(loss, name, value):
    found = LOSSES[loss].search_space[name]
    found = found.values if isinstance(found, Only) else found
    if (value, found.low) == (0, 0):
        return  # nothing is below
    low, high, value = np.log([*found[:2], value]) if found.log else (*found[:2], value)
    assert 0.15 < (value - low) / (high - low) < 0.85


def test_a_setting_is_searched_only_where_it_acts():
    drawn = draws(Entry("n_pairs"), 1e-3, 16, 0)
    assert {("l2" in one, one["l2_normalize"]) for one in drawn} == {(True, False), (False, True)}
    assert not any("l2" in one for one in draws(parse("n_pairs:l2_normalize=true")[0], 1e-3, 9, 0))
    drawn = draws(Entry("margin"), 1e-3, 16, 0)
    assert {("boundary" in one, one["learn_beta"]) for one in drawn} == {
        (True, True),
        (False, False),
    }
    learned = next(one for one in drawn if one["learn_beta"])
    fields = changes(Entry("margin"), learned)
    assert fields["learning_rate_factors"] == {"boundary": learned["boundary"]}
    assert set(fields["loss_args"]) == {"beta", "margin", "learn_beta"}
    # What is left out keeps its place among the numbers of the others.
    assert drawn[1]["beta"] == draws(parse("margin:learn_beta=false")[0], 1e-3, 2, 0)[1]["beta"]


def test_the_first_draw_is_that_of_the_defaults():
    first = {"learning_rate": 1e-3, "mining": "semi_hard", "margin": 0.2}
    assert draws(Entry("triplet"), 1e-3, 3, 0)[0] == first
    assert draws(parse("triplet:margin=1:soft=true")[0], 1e-3, 3, 0)[0] == {
        **{**first, "margin": 1},
        "soft": True,
    }
    # As in their papers, embeddings keep their length.
    first = {"learning_rate": 1e-3, "l2": 0.001, "l2_normalize": False}
    assert draws(Entry("n_pairs"), 1e-3, 1, 0) == [first]


def test_all_losses_try_the_same_learning_rates_and_a_longer_search_begins_with_a_shorter_one():
    rates = [
        [settings["learning_rate"] for settings in draws(Entry(loss), 1e-3, 16, 5)]
        for loss in ("circle", "angular", "soft_triple")
    ]
    assert rates[0] == rates[1] == rates[2]
    assert min(rates[0]) < 2e-4 and max(rates[0]) > 5e-3
    assert draws(Entry("circle"), 1e-3, 9, 5) == draws(Entry("circle"), 1e-3, 16, 5)[:9]
    assert draws(Entry("circle"), 1e-3, 9, 6) != draws(Entry("circle"), 1e-3, 9, 5)


@pytest.mark.parametrize(("label", "seed"), DRAWS, ids=[f"{row[0]} {row[1]}" for row in DRAWS])
def test_draws_stay_the_same(label, seed):
    """To the last digit and in the same order."""
    drawn = DRAWS[label, seed]
    settings = draws(parse(label)[0], 3e-3, len(drawn), seed)
    assert [list(one.items()) for one in settings] == [[tuple(s) for s in one] for one in drawn]


def test_every_loss_has_stored_draws():
    assert {label for label, _ in DRAWS} >= set(LOSSES)


def test_a_space_larger_than_the_sequence_is_refused(monkeypatch):
    spaces = {f"setting {i}": Range(0, 1) for i in range(8)}
    monkeypatch.setattr(LOSSES["circle"], "search_space", spaces)
    with pytest.raises(ValueError, match="at most 7 settings. Received: 8 of circle"):
        draws(Entry("circle"), 1e-3, 2, 0)


def test_a_held_learning_rate_is_that_of_every_draw():
    entry = parse("triplet:learning_rate=0.5")[0]
    drawn = draws(entry, 1e-3, 6, 0)
    assert {settings["learning_rate"] for settings in drawn} == {0.5}
    free = draws(Entry("triplet"), 1e-3, 6, 0)
    assert [d["margin"] for d in drawn] == [d["margin"] for d in free], "the rest as without"


def test_what_is_held_is_not_searched():
    entry = parse("triplet:mining=hard")[0]
    assert set(space(entry)) == {"margin"}
    drawn = draws(entry, 1e-3, 8, 0)
    assert all(settings["mining"] == "hard" for settings in drawn)
    assert changes(entry, drawn[3])["loss_args"] == {
        "mining": "hard",
        "margin": drawn[3]["margin"],
    }


def test_factors_of_proxies_join_those_that_all_runs_share():
    config = TrainConfig(learning_rate_factors={"embedding": 2})
    comparison = Comparison(config, parse("proxy_nca"))
    run = comparison.run_config(comparison.entries[0], {"proxies": 30.0, "scale": 4.0}, 7)
    assert run.learning_rate_factors == {"embedding": 2, "proxies": 30.0}
    shared = TrainConfig(learning_rate_factors={"proxies": 2}, seed=3)
    shared = Comparison(shared, parse("proxy_nca"))
    other = shared.run_config(shared.entries[0], {"proxies": 30.0}, 7)
    assert other.learning_rate_factors == {"proxies": 30.0}
    assert shared.drawn(shared.entries[0])[1:] != comparison.drawn(comparison.entries[0])[1:]
    assert (run.loss, run.loss_args, run.seed) == ("proxy_nca", {"scale": 4.0}, 7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": 3}, "`patience` cannot be set in a comparison: every loss has the same"),
        ({"loss_args": {"margin": 1}}, "`loss_args` cannot be set in a comparison: they are"),
        ({"folds": 2}, "`folds` cannot be set in a comparison"),
        ({"loss": "circle"}, "`loss` cannot be set in a comparison: the losses are compared."),
        ({"refit": True}, "`refit` cannot be set in a comparison: the validation classes judge"),
        ({"validation": 0}, "`validation` must be above 0: settings are chosen on classes held"),
        ({"cache": "ram"}, "`cache` must be none or disk in a comparison"),
    ],
)
def test_what_a_comparison_cannot_share(settings, message):
    with pytest.raises(ConfigError) as raised:
        Comparison(TrainConfig(**settings), parse("triplet"))
    assert message in str(raised.value)


def test_counts_of_a_comparison():
    for name, value in (("search", -1), ("seeds", 0), ("seeds", True)):
        with pytest.raises(ConfigError, match=f"`{name}` must be an integer, at least"):
            Comparison(TrainConfig(), parse("triplet"), **{name: value})
    assert Comparison(TrainConfig(seed=2**32 - 1), parse("triplet"), 2, 2).final_seeds == (0, 1)


def test_the_best_draw_is_chosen():
    comparison = Comparison(TrainConfig(), parse("triplet"), search=3, seeds=1)
    entry = comparison.entries[0]

    def tried(value, failed=None, margin=None):
        return {"value": value, "failed": failed, "settings": {"margin": margin or value}}

    assert choose_settings(comparison, entry, [tried(0.1), tried(0.3), tried(0.2)]) == {
        "margin": 0.3
    }
    equal = [tried(None, "no"), tried(0.1, margin=0.7), tried(0.1, margin=0.8)]
    assert choose_settings(comparison, entry, equal) == {"margin": 0.7}, "the earlier one"
    assert choose_settings(comparison, entry, [tried(0.1), None, tried(0.2)]) is None, (
        "not over yet"
    )
    assert choose_settings(comparison, entry, [tried(None, "no")] * 3) is None
    defaults = {"learning_rate": 3e-3, "mining": "semi_hard", "margin": 0.2}
    assert choose_settings(dataclasses.replace(comparison, search=1), entry, [None]) == defaults


# -------------------------------------------------------------------------------------- one run


@pytest.fixture(scope="module")
def data(features):
    comparison = Comparison(config_of(features), parse("triplet"))
    return read_data(comparison.config)


def test_a_run_repeats_and_its_seed_is_that_of_all_losses(data, features):
    first = trial.train(closed(config_of(features)), data)
    again = trial.train(closed(config_of(features)), data)
    assert first.record["history"] == again.record["history"]
    assert [row["epoch"] for row in first.record["history"]] == [1, 2]
    others = [config_of(features, loss="circle"), config_of(features, seed=1)]
    configs = [config_of(features), *others]
    start = [trial.build_untrained(one, data).get_weights() for one in configs]
    assert np.array_equal(start[0][0], start[1][0])
    assert not np.array_equal(start[0][0], start[2][0])


def test_a_run_is_measured_at_its_best_epoch(data, features):
    config = closed(config_of(features, epochs=6, learning_rate=0.3, schedule="constant"))
    record, embedder = trial.train(config, data)
    values = [row["val_map_at_r"] for row in record["history"]]
    assert record["value"] == max(values)
    assert record["best_epoch"] == values.index(max(values)) + 1
    assert record["best_epoch"] < 6, "an input that can tell the best from the last"
    validation = data.validation
    found = trial.measure(embedder, data._replace(test=validation), config)
    assert found.metrics["map_at_r"] == pytest.approx(record["value"], abs=1e-6)


def test_the_steps_are_counted_and_timed(data, features):
    seen = []
    record, _ = trial.train(closed(config_of(features)), data, seen.append)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert 0 < record["seconds_per_step"] < 1


def test_a_run_that_diverges_has_failed(data, features):
    config = config_of(
        features, loss="n_pairs", optimizer="sgd", learning_rate=1e20, l2_normalize=False
    )
    record, _ = trial.train(closed(config), data)
    assert record["failed"].startswith("Training diverged: ")
    assert record["value"] is None


def test_a_run_with_a_warm_up():
    settings = {
        **{"dataset": "digits", "backbone": "conv4", "image_size": 16, "embedding_dim": 4},
        **{"classes_per_batch": 3, "images_per_class": 4, "validation": 0.4, "epochs": 3},
        **{"steps_per_epoch": 2, "warm_up_epochs": 1},
    }
    config = closed(TrainConfig(**settings))
    data = read_data(config)
    before = trial.build_untrained(config, data)
    kept = []

    def watched(config, model, learns):
        kept.append([w.numpy() for w in model.get_layer("conv4").trainable_variables])
        kept.append([w.numpy() for w in model.get_layer("conv4").weights])
        phases_end(config, model, learns)

    phases_end = phases.end_warm_up
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phases, "end_warm_up", watched)
        record, embedder = trial.train(config, data)
    assert [row["epoch"] for row in record["history"]] == [1, 2, 3]
    trained_first, network = kept
    assert trained_first == [], "frozen in the warm-up"
    start = before.get_layer("conv4").weights
    same = [np.array_equal(a.numpy(), b) for a, b in zip(start, network, strict=True)]
    assert sum(same) >= 4 * 3, "kernels, scales and shifts"
    end = embedder.get_layer("conv4").weights
    assert not np.array_equal(start[0].numpy(), end[0].numpy())


def test_histograms_count_every_pair():
    found = trial.histograms((np.array([0.5, 2.0]), np.array([1.0, 1.5, 0.0])))
    assert found["highest"] == 2.0
    assert (sum(found["positive"]), sum(found["negative"])) == (2, 3)
    assert found["positive"][-1] == 1 and found["negative"][0] == 1
    collapsed = trial.histograms((np.zeros(3), np.zeros(2)))
    assert collapsed["highest"] > 0 and sum(collapsed["positive"]) == 3


# ------------------------------------------------------------------------------- the whole thing


@pytest.fixture
def small(features, tmp_path):
    def make(text="margin_discriminate,triplet,proxy_nca", search=3, seeds=2, **changes):
        comparison = Comparison(config_of(features, **changes), parse(text), search, seeds)
        return comparison, Folder.of(comparison, tmp_path, "one")

    return make


def trained(seen):
    """Of what was seen, the runs."""
    return [run for run in seen if run != "test" and run[0] != "untrained"]


class Small(keras.Model):
    """Stands for an embedder."""

    def save(self, path):
        path.write_bytes(b"a model")


@pytest.fixture
def counted(monkeypatch):
    """Runs that take no time, and in which order they were asked for, as was the test.

    What is measured is a number that the settings decide.
    """
    seen = []

    def number(config):
        return int(hashlib.sha256(config.to_json().encode()).hexdigest()[:6], 16) / 16**6

    def train(config, data, progress=None, whole=None):
        seen.append((config.loss, config.seed))
        row = {"epoch": 1, "loss": 1.0, "val_recall_at_1": number(config), "val_map_at_r": 0.5}
        record = {"history": [row], "best_epoch": 1, "value": number(config), "failed": None}
        return trial.Trained({**record, "seconds_per_step": 0.01}, Small())

    def measure(model, data, config):
        seen.append("test")
        assert data.test.name == "features test"
        metrics = {"recall_at_1": number(config), "map_at_r": 0.5, "nmi": 0.5, "f1": 0.1}
        return Measured(metrics, (np.ones(3), np.ones(3)), None)

    monkeypatch.setattr(trial, "train", train)

    def begin(config, data, whole=None):
        seen.append(("untrained", config.seed))
        return Small()

    monkeypatch.setattr(trial, "build_start", begin)
    monkeypatch.setattr(trial, "measure", measure)
    return seen


def test_a_comparison(small, counted):
    comparison, folder = small()
    lines = []
    results = compare.compare(comparison, folder, report=lines.append)
    names = ["margin_discriminate", "triplet", "proxy_nca"]
    search = [(name, 0) for _ in range(3) for name in names]
    assert counted[:9] == search, "draw by draw, and the test is not looked at before its end"
    final = [(n, s) for s in (1, 2) for n in ("untrained", *names)]
    assert [x for x in counted[9:] if x != "test"] == final
    assert counted[9:].count("test") == 2 * (1 + 3), "untrained, and each loss"

    for name in names:
        searched, final = results.searched(name), results.final(name)
        best = max(searched, key=lambda run: run["value"])
        assert [run["settings"] for run in final] == [best["settings"]] * 2
        assert [run["number"] for run in final] == [1, 2]
        for run in final:
            assert set(run["metrics"]) >= {"recall_at_1", "map_at_r", "nmi", "f1"}
            assert sum(run["distances"]["positive"]) > 0
        assert all("metrics" not in run for run in searched)
    assert set(results.untrained) == {1, 2}
    assert results.raw["recall_at_1"] > 0
    assert results.data["test"] == {"images": 80, "classes": 10}
    assert results.data["validation"]["classes"] == 4
    left = [line for line in lines if " left" in line]
    assert len(left) == 15
    assert left[-1].endswith("about 0 s left")
    assert (folder.path / "models" / "triplet.keras").is_file()
    for name in ("report.html", "report.md", "results.csv"):
        assert (folder.path / name).is_file()


def test_what_is_done_is_not_done_again_and_more_may_be_asked_for(small, counted):
    comparison, folder = small("margin_discriminate,triplet", 2, 1)
    first = compare.compare(comparison, folder, report=quiet)
    del counted[:]
    again = compare.compare(*small("margin_discriminate,triplet", 2, 1), report=quiet)
    assert counted == []
    assert again == first
    more, folder = small("margin_discriminate,triplet,circle", 2, 2)
    compare.compare(more, folder, report=quiet)
    assert trained(counted) == [
        *[("circle", 0), ("circle", 0), ("circle", 1)],
        *[("margin_discriminate", 2), ("triplet", 2), ("circle", 2)],
    ]


@pytest.mark.parametrize("killed_at", [1, 4, 6])
def test_a_kill_loses_one_run(killed_at, small, counted, monkeypatch):
    comparison, folder = small("margin_discriminate,triplet", 2, 1)
    whole = trial.train

    def dying(*args):
        found = whole(*args)
        if len(trained(counted)) == killed_at:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch:
        patch.setattr(trial, "train", dying)
        with pytest.raises(KeyboardInterrupt):
            compare.compare(comparison, folder, report=quiet)
    assert (folder.path / "report.html").is_file() == (killed_at > 1), "a report of what there is"
    compare.compare(comparison, folder, report=quiet)
    assert len(trained(counted)) == 6 + 1


def test_a_better_setting_of_a_longer_search_has_final_runs_of_its_own(small, counted, monkeypatch):
    """Those of the setting that was best before are no longer counted."""
    values = iter([0.5, 0.1, 0.9])
    whole = trial.train

    def judged(config, *args):
        record, model = whole(config, *args)
        if config.seed == 0:
            record["value"] = next(values)
        return trial.Trained(record, model)

    monkeypatch.setattr(trial, "train", judged)
    first = compare.compare(*small("triplet", 2, 1), report=quiet)
    longer = compare.compare(*small("triplet", 3, 1), report=quiet)
    assert first.final("triplet")[0]["settings"] == first.searched("triplet")[0]["settings"]
    assert longer.final("triplet")[0]["settings"] == longer.searched("triplet")[2]["settings"]
    assert len(longer.final("triplet")) == 1


def test_a_loss_that_always_fails_does_not_stop_the_others(small, counted, monkeypatch):
    whole = trial.train

    def failing(config, *args):
        record, model = whole(config, *args)
        if config.loss == "triplet":
            record.update(value=None, failed="Training diverged: on purpose.")
        return trial.Trained(record, model)

    monkeypatch.setattr(trial, "train", failing)
    lines = []
    comparison, folder = small("margin_discriminate,triplet", 2, 1)
    results = compare.compare(comparison, folder, report=lines.append)
    assert results.final("triplet") == []
    assert len(results.final("margin_discriminate")) == 1
    assert "triplet: every setting has failed, no final runs." in lines
    assert "on purpose" in (folder.path / "report.html").read_text()
    assert lines[-1].split()[0] == "5/5"


def test_one_draw_is_no_search(small, counted):
    comparison, folder = small("triplet", 1, 1)
    results = compare.compare(comparison, folder, report=quiet)
    assert trained(counted) == [("triplet", 1)]
    defaults = {"learning_rate": 0.01, "mining": "semi_hard", "margin": 0.2}
    assert results.final("triplet")[0]["settings"] == defaults


def test_other_settings_or_data_are_another_comparison(small, features, tmp_path):
    comparison, folder = small("triplet")
    folder.keep(comparison)
    with pytest.raises(ConfigError) as raised:
        small("triplet", epochs=4)
    assert str(raised.value) == (
        "`name` must be new, or that of a comparison with the same settings, which goes on. "
        "Received: name='one', which has epochs=2"
    )
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="Received: name='notes.txt', which is a file"):
        Folder.of(Comparison(config_of(features), parse("triplet")), tmp_path / "else", "notes.txt")
    with pytest.raises(ConfigError, match="Received: name='else', which is something else"):
        Folder.of(Comparison(config_of(features), parse("triplet")), tmp_path, "else")
    names = []
    for epochs in (2, 3, 2):
        comparison = Comparison(config_of(features, epochs=epochs), parse("triplet"))
        folder = Folder.of(comparison, tmp_path)
        folder.keep(comparison)
        names.append(folder.path.name)
    assert names == ["compare-npz-none", "compare-npz-none-2", "compare-npz-none"]


def test_a_folder_of_somebody_elses_is_no_comparison_and_is_not_removed(features, tmp_path, capsys):
    """Also where its files have the names that a comparison begins with."""
    for name in ("data.json", "raw.json", "left_out.csv"):
        mine = tmp_path / name.split(".")[0]
        mine.mkdir()
        (mine / name).write_text("mine")
        with pytest.raises(ConfigError, match="which is something else"):
            Folder.of(Comparison(config_of(features), parse("triplet")), tmp_path, mine.name)
        assert (mine / name).read_text() == "mine"
    (tmp_path / "empty").mkdir()
    folder = Folder.of(Comparison(config_of(features), parse("triplet")), tmp_path, "empty")
    with pytest.raises(RuntimeError), folder.alone():
        raise RuntimeError
    assert (tmp_path / "empty").is_dir(), "this process did not make it"


def test_kept_trials_are_found_when_the_config_gains_a_field(small, counted, monkeypatch):
    """As if a later version had a new field, and another default for an old one."""
    comparison, folder = small("triplet,circle", 2, 1)
    compare.compare(comparison, folder, report=quiet)
    count = len(trained(counted))

    @dataclasses.dataclass(frozen=True)
    class Later(TrainConfig):
        monitor: str = setting("recall_at_1", "another default", choices=("map_at_r",))
        colour: str = setting("green", "a new field", choices=("red", "green"), before="green")

    monkeypatch.setattr(comparison_module, "TrainConfig", Later)
    monkeypatch.setattr(folder_module, "TrainConfig", Later)
    monkeypatch.setattr(asked, "TrainConfig", Later)
    kept = json.loads((folder.path / "trials/triplet/search-000.json").read_text())
    assert kept["config"]["version"] and "colour" not in kept["config"]
    config = Later(**config_of(comparison.config.data_dir).to_dict())
    later = Comparison(config, comparison.entries, 2, 1)
    folder = Folder.of(later, folder.path.parent, "one")
    compare.compare(later, folder, report=quiet)
    assert len(trained(counted)) == count
    assert len(folder.results().trials) == 2 * 3


def test_the_config_of_a_run_may_be_that_of_a_comparison(features, tmp_path):
    """A run keeps the settings of its loss too; where they are the defaults they are no setting."""
    from mdl_tf.runs.resolve import resolve

    path = tmp_path / "config.json"
    arguments = ["compare", "--config", str(path), "--losses", "triplet", "--search", "1"]
    arguments += ["--seeds", "1", "--runs-dir", str(tmp_path), "--name", "one"]
    path.write_text(resolve(config_of(features, epochs=1)).to_json())
    assert cli.main(arguments) == 0
    path.write_text(resolve(config_of(features, loss_args={"margin": 0.7})).to_json())
    assert cli.main(arguments) == 2


def left_open(path, **changes):
    """A config that says nothing about what a run finds out for itself."""
    return config_of(path, head="auto", embedding_dim=None, learning_rate=None, **changes)


def test_what_is_left_open_is_settled_once(features, tmp_path, counted, monkeypatch):
    """The same command goes on, also if a later version has another learning rate."""
    from mdl_tf.runs import resolve

    def go(config):
        lines = []
        comparison = Comparison(config, parse("triplet"), 2, 1)
        folder = Folder.of(comparison, tmp_path, "one")
        compare.compare(comparison, folder, report=lines.append)
        return folder, lines

    folder, _ = go(left_open(features))
    settled = {
        "head": "whitened",
        "embedding_dim": 12,
        "learning_rate": 1e-3,
        "batch_norm": "train",
    }
    kept = folder.read_json("compare.json")
    assert {name: kept["config"][name] for name in settled} == settled
    for one in folder.results().trials:
        found = {name: one["config"][name] for name in settled}
        assert found == {**settled, "learning_rate": one["settings"]["learning_rate"]}
    assert folder.results().searched("triplet")[0]["settings"]["learning_rate"] == 1e-3
    assert kept["asked"] == {
        **{"head": "auto", "embedding_dim": None, "learning_rate": None, "batch_norm": None},
        **{"image_size": None, "short_classes": None, "augment": None},
        "learning_rate_factors": None,
    }
    count = len(trained(counted))
    monkeypatch.setattr(resolve, "RATE_OF_LAYER", 0.7)
    _, lines = go(left_open(features))
    assert "This comparison goes on with what it began with: learning_rate=0.001." in lines
    go(dataclasses.replace(left_open(features), learning_rate=1e-3))
    go(left_open(features))
    assert len(trained(counted)) == count, "nothing was trained again"
    with pytest.raises(ConfigError, match="Received: name='one', which has learning_rate=0.001"):
        go(dataclasses.replace(left_open(features), learning_rate=3e-4))


def test_draws_that_are_done_stay_when_ranges_change(small, counted, monkeypatch):
    first = compare.compare(*small("triplet", 3, 1), report=quiet)
    count = len(trained(counted))
    changed = {"mining": Choice(("hard", "all")), "margin": Range(1, 2)}
    monkeypatch.setattr(LOSSES["triplet"], "search_space", changed)
    again = compare.compare(*small("triplet", 3, 1), report=quiet)
    assert len(trained(counted)) == count and again.trials == first.trials
    longer = compare.compare(*small("triplet", 4, 1), report=quiet)
    assert longer.searched("triplet")[:3] == first.searched("triplet")
    assert 1 <= longer.searched("triplet")[3]["settings"]["margin"] <= 2


DIGITS = {
    **{"dataset": "digits", "backbone": "conv4", "image_size": 16, "embedding_dim": 4},
    **{"classes_per_batch": 3, "images_per_class": 4, "validation": 0.4, "epochs": 1},
    **{"steps_per_epoch": 2, "clustering": False},
}


@pytest.mark.longest
def test_a_network_that_is_not_trained(tmp_path, monkeypatch):
    """Its features are computed once, and what is kept takes images."""
    monkeypatch.setenv("MDL_TF_HOME", str(tmp_path / "home"))
    made = []

    def featurize(*args):
        made.append(args)
        return whole(*args)

    whole = prepare.featurize
    monkeypatch.setattr(prepare, "featurize", featurize)
    config = TrainConfig(**DIGITS, frozen=True, head="pca")
    comparison = Comparison(config, parse("triplet,n_pairs"), 2, 2)
    folder = Folder.of(comparison, tmp_path)
    results = compare.compare(comparison, folder, report=quiet)
    assert len(made) == 1
    data = read_data(config)
    for label in results.labels:
        model = load_model(folder.path / "models" / f"{label}.keras")
        found = trial.measure(model, data, config).metrics
        assert found["map_at_r"] == pytest.approx(results.final(label)[0]["metrics"]["map_at_r"])
        (first, second) = results.final(label)
        assert first["start"]["val_map_at_r"] > 0 and len(first["history"]) == 1
    assert results.features["map_at_r"] > results.raw["map_at_r"] / 2
    # Principal axes depend on no seed, and it is the network of the comparison.
    assert results.untrained[1] == results.untrained[2] != results.features
    report = (folder.path / "report.md").read_text()
    assert "| start: principal axes of features, not trained |" in report
    assert "it is not trained, the embedding layer alone is" in report


def test_the_start_is_measured_as_the_losses_have_it(features):
    config = closed(left_open(features, loss="triplet"))
    config = dataclasses.replace(config, embedding_dim=12)
    data = read_data(config)
    network = trial.build_start(config, data)
    found = trial.measure(network, data._replace(test=data.validation), config).metrics
    start = trial.train(config, data).record["start"]
    assert start["epoch"] == 0
    assert start["val_map_at_r"] == pytest.approx(found["map_at_r"])
    bare = trial.build_untrained(config, data)
    assert not np.allclose(bare.get_weights()[0], network.get_weights()[0])


@pytest.mark.longest
def test_the_model_of_another_run(tmp_path):
    from mdl_tf.runs import Run, train

    before = TrainConfig(**{**DIGITS, "tensorboard": False})
    run = Run.create(before, tmp_path, "before")
    train(before, run, report=quiet)
    settings = {**DIGITS, "embedding_dim": None, "image_size": None, "start": str(run.folder)}
    comparison = Comparison(TrainConfig(**settings), parse("triplet,n_pairs"), 2, 1)
    # What its model ends in is not drawn, and where it has unit length `l2` does nothing.
    assert [set(one) for one in comparison.drawn(Entry("n_pairs"))] == [{"learning_rate"}] * 2
    folder = Folder.of(comparison, tmp_path)
    results = compare.compare(comparison, folder, report=quiet)
    kept = run.read_json("metrics.json")["trained"]["map_at_r"]
    assert results.untrained[1]["map_at_r"] == pytest.approx(kept, abs=1e-5)
    assert results.features is not None
    assert results.config["learning_rate_factors"] == {"embedding": pytest.approx(3)}
    assert "model of another run, not trained" in (folder.path / "report.md").read_text()
    shutil.rmtree(run.folder)
    assert len(Folder.open(folder.path).results().trials) == 6, "read without that run"


def test_the_model_of_a_run_that_has_seen_what_is_judged_by_is_refused(tmp_path):
    from mdl_tf.runs import Run, train

    before = TrainConfig(**{**DIGITS, "tensorboard": False})
    run = Run.create(before, tmp_path, "before")
    train(before, run, report=quiet)
    other = {"validation": 0.6, "classes_per_batch": 2, "start": str(run.folder)}
    config = TrainConfig(**{**DIGITS, **other})
    comparison = Comparison(config, parse("triplet"), 1, 1)
    with pytest.raises(
        ConfigError, match="`start` must be a run that was trained on no validation"
    ):
        compare.compare(comparison, Folder.of(comparison, tmp_path), report=quiet)


def test_data_that_changed_are_refused(tmp_path, counted):
    """Also if there are as many images of as many classes as before."""
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(20), 8)
    path = tmp_path / "features.npz"

    def go():
        np.savez(path, features=rng.normal(size=(160, 12)), labels=labels)
        comparison = Comparison(config_of(path), parse("triplet"), 1, 1)
        return compare.compare(comparison, Folder.of(comparison, tmp_path, "one"), report=quiet)

    go()
    with pytest.raises(ConfigError, match="The data set must be the one that the comparison began"):
        go()
    assert len(trained(counted)) == 1


def test_what_is_refused_leaves_an_earlier_comparison_as_it_was(small, counted):
    compare.compare(*small("triplet", 2, 1), report=quiet)
    comparison, folder = small("triplet:minning=hard", 2, 1)
    with pytest.raises(ConfigError, match="triplet may hold"):
        compare.compare(comparison, folder, report=quiet)
    assert folder.results().labels == ("triplet",)
    assert len(folder.results().final("triplet")) == 1


@pytest.mark.parametrize(
    ("losses", "factors", "message"),
    [
        ("proxy_nca,triplet", {"proxies": 10}, "`losses`: triplet cannot be trained: "),
        ("proxy_nca", {"loss_weights": 10}, "`losses`: proxy_nca cannot be trained: "),
        ("proxy_nca:proxies=abc", {}, "proxy_nca:proxies=abc"),
    ],
)
def test_factors_that_fit_nothing_are_refused_before_anything_is_trained(
    losses, factors, message, small, counted
):
    comparison, folder = small(losses, 2, 1, learning_rate_factors=factors)
    with pytest.raises(ConfigError) as raised:
        compare.compare(comparison, folder, report=quiet)
    assert message in str(raised.value)
    assert counted == []


def test_defaults_alone_are_no_search(small, counted):
    compare.compare(*small("triplet", 2, 1), report=quiet)
    assert compare.compare(*small("triplet", 1, 1), report=quiet).searched("triplet") == []


def test_a_setting_that_a_loss_has_not_is_refused_before_anything_is_trained(small, counted):
    comparison, folder = small("triplet:minning=hard", 1, 1)
    with pytest.raises(ConfigError) as raised:
        compare.compare(comparison, folder, report=quiet)
    assert str(raised.value).startswith("`losses`: triplet may hold margin, mining, distance, soft")
    comparison, folder = small("triplet:soft=true", 2, 1)
    with pytest.raises(ConfigError, match="`soft` needs mining='hard'"):
        compare.compare(comparison, folder, report=quiet)
    assert counted == []


@pytest.mark.longest
def test_pictures_of_the_same_queries(tmp_path):
    settings = {
        **{"dataset": "digits", "backbone": "conv4", "image_size": 16, "embedding_dim": 4},
        **{"classes_per_batch": 3, "images_per_class": 4, "validation": 0.4, "epochs": 1},
        **{"steps_per_epoch": 2, "clustering": False},
    }
    comparison = Comparison(TrainConfig(**settings), parse("triplet,circle"), 1, 1)
    folder = Folder.of(comparison, tmp_path)
    results = compare.compare(comparison, folder, report=quiet)
    from PIL import Image

    pictures = []
    for label in ("triplet", "circle"):
        (final,) = results.final(label)
        with Image.open(folder.path / "pictures" / final["neighbors"]) as image:
            pictures.append(np.asarray(image))
    assert pictures[0].shape == pictures[1].shape
    queries = runner.NeighborMosaic(read_data(comparison.config).test, 6, 6, 0)
    y, x = queries.place(5, 0)
    assert np.array_equal(pictures[0][:, : x + 72], pictures[1][:, : x + 72]), "the same queries"
    assert not np.array_equal(pictures[0], pictures[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--losses", "triplets"], "`losses` must be all, or some of margin_discriminate, contra"),
        (["--search", "many"], "`search` must be an integer. Received: search='many'"),
        (["--seeds", "0"], "`seeds` must be an integer, at least 1. Received: seeds=0"),
        (["--loss", "triplet"], "Unknown argument --loss. Did you mean --losses? Known argument"),
        (["--validation", "0"], "`validation` must be above 0: settings are chosen on classes"),
        (["--data-dir", "photos"], "`dataset` must say what is in --data-dir, such as"),
        (["--cache", "ram"], "`cache` must be none or disk in a comparison"),
    ],
)
def test_errors_are_one_message_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compare", *arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "nothing was left behind"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data-dir", "nowhere.npz"], "nowhere.npz"),
        (["--losses", "triplet:minning=hard"], "`losses`: triplet may hold margin, mining,"),
        (["--classes-per-batch", "9"], "`classes_per_batch` (--classes-per-batch) must be at most"),
        (["--images-per-class", "9"], "`images_per_class` must be at most the images of every"),
    ],
)
def test_what_cannot_be_compared_leaves_no_folder(arguments, message, features, tmp_path, capsys):
    given = ["--dataset", "npz", "--data-dir", str(features), "--backbone", "none"]
    given += ["--classes-per-batch", "4", "--images-per-class", "3", *arguments]
    assert cli.main(["compare", *given, "--runs-dir", str(tmp_path / "runs")]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(files.fcntl is None, reason="no locks on Windows")
def test_a_file_system_without_locks_is_no_reason_not_to_compare(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with Folder(tmp_path).alone():
        pass


@pytest.mark.skipif(files.fcntl is None, reason="no locks on Windows")
def test_two_processes_cannot_run_one_comparison(features, tmp_path, capsys):
    arguments = [
        *("compare", "--dataset", "npz", "--data-dir", str(features), "--backbone", "none"),
        *("--losses", "triplet", "--search", "1", "--seeds", "1", "--embedding-dim", "4"),
        *("--classes-per-batch", "4", "--images-per-class", "3", "--no-clustering"),
        *("--epochs", "1", "--steps-per-epoch", "2", "--runs-dir", str(tmp_path), "--name", "one"),
    ]
    (tmp_path / "one").mkdir()
    # Another open file has a lock of its own, as in another process.
    with Folder(tmp_path / "one").alone():
        assert cli.main(arguments) == 2
        shown = capsys.readouterr().err
        assert "must be run by one process at a time. Received: " in shown
        assert shown.count("\n") == 1
        assert (tmp_path / "one").is_dir(), "what the first one has just begun"
    assert cli.main(arguments) == 0


@pytest.mark.longest
def test_the_command(features, tmp_path, capsys):
    arguments = [
        *("compare", "--dataset", "npz", "--data-dir", str(features), "--backbone", "none"),
        *("--losses", "triplet,margin_discriminate:form=hinge", "--search", "2", "--seeds", "1"),
        *("--embedding-dim", "4", "--classes-per-batch", "4", "--images-per-class", "3"),
        *("--epochs", "1", "--steps-per-epoch", "2", "--runs-dir", str(tmp_path)),
    ]
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    folder = tmp_path / "compare-npz-none"
    page = folder / "report.html"
    assert f"Report: {page}" in said
    assert "6/6" in said
    kept = json.loads((folder / "compare.json").read_text())
    assert (kept["config"]["validation"], kept["config"]["monitor"]) == (0.25, "map_at_r")
    keras.backend.clear_session()
    loaded = keras.saving.load_model(folder / "models" / "triplet.keras", compile=False)
    assert loaded.output_shape == (None, 4)
    results = Folder.open(folder).results()
    for label in results.labels:
        (final,) = results.final(label)
        best = max(results.searched(label), key=lambda run: run["value"])
        assert final["settings"] == best["settings"]
        assert 0 < final["metrics"]["map_at_r"] < 1 and 0 < final["metrics"]["nmi"] <= 1
        assert sum(final["distances"]["positive"]) > 0
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert "6 of them are done already" in said and f"Folder: {folder}\n" in said
    assert "This folder has had more" not in said
    fewer = ["--losses", "triplet", "--search", "1"]
    assert cli.main([*arguments, *fewer]) == 0
    assert (
        "This folder has had more: margin_discriminate:form=hinge, 2 settings each. It is kept, "
        "but not in this report."
    ) in capsys.readouterr().out
