"""Work in threads: so many at a time, so many waiting, and not for ever."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

from mdl_tf.serve.refusal import Refusal


class Work:
    """Threads that answer searches, and others that shrink pictures.

    Args:
        limits: a `Limits`.
    """

    def __init__(self, limits):
        self._limits = limits
        self._searches = ThreadPoolExecutor(limits.workers, "search")
        self._pictures = ThreadPoolExecutor(limits.workers, "pictures")
        self._admitted = 0
        self._running, self._abandoned = set(), set()

    @property
    def is_busy(self):
        """Whether threads are at work, which nobody may be waiting for any more."""
        return bool(self._running)

    @contextlib.contextmanager
    def admitted(self):
        """A place among those that are served at the same time, while the block runs.

        Raises:
            Refusal: if there is none.
        """
        # What has run out of time, but cannot be stopped, has its place still.
        if self._admitted + len(self._abandoned) >= self._limits.requests:
            raise Refusal(
                503,
                f"{self._limits.requests} searches are going on, which is the most at a time. Try "
                "again in a moment.",
                {"Retry-After": "2"},
            )
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    async def search(self, function, *arguments):
        """What a function gives, run in a thread for searches.

        Raises:
            Refusal: if it takes too long.
        """
        return await self._run(self._searches, function, *arguments)

    async def shrink(self, function, *arguments):
        """What a function gives, run in a thread for pictures.

        Raises:
            Refusal: if it takes too long.
        """
        return await self._run(self._pictures, function, *arguments)

    async def _run(self, pool, function, *arguments):
        work = pool.submit(function, *arguments)
        if pool is self._searches:
            self._running.add(work)
            work.add_done_callback(self._running.discard)
        done, waiting = await asyncio.wait(
            [asyncio.wrap_future(work)], timeout=self._limits.seconds
        )
        for future in done:
            return future.result()
        for future in waiting:
            # What it comes to in the end is of no interest.
            future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        # What waits is not begun any more; what runs cannot be stopped.
        if not work.cancel() and pool is self._searches:
            self._abandoned.add(work)
            work.add_done_callback(self._abandoned.discard)
        raise Refusal(
            503,
            f"The answer took longer than {self._limits.seconds:g} s. Try a smaller picture, or "
            "again in a moment.",
            {"Retry-After": "5"},
        )

    def close(self):
        """Begin nothing more."""
        for pool in (self._searches, self._pictures):
            pool.shutdown(wait=False, cancel_futures=True)
