"""A folder of results: files written whole, JSON and CSV, one process at a time. Loads little.

Under runs and comparisons alike. Whatever kills the process, a file is the old one or the new one.
"""

import contextlib
import csv
import io
import json
from pathlib import Path

from mdl_tf.config import ConfigError
from mdl_tf.files import locked, replacing

UNFINISHED = ".unfinished-"
LOCK = ".lock"


class Store:
    """A folder, and the only writer of its files.

    Args:
        folder: path of the folder.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self._is_locked = False

    def writing(self, name):
        """A temporary path that becomes the file `name` when the block ends without an error."""
        return replacing(self.folder / name, UNFINISHED)

    def write_text(self, name, text):
        with self.writing(name) as path:
            path.write_text(text, encoding="utf-8")

    def write_json(self, name, value):
        self.write_text(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def read_json(self, name, default=None):
        """What is in a JSON file; `default` if there is no such file.

        Raises:
            ConfigError: if it is no JSON.
        """
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return default
        except ValueError as error:
            raise ConfigError(f"{self.folder / name} must be JSON. Received: {error}") from error

    def write_rows(self, name, rows):
        """Write a CSV file.

        Args:
            name: of the file.
            rows: dicts with the same keys, which become the head; nothing is written without any.
        """
        if not rows:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        self.write_text(name, text.getvalue())

    def write_left_out(self, problems):
        """Write `left_out.csv`, the files that were not used and why, if there are any.

        Args:
            problems: `Problem`s, or other pairs of a path and a reason.
        """
        self.write_rows(
            "left_out.csv", [{"path": path, "reason": reason} for path, reason in problems]
        )

    @contextlib.contextmanager
    def alone(self, what):
        """Let no other process write here while the block runs; inside another one a no-op.

        Args:
            what: happens in the folder, for the message, such as `"A run must be trained"`.

        Raises:
            ConfigError: if another process is at work here.
        """
        if self._is_locked:
            yield
            return
        in_use = ConfigError(
            f"{what} by one process at a time. Received: {self.folder}, where another one is at "
            "work"
        )
        with locked(self.folder / LOCK, in_use):
            self._is_locked = True
            try:
                yield
            finally:
                self._is_locked = False

    def remove_unfinished(self):
        """Remove what a kill left half-written; only while no other process writes here.

        What is below another store, such as the run of a fold, may be in use and stays.
        """
        for path in self.folder.rglob(UNFINISHED + "*"):
            between = path.relative_to(self.folder).parents
            if not any((self.folder / part / LOCK).exists() for part in between if part.name):
                path.unlink(missing_ok=True)
