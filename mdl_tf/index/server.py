"""A connection to a PostgreSQL server with pgvector, made again when it is lost.

A password is never kept in a file, a message or a representation.
"""

import contextlib
import threading
from urllib.parse import quote


def _import_psycopg():
    """psycopg and what pgvector adds to it, which are an extra.

    Raises:
        ValueError: if they are not installed.
    """
    try:
        import pgvector.psycopg
        import psycopg
    except ImportError:
        raise ValueError(
            "An index on a server needs psycopg and pgvector: pip install 'mdl_tf[postgres]'. "
            "Received: no such packages"
        ) from None
    return psycopg, pgvector.psycopg


class Server:
    """A server that several threads use by turns.

    Args:
        address: as for `Postgres`.
        setup: statements that each new connection begins with, in one transaction.

    Attributes:
        place: the address without its secrets.

    Raises:
        ValueError: without the packages, a server that answers, its extension or its rights.
    """

    def __init__(self, address, setup):
        self._psycopg, self._pgvector = _import_psycopg()
        try:
            parts = self._psycopg.conninfo.conninfo_to_dict(address)
        except self._psycopg.Error:
            # Its words may repeat the address.
            raise ValueError(
                "`address` must be such as postgresql://user@host/database. Received: one that "
                "cannot be read"
            ) from None
        secrets = [parts.pop(key, None) for key in ("password", "sslpassword")]
        self.place = _describe(parts)
        self._hide = _hiding(secrets)

        # In a function, so that no representation shows it.
        def connect():
            return self._psycopg.connect(
                address, autocommit=True, application_name="mdl_tf", connect_timeout=10
            )

        self._setup, self._lock = setup, threading.RLock()
        self._connect, self._connection = connect, None
        with self._telling():
            self._open()

    def _open(self):
        if self._connection is None or self._connection.closed or self._connection.broken:
            connection = self._connect()
            try:
                with connection.transaction():
                    for statement in self._setup:
                        connection.execute(statement)
                self._pgvector.register_vector(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    @contextlib.contextmanager
    def _telling(self):
        try:
            yield
        except self._psycopg.Error as error:
            text = self._hide(" ".join(str(error).split()) or type(error).__name__)
            raise ValueError(f"The server must answer. Received: {self.place}: {text}") from None

    @contextlib.contextmanager
    def transaction(self):
        """The connection, in a transaction as long as the block runs.

        Raises:
            ValueError: if the server does not answer, or refuses something.
        """
        with self._lock, self._telling(), self._open().transaction():
            yield self._connection

    def fetch(self, text, values=()):
        """All rows that a statement gives.

        Args:
            text: the statement.
            values: for its places. Defaults to `()`.

        Raises:
            ValueError: as `transaction`.
        """
        with self._lock, self._telling():
            return self._open().execute(text, values, binary=True).fetchall()

    def as_json(self, value):
        """A value as a column of the type `jsonb` takes it."""
        return self._psycopg.types.json.Jsonb(value)

    def close(self):
        """Let go of the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()


def _describe(parts):
    """An address without its secrets."""
    host = parts.get("host") or parts.get("hostaddr") or ""
    port = f":{parts['port']}" if parts.get("port") else ""
    user = f"{quote(parts['user'])}@" if parts.get("user") else ""
    place = f"{user}{host if host[:1] != '/' else ''}{port}/{parts.get('dbname', '')}"
    return f"postgresql://{place}" + (f"?host={host}" if host[:1] == "/" else "")


def _hiding(secrets):
    """A function that takes secrets out of a text, also as an address writes them."""
    hidden = sorted({s for secret in secrets if secret for s in (secret, quote(secret, safe=""))})

    def hide(text):
        for secret in hidden:
            text = text.replace(secret, "***")
        return text

    return hide
