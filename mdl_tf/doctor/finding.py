"""A finding: what was looked at, how bad it is, the numbers, the rule, and what to do."""

import textwrap
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

LEVELS = ("wrong", "look", "ok")  # worst first


class Finding(NamedTuple):
    """What was found out about one thing."""

    name: str  # what was looked at
    level: str  # one of `LEVELS`
    said: str  # what is the case, with the numbers
    rule: str = ""  # from where on it is worth a look, or wrong
    advice: tuple = ()  # what to do, texts; the likeliest first
    numbers: Mapping = MappingProxyType({})  # the same for programs


def level(value, look, wrong):
    """The level of a value between its thresholds, whichever of the two is larger.

    Args:
        value: a number.
        look: from here on it is worth a look.
        wrong: from here on it is wrong; above `look` if large values are bad, else below.

    Returns:
        One of `LEVELS`.
    """
    sign = 1 if wrong > look else -1
    if sign * value >= sign * wrong:
        return "wrong"
    return "look" if sign * value >= sign * look else "ok"


def worst(*levels):
    """The worst of some levels."""
    return min(levels, key=LEVELS.index)


def as_text(findings, width=100):
    """Findings as text, worst first; rules and advice only of those that are not `ok`.

    Args:
        findings: `Finding`s.
        width: columns of the text. Defaults to `100`.

    Returns:
        A string of several lines.
    """
    ordered = sorted(findings, key=lambda finding: LEVELS.index(finding.level))
    names = max(len(finding.name) for finding in findings)
    lines = []
    for finding in ordered:
        head = f"{finding.level:<5}  {finding.name:<{names}}  "
        inner = " " * len(head)

        def add(text, first, rest):
            # A flag or a path in two pieces could not be copied.
            lines.extend(
                textwrap.wrap(
                    text,
                    width,
                    initial_indent=first,
                    subsequent_indent=rest,
                    break_on_hyphens=False,
                    break_long_words=False,
                )
            )

        add(finding.said, head, inner)
        if finding.level != "ok":
            if finding.rule:
                add(f"Rule: {finding.rule}", inner, inner)
            for advice in finding.advice:
                add(advice, inner + "- ", inner + "  ")
    return "\n".join(lines)
