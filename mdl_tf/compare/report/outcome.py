"""What came out, in a few plain sentences; and what is missing."""

from mdl_tf.compare.report.statistics import (
    EQUAL,
    MAIN,
    NOISE,
    UNKNOWN,
    WORSE,
    baselines,
    by_seed,
    difference,
    interval,
    ranking,
    reference,
    runs,
)
from mdl_tf.compare.report.words import count, listing, mean, signed


def outcome(results):
    """The outcome of a comparison, finished or not.

    Args:
        results: a `Results`.

    Returns:
        A list of paragraphs.
    """
    ranked = ranking(results)
    if not ranked:
        return ["No loss has been measured on the test classes yet.", *missing(results)]
    whole = [label for label in ranked if len(runs(results, label)) == len(results.seeds)]
    # A mean over fewer seeds may be that of the lucky ones.
    shown = whole or ranked
    sentences = [_best(results, shown), *_others(results, shown), _own(results, shown)]
    paragraphs = [" ".join(sentences), *_not_ahead(results, shown)]
    left_out = [label for label in results.labels if label not in shown]
    if whole and left_out:
        paragraphs.append(f"Not ranked here, since a seed or more is missing: {listing(left_out)}.")
    if not whole:
        paragraphs.append("No loss has all its seeds yet: this order is provisional.")
    return [*paragraphs, *missing(results)]


def _mean(results, label):
    return interval(by_seed(results, label, MAIN).values())


def _best(results, shown):
    best, classes = shown[0], results.data.get("test", {}).get("classes")
    where = f"On {classes:,} classes" if classes else "On classes"
    if len(shown) == 1:
        return (
            f"{where} that were never trained on, {best} has a mean MAP@R of "
            f"{_over(results, best)}; so far there is no other loss to compare it with."
        )
    return (
        f"{where} that were never trained on, {best} has the best mean MAP@R of "
        f"{len(shown)} losses: {_over(results, best)}."
    )


def _not_ahead(results, shown):
    """What was not trained and is as good."""
    best = _mean(results, shown[0]).mean
    found = {name: row[MAIN] for name, row in baselines(results).items() if row[MAIN]}
    ahead = [f"{name} ({mean(one)})" for name, one in found.items() if one.mean >= best]
    if ahead:
        yield (
            f"No loss is ahead of what was not trained on these classes: {listing(ahead)}. "
            "Training has not paid yet: it may be too short, or begin from poor weights."
        )


def _over(results, label):
    found = _mean(results, label)
    return f"{mean(found)} over {count(found.count, 'seed')}"


def _others(results, shown):
    """Which of the others cannot be told apart from the best."""
    best, *others = shown
    if not others:
        return
    found = {label: difference(results, label, best, MAIN) for label in others}
    unknown = [s for s in others if found[s] is None or found[s].verdict == UNKNOWN]
    if unknown == others:
        yield "One seed: no interval, nothing can be told apart; another seed may turn the order."
        return
    if unknown:
        yield f"It has too few seeds in common with {listing(unknown)} to be told apart."
    worse = [s for s in others if s not in unknown and found[s].verdict == WORSE]
    tied = [s for s in others if s not in unknown and s not in worse]
    if not tied:
        each = "the other" if len(others) == 1 else f"each of the other {len(others)}"
        ahead = each if worse == others else listing(worse)
        yield f"It is ahead of {ahead} by more than the noise of the seeds."
    elif not worse:
        yield (
            f"Its lead over {listing(tied)} is inside the noise of the seeds: nothing here says "
            "that it is better."
        )
    else:
        yield (
            f"Its lead over {listing(tied)} is inside the noise of the seeds: "
            f"{'it' if len(tied) == 1 else 'they'} cannot be told apart from it. "
            f"{f'{worse[0]} is' if len(worse) == 1 else f'The other {len(worse)} are'} worse by "
            "more than the noise."
        )


def _own(results, shown):
    """Where the reference stands."""
    label, best = reference(results), shown[0]
    if label not in shown:
        return f"{label}, the reference, is not among them yet."
    if label == best:
        return f"The reference is {label} itself."
    found = difference(results, label, best, MAIN)
    place = f"{label}, the reference, is at place {1 + shown.index(label)} of {len(shown)}"
    if found is None:
        return f"{place}; it has no seed in common with {best}."
    says = {
        NOISE: ", inside the noise",
        EQUAL: ", exactly the same in every seed",
        UNKNOWN: ", and one seed in common tells no noise",
        WORSE: ", more than the noise",
    }
    return (
        f"{place} with {mean(_mean(results, label))}; seed by seed its difference to {best} is "
        f"{signed(found)}{says.get(found.verdict, ', though better in the seeds in common')}."
    )


def missing(results):
    """What has not been done yet, or has failed.

    Args:
        results: a `Results`.

    Returns:
        A list of paragraphs, none if nothing is missing.
    """
    searching, hopeless, waiting, failed = [], [], [], []
    draws = max(1, results.search)
    for label in results.labels:
        searched, final = results.searched(label), results.final(label)
        if not final and results.search > 1 and len(searched) < draws:
            searching.append(f"{label} ({len(searched)} of {draws} draws)")
        elif not final and searched and all(trial["failed"] for trial in searched):
            hopeless.append(label)
        elif len(final) < len(results.seeds):
            waiting.append(f"{label} ({len(final)} of {len(results.seeds)} seeds)")
        lost = sum(trial["failed"] is not None for trial in final)
        if lost:
            failed.append(f"{label} ({lost} of {len(results.seeds)} seeds)")
    said = (
        ("Unfinished. The search goes on for: ", searching),
        ("Unfinished. Final runs are missing of: ", waiting),
        ("Every run of the search failed, so nothing could be chosen, of: ", hopeless),
        ("Final runs failed of: ", failed),
    )
    return [f"{text}{listing(found)}." for text, found in said if found]
