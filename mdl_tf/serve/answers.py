"""Answers as JSON: what a client and the page are told alike."""

from mdl_tf.serve.refusal import Refusal


def to_json(answer, k, where):
    """An answer as `POST /search` gives it.

    Args:
        answer: an `Answer`.
        k: how many were asked for.
        where: the filter, or `None`.

    Returns:
        A dict.
    """
    verdict = answer.verdict
    return {
        "hits": [entry_to_json(entry, answer.same(entry)) for entry in answer.entries],
        "query": None if answer.query is None else _describe(answer.query),
        "k": k,
        "where": where,
        "same": {
            "threshold": verdict.threshold,
            "false_accept_rate": verdict.far,
            "meaning": verdict.reason,
        },
        "images": answer.images,
        "seconds": round(answer.seconds, 4),
    }


def entry_to_json(entry, same):
    """One image of the index.

    Args:
        entry: an `Entry`.
        same: whether it is the same as the query; `None` if nobody knows.

    Returns:
        A dict.
    """
    return {**_describe(entry), "distance": entry.hit.distance, "same": same}


def _describe(entry):
    hit = entry.hit
    return {
        "id": entry.id,
        "name": hit.name,
        "label": hit.label,
        "columns": hit.columns,
        "image": f"/image/{entry.id}" if entry.has_file else None,
    }


def read_number(name, text, kind):
    """A number in a request.

    Args:
        name: of the field.
        text: its value, a text or a number.
        kind: `int` or `float`.

    Returns:
        An `int` or a `float`.

    Raises:
        Refusal: if it is none.
    """
    try:
        if isinstance(text, bool):
            raise ValueError
        number = kind(text)
        if isinstance(text, float) and number != text:
            raise ValueError
        if kind is float and not abs(number) < float("inf"):
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        noun = "an integer" if kind is int else "a number"
        raise Refusal(400, f"`{name}` must be {noun}. Received: {str(text)[:40]!r}") from None
    return number
