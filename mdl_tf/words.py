"""Words for people: counts, lists, and texts from outside that may be long or unprintable."""

import re
import unicodedata

# Signs that change the direction of the text around them, so that a name prints as another one.
_TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def count(amount, noun):
    """An amount with its noun: `1 loss`, `2 losses`, `1,000 images`.

    Args:
        amount: an integer.
        noun: in the singular.
    """
    return f"{amount:,} {noun if amount == 1 else plural(noun)}"


def plural(noun):
    """The plural of a noun: `losses`, `images`.

    Args:
        noun: in the singular.
    """
    return noun + ("es" if noun.endswith("s") else "s")


def listing(words):
    """Words in a row: `a, b and c`.

    Args:
        words: texts.
    """
    words = list(words)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def first_few(words, most):
    """The first of many words: `a, b and 7 more`; all of them if they are few: `a, b`.

    Args:
        words: a list of texts.
        most: how many to list.
    """
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def shorten(text, most):
    """A text without its middle if it is longer than `most` letters.

    Args:
        text: any text.
        most: letters of the result, at least 5.
    """
    if len(text) <= most:
        return text
    head = (most - 3) // 2
    return f"{text[:head]}...{text[head + 3 - most :]}"


def clean(text, most=None):
    r"""A text from outside as it may stand in a message or a report: on one line, printable.

    Codes of a terminal's colours, halves of characters that file names may have, and signs that
    turn the text around become visible, such as `\x1b`.

    Args:
        text: any text.
        most: letters to keep, as in `shorten`. Defaults to all.
    """
    line = " ".join(text.split())
    line = line if most is None else shorten(line, most)
    return "".join(_escape(c) if _is_hidden(c) else c for c in line)


def is_text(text):
    """Whether a text can be the name of a file for TensorFlow: in UTF-8, without NUL.

    Args:
        text: any text; a name that the system has in another encoding has halves of characters.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _is_hidden(character):
    return (
        unicodedata.category(character) in ("Cc", "Cs")
        or unicodedata.bidirectional(character) in _TURNING
    )


def printable(text):
    r"""A text as it may be shown on a terminal: all but its line ends and tabs is printable.

    Args:
        text: any text, of several lines perhaps.
    """
    return "".join(_escape(c) if _is_hidden(c) and c not in "\n\t" else c for c in text)


# How a spreadsheet's formula begins; a tab or a line end before it is passed over.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def as_cell(value):
    """A value as it may stand in a CSV file that a spreadsheet opens.

    A text that begins like a formula, and is no number, gets an apostrophe before it.

    Args:
        value: a text; anything else is given back as it is.
    """
    return f"'{value}" if isinstance(value, str) and _looks_like_formula(value) else value


def from_cell(text):
    """The text that `as_cell` was given.

    Args:
        text: of a cell.
    """
    return text[1:] if text.startswith("'") and _looks_like_formula(text[1:]) else text


def _looks_like_formula(text):
    if not _FORMULA.match(text):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return text != text.strip()


def _escape(character):
    return character.encode("unicode_escape").decode()
