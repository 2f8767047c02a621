"""The database under the store: SQLite by default, PostgreSQL by URL. Shell (needs SQLAlchemy).

All of the difference between the two is here: how a transaction that writes is alone, and how one process of several
gets the turn to refresh. Both locks end with the process that holds them, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quotehelper.errors import ConfigError, SourceCause, SourceError

try:
    import sqlalchemy as sa
    from sqlalchemy import event
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
except ImportError as error:
    raise ConfigError("The collateral store needs SQLAlchemy", "pip install 'quotehelper[collateral]'") from error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Connection, Engine

__all__ = ["Database", "sa"]

_WRITE_LOCK, _REFRESH_LOCK = 0x51_48_01, 0x51_48_02
"""PostgreSQL's advisory locks, by number: of writers, and of the one that refreshes."""
_BUSY_TIMEOUT_MS = 30_000
_TURN_POLL_S = 0.05
_POOL_SIZE, _POOL_OVERFLOW = 8, 8
_PRIVATE = 0o600
_WRITES = "quotehelper_writes"


class Database:
    """Connections to the database at ``url``: an SQLAlchemy URL, or the path of an SQLite file.

    Raises ConfigError if it can't be one. Connects when it is first used.
    """

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            _make_private(Path(self._url.database or ""))
        try:
            self.engine = _make_engine(self._url)
        except ImportError as error:
            remedy = "pip install 'quotehelper[collateral]'"
            raise ConfigError(f"The driver for {self.name} is not installed", remedy) from error
        if self.is_sqlite:
            event.listen(self.engine, "connect", _set_up_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that reads. Raises SourceError (STORE) for whatever the database can't do."""
        with self._translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes; only one at a time, over all processes. Raises as ``read``."""
        with self._translated(), self.engine.execution_options(**{_WRITES: True}).begin() as connection:
            if not self.is_sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITE_LOCK)))
            yield connection

    @contextmanager
    def turn(self, patience_s: float) -> Iterator[None]:
        """The turn to refresh, waited for; one process of all that use the database has it at a time.

        Raises SourceError (UNREACHABLE) if another still has it after ``patience_s`` seconds.
        """
        deadline = time.monotonic() + patience_s
        with self._turn_of_file(deadline) if self.is_sqlite else self._turn_of_server(deadline):
            yield

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _turn_of_file(self, deadline: float) -> Iterator[None]:
        descriptor = os.open(f"{self._url.database}.refresh", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
        try:
            while not _lock(descriptor):
                self._wait(deadline)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _turn_of_server(self, deadline: float) -> Iterator[None]:
        with self._translated():
            connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            with self._translated():
                while not connection.execute(sa.select(sa.func.pg_try_advisory_lock(_REFRESH_LOCK))).scalar():
                    self._wait(deadline)
            yield
        finally:
            with suppress(SQLAlchemyError):
                connection.execute(sa.select(sa.func.pg_advisory_unlock(_REFRESH_LOCK)))
            connection.close()

    def _wait(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise SourceError(SourceCause.UNREACHABLE, "refresh", "another process is refreshing and does not end")
        time.sleep(_TURN_POLL_S)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().split("\n")[0][:200]
            raise SourceError(SourceCause.STORE, f"database {self.name}", reason) from error


def _parse(url: str) -> URL:
    remedy = "Give sqlite:///FILE, postgresql://USER@HOST/NAME, or the path of a file"
    try:
        parsed = sa.make_url(url if "://" in url else f"sqlite:///{url}")
        backend = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise ConfigError("The database's URL can't be read", remedy) from error
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ConfigError(f"A database of kind {backend!r} is not for keeping collateral", remedy)
    return parsed.set(drivername="sqlite")


def _make_engine(url: URL) -> Engine:
    options: dict[str, Any] = {"pool_size": _POOL_SIZE, "max_overflow": _POOL_OVERFLOW, "pool_pre_ping": True}
    if url.get_backend_name() == "postgresql":
        options["connect_args"] = {"connect_timeout": 10}
    return sa.create_engine(url, **options)


def _make_private(path: Path) -> None:
    """Create the file ``path``, readable by its owner alone: encrypted PPIDs and manifests tell platforms apart."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "Give a file in a directory that can be written") from error


def _set_up_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401  the driver's own connection
    connection.isolation_level = None  # the library's events begin transactions, not the driver
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_TIMEOUT_MS}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
