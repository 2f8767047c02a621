"""The store: proven documents, platforms and their certificates, in an SQL database. Shell (needs SQLAlchemy).

Only what `proof` returned is put here. Nothing older replaces what is kept. Every method is one transaction, may be
called from any thread, and raises SourceError (STORE) if the database can't be used.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from quotehelper.collateral.catalog import (
    Document,
    Key,
    Kind,
    PckCertificate,
    PckSet,
    Platform,
    PlatformId,
    RawTcb,
    Registration,
)
from quotehelper.collateral.database import Database, sa
from quotehelper.collateral.schema import certificates, decisions, documents, migrate, platforms, refreshes
from quotehelper.collateral.schema import registrations as queue
from quotehelper.errors import SourceCause, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Row, Table

REGISTERED, NOT_AVAILABLE = "reg", "reg_na"
"""The queues of registrations: those to be certified, and those for whom a certificate was not available."""


class Holding(NamedTuple):
    """What can be told of a document without its content."""

    key: Key
    number: int
    issued_at: dt.datetime
    next_update: dt.datetime
    stored_at: dt.datetime


class PckAnswer(NamedTuple):
    """The certificate that was chosen for a raw TCB, and what goes with it."""

    pem: bytes
    tcbm: str
    fmspc: str
    ca: str
    chain: bytes


class Store:
    """The store in the database at ``url``, its schema brought up to date.

    Raises ConfigError if ``url`` is none, or the database of a newer program; SourceError if it can't be reached.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self.name = self._database.name
        try:
            with self._database.write() as connection:
                self.migrations_run = migrate(connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    # documents

    def get(self, key: Key) -> Document | None:
        """The document called ``key``."""
        with self._database.read() as connection:
            return _get(connection, key)

    def put(self, document: Document, now: dt.datetime) -> bool:
        """Keep ``document``, which is proven. Returns whether it is another than before.

        Raises SourceError (OLDER) if what is kept is newer; then that stays.
        """
        return self.put_all([document], now) == 1

    def put_all(self, new: Iterable[Document], now: dt.datetime) -> int:
        """Keep all of ``new``, or none. Returns how many are others than before. Raises as ``put``."""
        changed = 0
        with self._database.write() as connection:
            for document in new:
                kept = _get(connection, document.key)
                if kept is not None and document.is_older_than(kept):
                    detail = (
                        f"number {document.number} of {document.issued_at:%Y-%m-%d %H:%M} was offered, "
                        f"{kept.number} of {kept.issued_at:%Y-%m-%d %H:%M} is kept"
                    )
                    raise SourceError(SourceCause.OLDER, str(document.key), detail)
                changed += kept is None or kept.body != document.body
                _put_row(connection, documents, _key(document.key), _document_values(document, now))
        return changed

    def holdings(self) -> list[Holding]:
        """What is kept, in order of its keys."""
        columns = documents.c
        wanted = sa.select(
            columns.kind,
            columns.subject,
            columns.api_version,
            columns.update_type,
            columns.number,
            columns.issued_at_ms,
            columns.next_update_ms,
            columns.stored_at_ms,
        ).order_by(columns.kind, columns.subject, columns.api_version, columns.update_type)
        with self._database.read() as connection:
            rows = connection.execute(wanted).all()
        return [Holding(Key(Kind(r[0]), r[1], r[2], r[3]), r[4], *(_time(ms) for ms in r[5:8])) for r in rows]

    def all_documents(self, kind: Kind) -> list[Document]:
        """All documents of ``kind``."""
        wanted = documents.select().where(documents.c.kind == kind).order_by(documents.c.subject)
        with self._database.read() as connection:
            return [_document(row) for row in connection.execute(wanted)]

    # platforms

    def platform(self, name: PlatformId) -> Platform | None:
        """The platform called ``name``, if its certificates are kept."""
        with self._database.read() as connection:
            row = connection.execute(platforms.select().where(*_is(platforms, name))).first()
        return None if row is None else _platform(row)

    def platforms(self, fmspcs: Sequence[str] = ()) -> list[Platform]:
        """The platforms of ``fmspcs``, all of them if it is empty."""
        wanted = platforms.select().order_by(platforms.c.qe_id, platforms.c.pce_id)
        if fmspcs:
            wanted = wanted.where(platforms.c.fmspc.in_(fmspcs))
        with self._database.read() as connection:
            return [_platform(row) for row in connection.execute(wanted)]

    def find_platform(self, enc_ppid: str, manifest: str, pce_id: str) -> PlatformId | None:
        """The platform that registered with this manifest, or else with this encrypted PPID, to the letter."""
        if not manifest and not enc_ppid.strip("0"):
            return None
        same = platforms.c.manifest == manifest if manifest else platforms.c.enc_ppid == enc_ppid
        wanted = platforms.select().where(same, platforms.c.pce_id == pce_id)
        with self._database.read() as connection:
            row = connection.execute(wanted).first()
        return None if row is None else PlatformId(row.qe_id, row.pce_id)

    def raw_tcbs(self, name: PlatformId) -> list[RawTcb]:
        """The raw TCBs for which certificates of the platform were chosen."""
        wanted = sa.select(decisions.c.cpu_svn, decisions.c.pce_svn).where(*_is(decisions, name))
        with self._database.read() as connection:
            return [RawTcb(*row) for row in connection.execute(wanted)]

    def pck_set(self, name: PlatformId) -> PckSet:
        """All that is kept of the platform's certificates."""
        known = platforms.c.qe_id == certificates.c.qe_id, platforms.c.pce_id == certificates.c.pce_id
        wanted = (
            sa.select(certificates.c.tcbm, certificates.c.pem, certificates.c.ppid, platforms.c.fmspc, platforms.c.ca)
            .join(platforms, sa.and_(*known))
            .where(*_is(certificates, name))
            .order_by(certificates.c.tcbm.desc())
        )
        with self._database.read() as connection:
            rows = connection.execute(wanted).all()
        kept = tuple(
            PckCertificate(r.pem, RawTcb(r.tcbm[:32], r.tcbm[32:]), r.fmspc, name.pce_id, r.ca, r.ppid)
            for r in rows
            if r.pem is not None
        )
        return PckSet(kept, tuple(row.tcbm for row in rows if row.pem is None))

    def put_platform(self, registration: Registration, pck_set: PckSet) -> None:
        """Keep one platform (see `put_platforms`)."""
        self.put_platforms([(registration, pck_set)])

    def put_platforms(self, new: Iterable[tuple[Registration, PckSet]]) -> None:
        """Keep platforms with their certificates, which are proven, in place of those before; choose anew for all.

        A platform without certificates is not kept: each set must have one.
        """
        with self._database.write() as connection:
            for registration, pck_set in new:
                _put_platform(connection, registration, pck_set)

    def pck_answer(self, name: PlatformId, raw: RawTcb) -> PckAnswer | None:
        """The certificate that was chosen for the platform at ``raw``, if one was."""
        chain = sa.and_(documents.c.kind == Kind.PCK_CHAIN, documents.c.subject == platforms.c.ca)
        wanted = (
            sa.select(certificates.c.pem, certificates.c.tcbm, platforms.c.fmspc, platforms.c.ca, documents.c.body)
            .select_from(decisions)
            .join(platforms, _same(decisions, platforms))
            .join(certificates, sa.and_(_same(decisions, certificates), certificates.c.tcbm == decisions.c.tcbm))
            .join(documents, chain)
            .where(*_is(decisions, name), decisions.c.cpu_svn == raw.cpu_svn, decisions.c.pce_svn == raw.pce_svn)
        )
        with self._database.read() as connection:
            row = connection.execute(wanted).first()
        return None if row is None else PckAnswer(*row)

    def put_decision(self, name: PlatformId, raw: RawTcb, tcbm: str) -> None:
        """Keep that the certificate for ``tcbm`` was chosen for the platform at ``raw``."""
        self.put_decisions([(name, raw, tcbm)])

    def put_decisions(self, made: Iterable[tuple[PlatformId, RawTcb, str]]) -> None:
        """Keep several decisions."""
        with self._database.write() as connection:
            for name, raw, tcbm in made:
                _put_row(connection, decisions, {**name._asdict(), **raw._asdict()}, {"tcbm": tcbm})

    # registrations

    def enqueue(self, registration: Registration, name: str, now: dt.datetime) -> None:
        """Have ``registration`` wait in the queue ``name`` for an administrator."""
        raw = registration.raw or RawTcb("", "")
        values = {
            **raw._asdict(),
            "enc_ppid": registration.enc_ppid,
            "manifest": registration.manifest,
            "stored_at_ms": _ms(now),
        }
        with self._database.write() as connection:
            _put_row(connection, queue, {**registration.id._asdict(), "queue": name}, values)

    def dequeue(self, platform: PlatformId, name: str) -> None:
        """Take the platform out of the queue ``name``."""
        with self._database.write() as connection:
            connection.execute(queue.delete().where(*_is(queue, platform), queue.c.queue == name))

    def queued(self, name: str, *, take: bool = False) -> list[Registration]:
        """The registrations in the queue ``name``, the longest waiting first; with ``take`` it is then empty."""
        wanted = queue.select().where(queue.c.queue == name).order_by(queue.c.stored_at_ms, queue.c.qe_id)
        with self._database.write() if take else self._database.read() as connection:
            waiting = [_registration(row) for row in connection.execute(wanted)]
            if take:
                connection.execute(queue.delete().where(queue.c.queue == name))
        return waiting

    # refreshes

    def turn(self, patience_s: float) -> AbstractContextManager[None]:
        """The turn to refresh among all processes that use the database; raises SourceError after ``patience_s``."""
        return self._database.turn(patience_s)

    def refreshed_at(self, what: str) -> float:
        """When ``what`` was refreshed last, in seconds since the epoch; 0 if never."""
        with self._database.read() as connection:
            at = connection.execute(sa.select(refreshes.c.finished_at).where(refreshes.c.what == what)).scalar()
        return 0.0 if at is None else float(at)

    def note_refresh(self, what: str, finished_at: float, outcome: str) -> None:
        """Remember when ``what`` was refreshed, and how that went."""
        with self._database.write() as connection:
            _put_row(connection, refreshes, {"what": what}, {"finished_at": finished_at, "outcome": outcome})


def _get(connection: Connection, key: Key) -> Document | None:
    row = connection.execute(documents.select().where(*_where(documents, _key(key)))).first()
    return None if row is None else _document(row)


def _put_platform(connection: Connection, registration: Registration, pck_set: PckSet) -> None:
    name, first = registration.id, pck_set.certificates[0]
    values = {
        "enc_ppid": registration.enc_ppid,
        "manifest": registration.manifest,
        "fmspc": first.fmspc,
        "ca": first.ca,
    }
    rows: list[dict[str, Any]] = [
        {**name._asdict(), "tcbm": c.tcb.tcbm, "pem": c.pem, "ppid": c.ppid} for c in pck_set.certificates
    ]
    rows += [{**name._asdict(), "tcbm": tcbm, "pem": None, "ppid": None} for tcbm in pck_set.not_available]
    _put_row(connection, platforms, name._asdict(), values)
    for table in (certificates, decisions):
        connection.execute(table.delete().where(*_is(table, name)))
    connection.execute(certificates.insert(), rows)


def _put_row(connection: Connection, table: Table, key: dict[str, Any], values: dict[str, Any]) -> None:
    """Write the row called ``key``; the write lock makes update-or-insert safe on every database."""
    updated = connection.execute(table.update().where(*_where(table, key)).values(values))
    if updated.rowcount == 0:
        connection.execute(table.insert().values({**key, **values}))


def _where(table: Table, key: dict[str, Any]) -> list[Any]:
    return [table.c[name] == value for name, value in key.items()]


def _is(table: Table, name: PlatformId) -> list[Any]:
    return _where(table, name._asdict())


def _same(one: Table, other: Table) -> Any:  # noqa: ANN401  an SQL expression
    return sa.and_(one.c.qe_id == other.c.qe_id, one.c.pce_id == other.c.pce_id)


def _key(key: Key) -> dict[str, Any]:
    return {
        "kind": key.kind.value,
        "subject": key.subject,
        "api_version": key.version,
        "update_type": key.update,
    }


def _document_values(document: Document, now: dt.datetime) -> dict[str, Any]:
    return {
        "body": document.body,
        "issuer_chain": document.issuer_chain,
        "number": document.number,
        "issued_at_ms": _ms(document.issued_at),
        "next_update_ms": _ms(document.next_update),
        "stored_at_ms": _ms(now),
    }


def _document(row: Row[Any]) -> Document:
    key = Key(Kind(row.kind), row.subject, row.api_version, row.update_type)
    times = _time(row.issued_at_ms), _time(row.next_update_ms)
    return Document(key, bytes(row.body), bytes(row.issuer_chain), row.number, *times)


def _platform(row: Row[Any]) -> Platform:
    registration = Registration(PlatformId(row.qe_id, row.pce_id), None, row.enc_ppid, row.manifest)
    return Platform(registration, row.fmspc, row.ca)


def _registration(row: Row[Any]) -> Registration:
    registration = Registration(PlatformId(row.qe_id, row.pce_id), None, row.enc_ppid, row.manifest)
    return replace(registration, raw=RawTcb(row.cpu_svn, row.pce_svn)) if row.cpu_svn else registration


def _ms(moment: dt.datetime) -> int:
    return round(moment.timestamp() * 1000)


def _time(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC)
