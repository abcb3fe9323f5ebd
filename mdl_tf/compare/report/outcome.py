"""What came out, in a few plain sentences; and what is missing."""

from mdl_tf.compare.report.baselines import baselines, gain, is_below, is_never_above
from mdl_tf.compare.report.statistics import (
    EQUAL,
    MAIN,
    NOISE,
    UNKNOWN,
    WORSE,
    by_seed,
    difference,
    find_reference,
    interval,
    ranking,
    successful_runs,
)
from mdl_tf.compare.report.words import count, listing, mean, signed
from mdl_tf.metrics import table


def describe_outcome(results):
    """The outcome of a comparison, finished or not.

    Args:
        results: a `Results`.

    Returns:
        A list of paragraphs.
    """
    measured = ranking(results)
    if not measured:
        text = "No loss has been measured on the test classes yet."
        return [text, *describe_missing(results)]
    # A mean over fewer seeds may be that of the lucky ones.
    complete = [s for s in measured if len(successful_runs(results, s)) == len(results.seeds)]
    ranked = complete or measured
    sentences = [
        _describe_best(results, ranked),
        *_describe_lead(results, ranked),
        _describe_reference(results, ranked),
    ]
    paragraphs = [" ".join(sentences), *_warn_of_baselines(results, ranked)]
    paragraphs += _name_those_below_the_start(results, measured)
    left_out = [label for label in results.labels if label not in ranked]
    if complete and left_out:
        paragraphs.append(f"Not ranked here, since a seed or more is missing: {listing(left_out)}.")
    if not complete:
        paragraphs.append("No loss has all its seeds yet: this order is provisional.")
    return [*paragraphs, *describe_missing(results)]


def _main_mean(results, label):
    return interval(by_seed(results, label, MAIN).values())


def _describe_best(results, ranked):
    best, classes = ranked[0], results.data.get("test", {}).get("classes")
    where = f"On {classes:,} classes" if classes else "On classes"
    of_best = _main_mean(results, best)
    title, value = table.title(MAIN), f"{mean(of_best)} over {count(of_best.count, 'seed')}"
    if len(ranked) == 1:
        return (
            f"{where} that were never trained on, {best} has a mean {title} of {value}; so far "
            "there is no other loss to compare it with."
        )
    return (
        f"{where} that were never trained on, {best} has the best mean {title} of {len(ranked)} "
        f"losses: {value}."
    )


def _warn_of_baselines(results, ranked):
    """Whether something that was not trained is as good as the best loss."""
    best = _main_mean(results, ranked[0]).mean
    means = {name: row[MAIN] for name, row in baselines(results).items() if MAIN in row}
    ahead = [f"{name} ({mean(one)})" for name, one in means.items() if one.mean >= best]
    if ahead:
        yield (
            f"No loss is ahead of what was not trained on these classes: {listing(ahead)}. "
            "Training has not paid off: it may be too short, its learning rate too high, or the "
            "start too poor."
        )


def _name_those_below_the_start(results, measured):
    """The losses that training has made no better, on the test and on validation."""
    below = [label for label in measured if is_below(results, label)]
    if below:
        named = [f"{label} ({signed(gain(results, label))})" for label in below]
        verb = "is" if len(below) == 1 else "are"
        yield (
            f"Not above the start on these classes {verb} {listing(named)}: trained with them, the "
            "network retrieves no better than before its first step."
        )
    never = [label for label in measured if is_never_above(results, label)]
    if never:
        yield (
            "In no seed above the start on the validation classes, by "
            f"{table.title(results.config['monitor'])}: {listing(never)}."
        )


def _describe_lead(results, ranked):
    """Which losses are worse than the best by more than noise, and which may be as good."""
    best, *others = ranked
    if not others:
        return
    differences = {label: difference(results, label, best, MAIN) for label in others}
    verdicts = {label: one.verdict if one else UNKNOWN for label, one in differences.items()}
    unknown = [label for label in others if verdicts[label] == UNKNOWN]
    worse = [label for label in others if verdicts[label] == WORSE]
    tied = [label for label in others if label not in unknown and label not in worse]
    if unknown == others:
        yield "One seed gives no interval: another seed may turn the order around."
        return
    if unknown:
        yield f"It has too few seeds in common with {listing(unknown)} for a comparison."
    if not tied:
        rest = "the other" if len(others) == 1 else f"each of the other {len(others)}"
        behind = rest if worse == others else listing(worse)
        yield f"It is ahead of {behind} by more than the noise of the seeds."
    elif not worse:
        yield (
            f"Its lead over {listing(tied)} is inside the noise of the seeds: nothing here says "
            "that it is better."
        )
    else:
        they = "it" if len(tied) == 1 else "they"
        rest = f"{worse[0]} is" if len(worse) == 1 else f"The other {len(worse)} are"
        yield (
            f"Its lead over {listing(tied)} is inside the noise of the seeds: {they} may be as "
            f"good. {rest} worse by more than the noise."
        )


def _describe_reference(results, ranked):
    """Where the reference stands."""
    reference, best = find_reference(results), ranked[0]
    if reference not in ranked:
        return f"{reference}, the reference, is not among them yet."
    if reference == best:
        return f"The reference is {reference} itself."
    of_seeds = difference(results, reference, best, MAIN)
    place = (
        f"{reference}, the reference, is in place {1 + ranked.index(reference)} of {len(ranked)}"
    )
    if of_seeds is None:
        return f"{place}; it has no seed in common with {best}."
    endings = {
        NOISE: ", inside the noise",
        EQUAL: ", exactly the same in every seed",
        UNKNOWN: ", and one seed in common says nothing about noise",
        WORSE: ", more than the noise",
    }
    ending = endings.get(of_seeds.verdict, ", though better in the seeds in common")
    return (
        f"{place} with {mean(_main_mean(results, reference))}; seed by seed its difference to "
        f"{best} is {signed(of_seeds)}{ending}."
    )


def describe_missing(results):
    """What has not been done yet, or has failed.

    Args:
        results: a `Results`.

    Returns:
        A list of paragraphs, none if nothing is missing.
    """
    searching, hopeless, waiting, failed = [], [], [], []
    draws, seeds = max(1, results.search), len(results.seeds)
    for label in results.labels:
        searched, final = results.searched(label), results.final(label)
        if not final and results.search > 1 and len(searched) < draws:
            searching.append(f"{label} ({len(searched)} of {draws} draws)")
        elif not final and searched and all(trial["failed"] for trial in searched):
            hopeless.append(label)
        elif len(final) < seeds:
            waiting.append(f"{label} ({len(final)} of {seeds} seeds)")
        failures = sum(trial["failed"] is not None for trial in final)
        if failures:
            failed.append(f"{label} ({failures} of {seeds} seeds)")
    missing = {
        "Unfinished. The search goes on for: ": searching,
        "Unfinished. Final runs are missing for: ": waiting,
        "Every run of the search failed, so no settings could be chosen, for: ": hopeless,
        "Final runs failed for: ": failed,
    }
    return [f"{text}{listing(labels)}." for text, labels in missing.items() if labels]
