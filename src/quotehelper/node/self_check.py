"""A real quote, made by the daemon and judged on this machine. Shell (the daemon's socket, the state, the clock).

As a client of the daemon's own socket, so that everything between a client and the platform is on trial: socket, loop,
service, platform. Judged are the quote's bytes and every signature in it up to the root; what needs collateral, TCB
level and revocation, is not: that would make health depend on a network.

A report can be made only by an enclave. The simulated platform can play one; elsewhere the check ends with the target
info, which shows that the key is ready.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.aesm.status import AesmStatus
from quotehelper.documents import pck
from quotehelper.documents.der import encode_ecdsa_signature
from quotehelper.errors import CryptoError, DaemonError, QuoteHelperError
from quotehelper.node.health import Finding
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load_cpu, read_chain
from quotehelper.sgx.key_id import QeReportInfo
from quotehelper.sgx.quote import read_quote
from quotehelper.sgx.report import AttributeFlags, Attributes
from quotehelper.verification.chains import signature_holds, verify_pck_chain
from quotehelper.verification.quoting_enclave import public_key
from quotehelper.verification.roots import Roots
from quotehelper.verification.semantics import INTEL

if TYPE_CHECKING:
    from pathlib import Path

    from quotehelper.aesm.async_client import AsyncAesmClient
    from quotehelper.aesm.conversation import QuoteReply, QuotingEnclave
    from quotehelper.platforms.simulated.cpu import Enclave
    from quotehelper.sgx.report import Report

_REMEDY = "See the daemon's log, and quotehelper verify for a quote of its"
_NONCE_SIZE = 16


class Examiner(NamedTuple):
    """An enclave that can be played on the daemon's platform, and the roots that its certificates must lead to."""

    enclave: Enclave
    roots: Roots


def simulated_examiner(state: Path) -> Examiner:
    """An enclave on the simulated platform in ``state``, whose own chain names the root.

    Raises ConfigError if ``state`` can't be used, DecodeError if its chain can't be read.
    """
    attributes = Attributes.build(flags=AttributeFlags.INIT | AttributeFlags.MODE64BIT, xfrm=3)
    enclave = load_cpu(state).load(EnclaveIdentity(b"\xc4" * 32, b"\x5e" * 32, attributes))
    return Examiner(enclave, Roots.insecure_simulated(pck.read_chain(read_chain(state)).root.pem()))


async def check(client: AsyncAesmClient, examiner: Examiner | None) -> Finding:
    """What a client finds that asks the daemon for a quote as Intel's library does. Never raises for what it finds."""
    began = time.monotonic()
    try:
        expires, quote = await _ask_and_judge(client, examiner)
    except DaemonError as error:
        decided = error.status not in {AesmStatus.BUSY, AesmStatus.SERVICE_STOPPED}
        return Finding(time.monotonic(), f"{error}", _REMEDY, decided=decided)
    except QuoteHelperError as error:
        return Finding(time.monotonic(), f"{error}", _REMEDY)
    now = time.monotonic()
    if expires is not None and expires <= dt.datetime.now(dt.UTC):
        problem = f"A certificate of the platform has expired on {expires:%Y-%m-%d}: verifiers refuse its quotes"
        return Finding(now, problem, "Provision the platform again", seconds=now - began, expires=expires, quote=quote)
    return Finding(now, seconds=now - began, expires=expires, quote=quote)


async def _ask_and_judge(client: AsyncAesmClient, examiner: Examiner | None) -> tuple[dt.datetime | None, bytes]:
    """When the first certificate behind the quote expires, and the quote; None and nothing if none can be asked for."""
    key = await client.select_key_id()
    quoting = await client.init_quote(key)
    if examiner is None:
        return None, b""
    nonce = os.urandom(_NONCE_SIZE)
    report = examiner.enclave.report(quoting.target_info, hashlib.sha512(nonce).digest())
    info = QeReportInfo.build(nonce=nonce, app_enclave_target_info=examiner.enclave.target)
    reply = await client.quote(report, key, None, info)
    return judge(reply, report, quoting, nonce, examiner), reply.quote


def judge(reply: QuoteReply, report: Report, quoting: QuotingEnclave, nonce: bytes, examiner: Examiner) -> dt.datetime:
    """When the first certificate behind a quote expires, if all holds that needs no collateral.

    ``reply`` was given for ``report`` and ``nonce`` by who said it is ``quoting``. Raises CryptoError that names what
    does not hold, VerificationError for the chain, DecodeError if the quote can't be read.
    """
    quote = read_quote(reply.quote)
    chain = verify_pck_chain(quote.certification.pem_chain(), examiner.roots, INTEL)
    key_id = hashlib.sha256(quote.attestation_key + quote.auth_data).digest()
    answer = reply.qe_report_info
    over_quote = hashlib.sha256(nonce + reply.quote).digest() + bytes(32)
    holds = {
        "the quote is over the report that was sent": quote.body == report.body,
        "the quoting enclave is the one that was announced": quote.qe_report.mr_enclave
        == quoting.target_info.mr_enclave,
        "the attestation key is the one that was announced": key_id == quoting.public_key_id,
        "the quoting enclave vouches for the attestation key": quote.qe_report.report_data[:32] == key_id,
        "the platform's certified key has signed for the quoting enclave": signature_holds(
            chain.pck, encode_ecdsa_signature(quote.qe_report_signature), quote.qe_report.raw
        ),
        "the attestation key has signed the quote": signature_holds(
            public_key(quote.attestation_key), encode_ecdsa_signature(quote.signature), quote.signed
        ),
        "the quoting enclave reports over nonce and quote": answer is not None
        and examiner.enclave.verify_report(answer.qe_report)
        and answer.qe_report.body.report_data == over_quote,
    }
    for claim, is_true in holds.items():
        if not is_true:
            raise CryptoError(f"Self-check: it does not hold that {claim}")
    return min(certificate.not_after for certificate in (chain.leaf, chain.intermediate, chain.root))
