"""Our losses against those of TensorFlow Addons and TensorFlow Similarity.

`golden/make_tensorflow_peers.py` ran their code and wrote the numbers, and says what the fields of
a case mean. Neither library is needed here.
"""

import inspect
import json

import helpers
import numpy as np
import pytest
import tensorflow as tf

import mdl_tf.losses

with np.load(helpers.GOLDEN / "tensorflow_peers.npz") as file:
    GOLDEN = {key: file[key] for key in file.files}
CASES = json.loads(str(GOLDEN["cases"]))
EQUAL = [case for case in CASES if case["kind"] != "different"]
DIFFERENT = [case for case in CASES if case["kind"] == "different"]
# On these a batch loss of ours has nothing to compare.
EMPTY = ("distinct_unit", "one_class_unit")


def name_of(case):
    return f"{case['theirs']}, {case['batch']}"


def ours(case):
    """Our loss in the case's units, and its gradient with respect to the embeddings."""
    function = getattr(mdl_tf.losses, case["loss"])
    labels = tf.constant(GOLDEN[f"{case['batch']}_labels"])
    embeddings = tf.constant(GOLDEN[f"{case['batch']}_embeddings"])
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        of_each = function(labels, embeddings, **case["settings"])
        value = case["factor"] * tf.reduce_mean(of_each)
    assert of_each.shape == labels.shape
    gradient = tape.gradient(value, embeddings)
    return value.numpy(), tf.convert_to_tensor(gradient).numpy()


def test_which_versions():
    assert str(GOLDEN["addons_version"]) == "0.23.0"
    assert str(GOLDEN["similarity_version"]) == "0.17.1"


def test_every_kind_of_equivalence_is_there():
    assert {case["kind"] for case in EQUAL} == {"same", "factor", "condition"}
    of_addons = {case["loss"] for case in EQUAL if case["theirs"].startswith("tfa.")}
    assert of_addons == {
        "contrastive_loss",
        "triplet_loss",
        "lifted_structure_loss",
        "n_pairs_loss",
    }
    of_similarity = {case["loss"] for case in EQUAL if case["theirs"].startswith("tfsim.")}
    assert of_similarity == {"triplet_loss", "multi_similarity_loss", "sup_con_loss"}
    # A factor of one or a missing reason would make a weaker claim look like the strong one.
    assert all(case["factor"] != 1 for case in EQUAL if case["kind"] == "factor")
    assert all(case["factor"] == 1 for case in CASES if case["kind"] != "factor")
    assert all(case["note"] for case in CASES if case["kind"] != "same")


@pytest.mark.parametrize("loss", sorted({case["loss"] for case in CASES}))
def test_cases_leave_no_setting_to_its_default(loss):
    """Else a changed default would change what the cases say."""
    parameters = inspect.signature(getattr(mdl_tf.losses, loss)).parameters.values()
    # The last two are how it is computed, and what it is compared with.
    settings = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - {"tile", "references"}
    for case in CASES:
        if case["loss"] == loss:
            assert set(case["settings"]) == settings


@pytest.mark.parametrize("case", EQUAL, ids=name_of)
def test_equal(case):
    value, gradient = ours(case)
    assert value == pytest.approx(float(GOLDEN[case["value_key"]]), rel=1e-5)
    theirs = GOLDEN[case["gradient_key"]]
    assert np.abs(gradient - theirs).max() <= 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize("case", DIFFERENT, ids=name_of)
def test_different(case):
    """Where the README says that a loss is not theirs, it is not: by more than rounding."""
    value, gradient = ours(case)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    # Some of theirs are NaN, which is close to nothing.
    assert not np.isclose(value, GOLDEN[case["value_key"]], rtol=0.01, atol=0)


def test_batches_without_pairs_to_compare():
    """Ours are 0 where theirs are NaN or train on pairs that are none."""
    empty = [case for case in DIFFERENT if case["batch"] in EMPTY]
    assert any(np.isnan(GOLDEN[case["value_key"]]) for case in empty)
    assert any(GOLDEN[case["value_key"]] > 0 for case in empty)
    for case in empty:
        value, gradient = ours(case)
        assert value == 0 and not gradient.any()
