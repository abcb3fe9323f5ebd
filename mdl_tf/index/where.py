"""Filters of a search, as plain data: `where={"label": ["bird", "bat"], "price": {"<": 10}}`.

The same dict serves Python, JSON and every kind of store. A value asks for equality, a list for one
of its values, a dict from `=`, `!=`, `<`, `<=`, `>`, `>=` to values for all of them at once. All
columns that are named must fit. `None` asks for rows without the column.
"""

import math
import numbers

COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
# What every row has, beside the columns of its own.
ROW_COLUMNS = ("name", "label", "root")


def check_where(where, known):
    """The conditions of a filter.

    Args:
        where: a dict as above, or `None`.
        known: names of columns that a row may have.

    Returns:
        A list of `(column, comparison, values)`: `comparison` one of `COMPARISONS` with one value,
        or `"in"` with a tuple of values.

    Raises:
        ValueError: for something else, an unknown column, or values that are no texts, numbers or
            truth values.
    """
    if where is None:
        return []
    if not isinstance(where, dict):
        raise ValueError(
            "`where` must be a dict from a column to a value, a list of values, or a dict of "
            f"comparisons. Received: where={where!r}"
        )
    conditions = []
    for column, wanted in where.items():
        if column not in known:
            raise ValueError(
                f"`where` must name columns of the index, {', '.join(map(repr, sorted(known)))}. "
                f"Received: {column!r}"
            )
        if isinstance(wanted, dict):
            wrong = [comparison for comparison in wanted if comparison not in COMPARISONS]
            if wrong or not wanted:
                raise ValueError(
                    f"`where` must have comparisons out of {', '.join(COMPARISONS)}. "
                    f"Received: {column!r}: {wanted!r}"
                )
            conditions += [(column, c, _check_value(column, v)) for c, v in wanted.items()]
        elif isinstance(wanted, list | tuple | set | frozenset):
            conditions.append((column, "in", tuple(_check_value(column, v) for v in wanted)))
        else:
            conditions.append((column, "=", _check_value(column, wanted)))
    for column, comparison, value in conditions:
        is_among = comparison == "in" and None in value
        if is_among or (value is None and comparison not in ("=", "!=")):
            raise ValueError(
                "`where` must have None alone, or in '=' and '!='. "
                f"Received: {column!r}: {where[column]!r}"
            )
    return conditions


def check_columns(columns, count):
    """Columns of rows as they are kept.

    Args:
        columns: a dict from names to `count` values each: texts, numbers, truth values or `None`.
        count: of rows.

    Returns:
        A list of `count` dicts, without what is `None`.

    Raises:
        ValueError: for something else.
    """
    if not isinstance(columns, dict):
        raise ValueError(f"`columns` must be a dict from names to values. Received: {columns!r}")
    rows = [{} for _ in range(count)]
    for name, values in columns.items():
        if not isinstance(name, str) or not name or name in ROW_COLUMNS:
            raise ValueError(
                f"`columns` must have names other than {', '.join(ROW_COLUMNS)}. Received: {name!r}"
            )
        values = list(values)
        if len(values) != count:
            raise ValueError(
                f"`columns` must have {count:,} values each. Received: {len(values):,} of {name!r}"
            )
        for row, value in zip(rows, values, strict=True):
            value = _check_value(name, value)
            if value is not None:
                row[name] = value
    return rows


def _check_value(column, value):
    """A text, an integer, a float, a truth value or `None`, as Python has it."""
    if hasattr(value, "item"):  # of NumPy
        value = value.item()
    if value is None or isinstance(value, str | bool):
        return value
    is_number = isinstance(value, numbers.Real) and math.isfinite(value)
    # SQLite's integers have 64 bits.
    if not is_number or (isinstance(value, int) and not -(2**63) <= value < 2**63):
        raise ValueError(
            "Columns must have texts, finite numbers, truth values or None. "
            f"Received: {column!r}: {value!r}"
        )
    return value if isinstance(value, int) else float(value)
