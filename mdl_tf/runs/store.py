"""A folder of results: files written whole, JSON and CSV, one process at a time. Loads little.

Under runs and comparisons alike. Whatever kills the process, a file is the old one or the new one.
"""

import contextlib
import csv
import fnmatch
import io
import json
import os
from pathlib import Path

from mdl_tf.config import ConfigError
from mdl_tf.files import UNFINISHED, locked, replacing
from mdl_tf.reading import read_json
from mdl_tf.runs.shapes import check_shape
from mdl_tf.words import as_cell, clean, is_text, printable, shorten

LOCK = ".lock"
MOST_NAME = 200  # bytes of a name: file systems take 255, and numbers are put behind it
EARLIER = "earlier-"  # begins the name of a folder of what was there before a restart


def check_name(name):
    """Refuse a name of a run or comparison that leads out of the folder of runs.

    Args:
        name: what was given; `None` stays.

    Returns:
        The name.

    Raises:
        ConfigError: if it is no plain name of a folder.
    """
    if name is None:
        return None
    text = str(name)
    is_plain = text == os.path.basename(text) and not set("/\\\n\t") & set(text)
    is_plain = is_plain and printable(text) == text and text.strip(". ") != ""
    if not is_plain or len(os.fsencode(text)) > MOST_NAME:
        raise ConfigError(
            "`name` must be a plain name of a folder below `runs_dir`: without / or \\, printable, "
            f"at most {MOST_NAME} bytes long. Received: name={shorten(clean(text), 80)!r}"
        )
    return name


class Store:
    """A folder, and the only writer of its files.

    Args:
        folder: path of the folder.
    """

    shapes = {}  # what the JSON files must be like, by a pattern of their names
    restart = "restore it from a copy"  # what to do about a damaged one

    def __init__(self, folder):
        self.folder = Path(folder)
        self._is_locked = False
        self._made = []  # folders that this process made, the outermost first
        self._written = set()  # names of files that this process wrote in a folder that it made

    @property
    def is_new(self):
        """Whether this process made the folder."""
        return self.folder in self._made

    def make(self):
        """Make the folder and those above it; `discard` removes what was made here.

        Raises:
            ConfigError: if TensorFlow cannot write there, whatever the working folder is called.
            FileExistsError: if it exists.
            OSError: if it cannot be made.
        """
        if not is_text(str(self.folder.absolute())):
            raise ConfigError(
                "`runs_dir` must be a folder whose whole path is in UTF-8, as TensorFlow names "
                f"files. Received: {clean(str(self.folder.absolute()))}"
            )
        missing = []
        for part in (self.folder, *self.folder.parents):
            if part.exists():
                break
            missing.append(part)
        for part in reversed(missing[1:]):
            with contextlib.suppress(FileExistsError):  # by another process, just now
                part.mkdir()
                self._made.append(part)
        self.folder.mkdir()
        self._made.append(self.folder)

    def discard(self):
        """Remove what this process has written here and the folders that it made, if empty then.

        The one way in which a run or comparison that failed at once is taken back: nothing that was
        there before is touched, and nothing that somebody else has put there since.
        """
        if not self.is_new:
            return
        for name in self._written | {LOCK}:
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()
        for name in sorted(self._written, reverse=True):
            for part in (self.folder / name).parents:
                if part.is_relative_to(self.folder) and part != self.folder:
                    with contextlib.suppress(OSError):
                        part.rmdir()
        while self._made:
            try:
                self._made[-1].rmdir()
            except OSError:
                # Another process has a run of its own there by now.
                break
            self._made.pop()
        self._written.clear()

    def writing(self, name):
        """A temporary path that becomes the file `name` when the block ends without an error."""
        if self.is_new:
            self._written.add(name)
        return replacing(self.folder / name)

    def write_text(self, name, text):
        with self.writing(name) as path:
            path.write_text(text, encoding="utf-8")

    def write_json(self, name, value):
        self.write_text(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def read_json(self, name, default=None):
        """What is in a JSON file; `default` if there is no such file.

        Raises:
            ConfigError: if it is damaged: no JSON, or not what this library writes there.
        """
        try:
            value = read_json(self.folder / name)
            for pattern, shape in self.shapes.items():
                if fnmatch.fnmatchcase(name, pattern):
                    check_shape(value, shape)
            return value
        except FileNotFoundError:
            return default
        except ValueError as error:
            raise self.damaged(name, error) from error

    def damaged(self, name, reason):
        """The error of a file that is damaged.

        Args:
            name: of the file.
            reason: completes "the file ...".

        Returns:
            A `ConfigError`.
        """
        return ConfigError(
            f"{self.folder / name} is damaged: it {reason}. What to do: {self.restart}"
        )

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
        writer.writerows({key: as_cell(value) for key, value in row.items()} for row in rows)
        self.write_text(name, text.getvalue())

    def write_left_out(self, problems):
        """Write `left_out.csv`, the files that were not used and why, if there are any.

        Args:
            problems: `Problem`s, or other pairs of a path and a reason.
        """
        self.write_rows(
            "left_out.csv", [{"path": str(path), "reason": reason} for path, reason in problems]
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

    def set_aside(self, keep=()):
        """Move what is here into a folder `earlier-1` (2, ...), so that all can begin again.

        Args:
            keep: names that stay. Defaults to none.

        Returns:
            The path of that folder; `None` if there was nothing.
        """
        stays = {LOCK, *keep}
        parts = [p for p in self.folder.iterdir() if p.name not in stays]
        parts = [p for p in parts if not p.name.startswith((EARLIER, UNFINISHED))]
        if not parts:
            return None
        number = 1
        while (self.folder / f"{EARLIER}{number}").exists():
            number += 1
        earlier = self.folder / f"{EARLIER}{number}"
        earlier.mkdir()
        # What tells how far it is goes first: whatever kills this, no half of it looks whole.
        for part in sorted(parts, key=lambda part: (part.name != "resume", part.name)):
            part.rename(earlier / part.name)
        return earlier

    def remove_unfinished(self):
        """Remove what a kill left half-written; only while no other process writes here.

        What is below another store, such as the run of a fold, may be in use and stays.
        """
        for path in self.folder.rglob(UNFINISHED + "*"):
            between = path.relative_to(self.folder).parents
            if not any((self.folder / part / LOCK).exists() for part in between if part.name):
                path.unlink(missing_ok=True)
