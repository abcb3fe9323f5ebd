"""Filters as SQL of PostgreSQL, with the meaning that they have in an index of a folder."""

import decimal

from mdl_tf.index.where import ROW_COLUMNS, check_where

_KIND = "jsonb_typeof(columns->%s)"
# Truth values count as 1 and 0.
_NUMBER = (
    f"(CASE {_KIND} WHEN 'number' THEN (columns->>%s)::numeric "
    "WHEN 'boolean' THEN (columns->>%s)::boolean::int::numeric END)"
)
_TEXT = f"""((CASE {_KIND} WHEN 'string' THEN columns->>%s END) COLLATE "C")"""


def as_sql(where, known):
    """A filter as a condition.

    Args:
        where: a filter, as `mdl_tf.index.where` has it, or `None`.
        known: names of columns that rows have.

    Returns:
        `(text, values)`: SQL with `%s` for each of the values.

    Raises:
        ValueError: for a filter that cannot be.
    """
    if not where:
        return "true", []
    texts, values = [], []
    for column, comparison, wanted in check_where(where, {*ROW_COLUMNS, *known}):
        make = _of_row if column in ROW_COLUMNS else _of_columns
        text, its = make(column, comparison, wanted)
        texts.append(f"({text})")
        values += its
    return " AND ".join(texts), values


def _of_row(column, comparison, wanted):
    if wanted is None:
        return f"{column} IS {'NOT ' if comparison == '!=' else ''}NULL", []
    if comparison == "in":
        return f"{column} = ANY(%s)", [[_as_text(value) for value in wanted]]
    return f'{column} COLLATE "C" {_operator(comparison)} %s', [_as_text(wanted)]


def _of_columns(column, comparison, wanted):
    if wanted is None:
        return f"{'' if comparison == '!=' else 'NOT '}columns ? %s", [column]
    if comparison == "in":
        parts = [_of_columns(column, "=", value) for value in wanted]
        text = " OR ".join(f"({text})" for text, _ in parts) or "false"
        return text, [value for _, values in parts for value in values]
    if isinstance(wanted, str):
        text, values, lower = _TEXT, [column] * 2, comparison in ("<", "<=")
        other = "'number', 'boolean'"
    else:
        text, values, lower = _NUMBER, [column] * 3, comparison in (">", ">=")
        wanted, other = decimal.Decimal(repr(wanted + 0)), "'string'"
    text, values = f"{text} {_operator(comparison)} %s", [*values, wanted]
    # Numbers stand before texts, and are not equal to them.
    if lower or comparison == "!=":
        text, values = f"{text} OR {_KIND} IN ({other})", [*values, column]
    return text, values


def _operator(comparison):
    return "<>" if comparison == "!=" else comparison


def _as_text(value):
    return value if isinstance(value, str) else str(value + 0)
