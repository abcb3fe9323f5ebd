"""All runs of a comparison as a table for spreadsheets and programs."""

import csv
import io
import json

from mdl_tf.compare.report.words import clean
from mdl_tf.metrics.table import find_columns
from mdl_tf.words import as_cell


def to_csv(results):
    """A row for each run, of the search and final.

    Args:
        results: a `Results`.

    Returns:
        A string; metrics are empty where there are none.
    """
    metrics = _list_metrics(results)
    head = ["label", "phase", "number", "failed", "value", "start", "best_epoch"]
    head += ["seconds_per_step", "seconds", "learning_rate", "settings", *metrics]
    with io.StringIO() as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for label in results.labels:
            for trial in (*results.searched(label), *results.final(label)):
                writer.writerow(_row(trial, metrics))
        return file.getvalue()


def _list_metrics(results):
    """Keys in the order of the other tables; those that they do not show come last."""
    keys = {key for trial in results.trials for key in trial.get("metrics") or {}}
    shown = [metric.key for metric in find_columns(keys)]
    return [*shown, *sorted(keys.difference(shown))]


def _row(trial, metrics):
    settings, values = trial["settings"], trial.get("metrics") or {}
    start = (trial.get("start") or {}).get(f"val_{trial['config']['monitor']}")
    return [
        _escape(trial["label"]),
        _escape(trial["phase"]),
        trial["number"],
        "" if trial["failed"] is None else _escape(trial["failed"]),
        trial["value"],
        start,
        *(trial[key] for key in ("best_epoch", "seconds_per_step", "seconds")),
        settings.get("learning_rate", trial["config"]["learning_rate"]),
        _escape(json.dumps(settings, ensure_ascii=False)),
        *(values.get(key) for key in metrics),
    ]


def _escape(text):
    """A text that no spreadsheet reads as a formula."""
    return as_cell(clean(text))
