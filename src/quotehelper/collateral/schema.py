"""The tables of the store, and the numbered steps that make them. Shell (needs SQLAlchemy).

`TABLES` is what queries are written against; `MIGRATIONS` is how a database gets there, from the first version on.
A migration is never changed once released: a new one is added. Starting twice at once is safe, since each start takes
the store's write lock before it looks at the version.

Times are milliseconds since the epoch. Names in hexadecimal are upper case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, Double, Integer, LargeBinary, MetaData, Table, Text, select, text

from quotehelper.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Connection

TABLES = MetaData()

version = Table("quotehelper_schema", TABLES, Column("number", Integer, primary_key=True))

documents = Table(
    "documents",
    TABLES,
    Column("kind", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("api_version", Integer, primary_key=True),
    Column("update_type", Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("issuer_chain", LargeBinary, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("issued_at_ms", BigInteger, nullable=False),
    Column("next_update_ms", BigInteger, nullable=False),
    Column("stored_at_ms", BigInteger, nullable=False),
)
"""Signed documents, each the newest of its key."""

platforms = Table(
    "platforms",
    TABLES,
    Column("qe_id", Text, primary_key=True),
    Column("pce_id", Text, primary_key=True),
    Column("enc_ppid", Text, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("fmspc", Text, nullable=False, index=True),
    Column("ca", Text, nullable=False),
)
"""Platforms whose certificates are kept."""

certificates = Table(
    "pck_certificates",
    TABLES,
    Column("qe_id", Text, primary_key=True),
    Column("pce_id", Text, primary_key=True),
    Column("tcbm", Text, primary_key=True),
    Column("pem", LargeBinary),
    Column("ppid", LargeBinary),
)
"""Their certificates; ``pem`` and ``ppid`` are null where the provisioning service has none for a TCB."""

decisions = Table(
    "pck_decisions",
    TABLES,
    Column("qe_id", Text, primary_key=True),
    Column("pce_id", Text, primary_key=True),
    Column("cpu_svn", Text, primary_key=True),
    Column("pce_svn", Text, primary_key=True),
    Column("tcbm", Text, nullable=False),
)
"""Which certificate was chosen for which raw TCB."""

registrations = Table(
    "registrations",
    TABLES,
    Column("qe_id", Text, primary_key=True),
    Column("pce_id", Text, primary_key=True),
    Column("queue", Text, primary_key=True),
    Column("cpu_svn", Text, nullable=False),
    Column("pce_svn", Text, nullable=False),
    Column("enc_ppid", Text, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("stored_at_ms", BigInteger, nullable=False),
)
"""Platforms that wait for an administrator: queue "reg", or "reg_na" for those that lack certificates."""

refreshes = Table(
    "refreshes",
    TABLES,
    Column("what", Text, primary_key=True),
    Column("finished_at", Double, nullable=False),
    Column("outcome", Text, nullable=False),
)
"""When each kind of refresh ended last (seconds since the epoch), and how."""

_FIRST = (
    """CREATE TABLE documents (
        kind TEXT NOT NULL, subject TEXT NOT NULL, api_version INTEGER NOT NULL, update_type TEXT NOT NULL,
        body {blob} NOT NULL, issuer_chain {blob} NOT NULL, number BIGINT NOT NULL, issued_at_ms BIGINT NOT NULL,
        next_update_ms BIGINT NOT NULL, stored_at_ms BIGINT NOT NULL,
        PRIMARY KEY (kind, subject, api_version, update_type))""",
    """CREATE TABLE platforms (
        qe_id TEXT NOT NULL, pce_id TEXT NOT NULL, enc_ppid TEXT NOT NULL, manifest TEXT NOT NULL,
        fmspc TEXT NOT NULL, ca TEXT NOT NULL, PRIMARY KEY (qe_id, pce_id))""",
    "CREATE INDEX ix_platforms_fmspc ON platforms (fmspc)",
    """CREATE TABLE pck_certificates (
        qe_id TEXT NOT NULL, pce_id TEXT NOT NULL, tcbm TEXT NOT NULL, pem {blob}, ppid {blob},
        PRIMARY KEY (qe_id, pce_id, tcbm))""",
    """CREATE TABLE pck_decisions (
        qe_id TEXT NOT NULL, pce_id TEXT NOT NULL, cpu_svn TEXT NOT NULL, pce_svn TEXT NOT NULL, tcbm TEXT NOT NULL,
        PRIMARY KEY (qe_id, pce_id, cpu_svn, pce_svn))""",
    """CREATE TABLE registrations (
        qe_id TEXT NOT NULL, pce_id TEXT NOT NULL, queue TEXT NOT NULL, cpu_svn TEXT NOT NULL, pce_svn TEXT NOT NULL,
        enc_ppid TEXT NOT NULL, manifest TEXT NOT NULL, stored_at_ms BIGINT NOT NULL,
        PRIMARY KEY (qe_id, pce_id, queue))""",
    "CREATE TABLE refreshes (what TEXT NOT NULL PRIMARY KEY, finished_at {double} NOT NULL, outcome TEXT NOT NULL)",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST,)
"""Migration number n is the n-th, counted from 1: its statements."""

_TYPES = {
    "sqlite": {"blob": "BLOB", "double": "DOUBLE"},
    "postgresql": {"blob": "BYTEA", "double": "DOUBLE PRECISION"},
}


def migrate(connection: Connection) -> int:
    """Bring the database to the newest version; ``connection`` is in a transaction that holds the write lock.

    Returns how many migrations were run. Raises ConfigError if the database is of a newer program.
    """
    connection.execute(text("CREATE TABLE IF NOT EXISTS quotehelper_schema (number INTEGER NOT NULL PRIMARY KEY)"))
    done = connection.execute(select(version.c.number)).scalars().all()
    have = max(done, default=0)
    if have > len(MIGRATIONS):
        problem = f"The database is of version {have}, this program knows {len(MIGRATIONS)}"
        raise ConfigError(problem, "Use the newer quotehelper that made it, or another database")
    types = _TYPES[connection.dialect.name]
    for number in range(have + 1, len(MIGRATIONS) + 1):
        for statement in MIGRATIONS[number - 1]:
            connection.execute(text(statement.format(**types)))
        connection.execute(version.insert().values(number=number))
    return len(MIGRATIONS) - have
