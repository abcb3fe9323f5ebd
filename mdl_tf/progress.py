"""Progress and time left: on a terminal a line that changes, elsewhere a line at the end."""

import contextlib
import os
import sys
import tempfile
import time

from mdl_tf.words import clean


def duration(seconds):
    """Seconds in words: `45 s`, `3 min 20 s`, `2 h 5 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


class ProgressLine:
    """A bar for work of known length; call it with how much is done.

    Args:
        label: what is going on.
        total: how much there is, or `None` until a call says so.
        stream: where to write. Defaults to standard output.
    """

    WIDTH = 24

    def __init__(self, label, total=None, stream=None):
        self._label, self._total = clean(label), total
        stream = stream or sys.stdout
        # Our own codes, of a bar that changes, are no danger.
        self._stream = getattr(stream, "unfiltered", stream)
        self._start = self._begun = self._shown = time.perf_counter()
        self._done, self._unit = 0, ""
        self._live = self._stream.isatty()

    def __call__(self, done, total=None):
        now = time.perf_counter()
        if total and total != self._total:
            self._begun = now  # another part of the work, in other units
        self._done, self._total = done, total or self._total
        # A terminal is slow: some five times a second is enough to see.
        if not self._live or (now - self._shown < 0.2 and done != self._total):
            return
        self._shown = now
        share = min(1.0, done / self._total)
        bar = "#" * round(share * self.WIDTH)
        left = (now - self._begun) * (1 - share) / share if share else 0
        self._write(
            f"\r{self._label}  [{bar:.<{self.WIDTH}}] {done:,}/{self._total:,}  "
            f"{duration(left)} left"
        )

    def done(self, done, unit=""):
        """How much was done in the end, for work that counts otherwise, or not at all, on the way.

        Args:
            done: a count.
            unit: of the count, such as `"images"`.
        """
        self._done, self._unit = done, f" {unit}" if unit else ""

    def clear(self):
        """Remove the bar from a terminal, for a line of something else."""
        if self._live:
            self._write("\r")

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if error is None:
            self.clear()
            seconds = time.perf_counter() - self._start
            self._write(
                f"{self._label}: {self._done:,}{self._unit} in {duration(seconds)}", end=True
            )
        elif self._live:
            self._write("\n")

    def _write(self, text, end=False):
        clear = "\x1b[K" if self._live else ""
        self._stream.write(text + clear + ("\n" if end else ""))
        self._stream.flush()


@contextlib.contextmanager
def quiet():
    """Hold back what TensorFlow's C++ side logs while it is imported; show it if that fails."""
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(shown, held.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)
