"""What the history of a run says: stuck, rising, overfitting, not finished."""

import math

from mdl_tf.doctor import thresholds
from mdl_tf.doctor.finding import Finding, level
from mdl_tf.words import count

_RECALL = "val_recall_at_1"


def check_stuck(history, collapsed, advice, available):
    """Whether the loss is still what a network has that maps everything to one point.

    Args:
        history: dicts with `loss`, one per epoch, at least one, finite.
        collapsed: the loss of a batch of equal embeddings.
        advice: an `Advice`.
        available: number of training classes.

    Returns:
        A `Finding`.
    """
    first, last = history[0]["loss"], history[-1]["loss"]
    numbers = {"first_loss": first, "last_loss": last, "collapsed_loss": None}
    if not math.isfinite(collapsed) or collapsed <= 0:
        said = (
            f"The loss went from {first:.4g} to {last:.4g}. A collapsed network has "
            f"{collapsed:.4g} with it, so that its value alone does not tell."
        )
        return Finding("stuck loss", "ok", said, numbers=numbers)
    numbers["collapsed_loss"] = collapsed
    share = last / collapsed
    verdict = level(share, *thresholds.STUCK)
    if len(history) < thresholds.STUCK_EPOCHS and verdict == "wrong":
        verdict = "look"
    said = {
        "wrong": "The loss is stuck where a network has it that maps all images to one point",
        "look": "The loss has hardly left where a network has it that maps all images to one point",
        "ok": "The loss has left where a network has it that maps all images to one point",
    }[verdict]
    return Finding(
        "stuck loss",
        verdict,
        f"{said}, {collapsed:.4g}: {first:.4g} in the first epoch, {last:.4g} in the last "
        f"({share:.0%} of it).",
        f"look from {thresholds.STUCK[0]:.0%}, wrong from {thresholds.STUCK[1]:.0%} after "
        f"{thresholds.STUCK_EPOCHS} epochs.",
        (
            *advice.softer(),
            *advice.pretrained(),
            *advice.other_rate(),
            *advice.longer(),
            *advice.more_classes(available),
        ),
        numbers,
    )


def check_direction(history, advice):
    """Whether the loss falls, rises, or is no number.

    Args:
        history: dicts with `loss`, one per epoch, at least one.
        advice: an `Advice`.

    Returns:
        A `Finding`.
    """
    losses = [row["loss"] for row in history]
    todo = (*advice.lower_rate(), *advice.clip(), *advice.softer())
    broken = [row["epoch"] for row in history if not math.isfinite(row["loss"])]
    if broken:
        said = f"The loss is no number from epoch {broken[0]:.0f} on."
        return Finding("loss", "wrong", said, "the loss must be finite.", todo)
    least = min(losses)
    # Losses are at least 0; at 0 there is nothing left to rise from.
    rise = losses[-1] / least if least > 0 else 1.0 if losses[-1] <= 0 else math.inf
    verdict = level(rise, *thresholds.RISE)
    if len(losses) > 1 and losses[-1] > losses[0] and verdict != "ok":
        verdict = "wrong"
    best = losses.index(least) + 1
    epochs = count(len(losses), "epoch")
    words = f"The loss went from {losses[0]:.4g} to {losses[-1]:.4g} in {epochs}"
    if verdict != "ok":
        words += f", after {least:.4g} in epoch {best}: it rises"
    return Finding(
        "loss",
        verdict,
        words + ".",
        f"look from {thresholds.RISE[0]:g} times the smallest loss on, wrong from "
        f"{thresholds.RISE[1]:g} times, or if it ends above where it began.",
        todo,
        {"first_loss": losses[0], "last_loss": losses[-1], "smallest_loss": least},
    )


def check_overfitting(history, images, advice):
    """Whether the loss falls while Recall@1 of the validation classes falls.

    Args:
        history: dicts with `loss`, one per epoch, at least one, finite.
        images: how many validation images there are.
        advice: an `Advice`.

    Returns:
        A `Finding`, or `None` without validation.
    """
    if not images or any(_RECALL not in row for row in history):
        return None
    recalls = [row[_RECALL] for row in history]
    best = recalls.index(max(recalls))
    top, last = recalls[best], recalls[-1]
    noise = 2 * math.sqrt(top * (1 - top) / images)
    drop = top - last
    falls = history[-1]["loss"] < history[best]["loss"]
    look, wrong = (max(bound, noise) for bound in thresholds.OVERFITTING)
    verdict = "ok"
    if falls and drop >= look:
        verdict = "wrong" if drop >= wrong else "look"
    said = {
        "ok": f"Recall@1 of the validation classes ended at {last:.3f}, its best was {top:.3f} "
        f"(epoch {best + 1})",
        "look": f"It begins to overfit: Recall@1 of the validation classes fell from "
        f"{top:.3f} (epoch {best + 1}) to {last:.3f} while the loss went on falling",
    }
    said["wrong"] = said["look"].replace("begins to overfit", "overfits")
    return Finding(
        "overfitting",
        verdict,
        f"{said[verdict]}.",
        f"look from a fall of {look:.3f}, wrong from {wrong:.3f}, while the loss falls (two "
        f"standard errors with {images:,} images: {noise:.3f}). `model.keras` is the best epoch by "
        "`monitor`, so nothing is lost.",
        tuple(advice.against_overfitting()),
        {"best_recall_at_1": top, "last_recall_at_1": last, "best_epoch": best + 1},
    )


def check_finished(history, epochs, stopped, images, advice, run_folder):
    """Whether the run came to its end, and whether that was the end of getting better.

    Args:
        history: dicts, one per epoch; may be empty.
        epochs: of the whole run.
        stopped: whether patience has ended it.
        images: how many validation images there are, or 0.
        advice: an `Advice`.
        run_folder: path of the run.

    Returns:
        A `Finding`.
    """
    done = len(history)
    numbers = {"epochs_done": done, "epochs": epochs}
    if done < epochs and not stopped:
        return Finding(
            "finished",
            "look",
            f"The run has {done} of its {count(epochs, 'epoch')}: it goes on, was interrupted, or "
            "its loss was no number in the next one (`mdl-tf train` says so).",
            "",
            (f"Go on: mdl-tf train --resume {run_folder}", *advice.lower_rate()),
            numbers,
        )
    ended = f"The run ended after {done} of {count(epochs, 'epoch')}"
    recalls = [row[_RECALL] for row in history if _RECALL in row]
    if len(recalls) < 3 or not images:
        return Finding("finished", "ok", ended + ".", numbers=numbers)
    back = max(1, len(recalls) // 4)
    before, last = recalls[-1 - back], recalls[-1]
    noise = 2 * math.sqrt(last * (1 - last) / images)
    rising = last == max(recalls) and last - before > noise
    return Finding(
        "finished",
        "look" if rising else "ok",
        ended
        + (
            f", and Recall@1 of the validation classes was still rising: {before:.3f} to "
            f"{last:.3f} in the last {count(back, 'epoch') if back > 1 else 'epoch'}."
            if rising
            else "."
        ),
        "look if the last epoch is the best and above that of a quarter of the run before by two "
        f"standard errors ({noise:.3f}).",
        tuple(advice.longer(run_folder)),
        numbers,
    )
