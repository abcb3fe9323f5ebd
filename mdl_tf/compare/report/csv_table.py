"""All runs of a comparison as a table for spreadsheets and programs."""

import csv
import io
import json

from mdl_tf.compare.report.words import clean
from mdl_tf.metrics.columns import COLUMNS

_FORMULA = ("=", "+", "-", "@")


def csv_table(results):
    """A row for each run, of the search and final.

    Args:
        results: a `Results`.

    Returns:
        A string; metrics are empty where there are none.
    """
    metrics = _metrics(results)
    head = ["label", "phase", "number", "failed", "value", "best_epoch", "seconds_per_step"]
    head += ["seconds", "learning_rate", "settings", *metrics]
    with io.StringIO() as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for label in results.labels:
            for trial in (*results.searched(label), *results.final(label)):
                writer.writerow(_row(trial, metrics))
        return file.getvalue()


def _metrics(results):
    """In the order of the other tables; what they do not show stands behind."""
    found = {key for trial in results.trials for key in trial.get("metrics") or {}}
    return [*(k for k in COLUMNS if k in found), *sorted(found - set(COLUMNS))]


def _row(trial, metrics):
    settings, measured = trial["settings"], trial.get("metrics") or {}
    return [
        _text(trial["label"]),
        _text(trial["phase"]),
        trial["number"],
        "" if trial["failed"] is None else _text(trial["failed"]),
        *(trial[key] for key in ("value", "best_epoch", "seconds_per_step", "seconds")),
        settings.get("learning_rate", trial["config"]["learning_rate"]),
        _text(json.dumps(settings, ensure_ascii=False)),
        *(measured.get(key) for key in metrics),
    ]


def _text(text):
    """A text that no spreadsheet reads as a formula."""
    text = clean(text)
    return f"'{text}" if text.startswith(_FORMULA) else text
