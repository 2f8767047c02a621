"""Verifications a second: with nothing known, with the chains known, with the platform known; dcap-qvl beside.

The limit is V: P-256 verifications a second of the `cryptography` library with one key, in the same run. A quote of a
known platform takes one of them, a quote by a quoting enclave that has not been met takes two. Everything runs in one
thread, and processor time is counted.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import dcap_qvl
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from benchmarks.figures import Figure, Target, middle, spread
from benchmarks.limits import SIGNED_SIZE
from quotehelper.documents.collateral import Collateral, encode_collateral, from_files
from quotehelper.platforms.simulated.enclaves import AUTH_DATA, encode_point, encode_signature, qe3_identity
from quotehelper.platforms.simulated.provisioning import export_collateral
from quotehelper.platforms.simulated.state import read_whole
from quotehelper.sgx.quote import (
    ECDSA_P256_KEY_TYPE,
    INTEL_QE_VENDOR_ID,
    CertificationData,
    CertificationType,
    Quote,
    QuoteHeader,
)
from quotehelper.sgx.report import AttributeFlags, Attributes, ReportBody
from quotehelper.verification.roots import Roots
from quotehelper.verification.verify import Verifier, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.figures import Plan

QUOTES = 64
"""Different quotes of a kind: more than a verifier here remembers quoting enclaves, where it is to meet new ones."""


class Evidence(NamedTuple):
    """What there is to verify. ``one_enclave``: quotes by one quoting enclave; ``many``: each by another one."""

    one_enclave: list[bytes]
    many_enclaves: list[bytes]
    collateral: Collateral
    root: bytes
    """PEM."""
    at: dt.datetime


class Slice(NamedTuple):
    """Verifications a second of processor time, all measured within one slice of time."""

    limit: float
    repeat_platform: float
    warm_chains: float
    cold: float
    dcap_qvl: float


def verification(plan: Plan) -> Iterator[Figure]:
    """Verifications a second, as shares of V and beside dcap-qvl, measured turn about."""
    evidence = make_evidence(plan.state)
    slices = [_slice(evidence, plan.scale.slice_s / 5) for _ in range(plan.scale.slices)]
    yield _figure("verification, repeat platform", Target("≥", 0.7, "of V"), slices, "repeat_platform", "limit", 1)
    yield _figure("verification, warm chains", Target("≥", 0.75, "of V / 2"), slices, "warm_chains", "limit", 2)
    beside = "warm_chains", "dcap_qvl", 1
    yield _figure("verification, warm chains, beside dcap-qvl", Target("≥", 4, "times dcap-qvl"), slices, *beside)
    beside = "cold", "dcap_qvl", 1
    yield _figure("verification, cold, beside dcap-qvl", Target("≥", 0.1, "times dcap-qvl"), slices, *beside)


def make_evidence(state_directory: Path) -> Evidence:
    """Quotes by the simulated platform in ``state_directory``, and fresh collateral for them."""
    now = dt.datetime.now(dt.UTC)
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "collateral"
        export_collateral(state_directory, out, now)
        files = {path.name: path.read_bytes() for path in (out / "case").iterdir()}
    first, *others = (_enclave(state_directory) for _ in range(QUOTES))
    return Evidence(
        one_enclave=[first(number) for number in range(QUOTES)],
        many_enclaves=[first(0), *(enclave(0) for enclave in others)],
        collateral=from_files(files),
        root=files["trusted_root.pem"],
        at=now + dt.timedelta(minutes=1),
    )


def _enclave(state_directory: Path) -> Callable[[int], bytes]:
    """A quoting enclave with a key of its own, certified by the platform's PCE: makes quotes over a number."""
    state, chain = read_whole(state_directory)
    cpu, pce = state.cpu(), state.provisioning_enclave()
    key = ec.generate_private_key(ec.SECP256R1())
    point = encode_point(key.public_key())
    bound = hashlib.sha256(point + AUTH_DATA).digest() + bytes(32)
    report = cpu.load(qe3_identity(*state.qe)).report(pce.target, bound)
    certified = pce.certify(report, state.pck_tcb)
    header = QuoteHeader.build(
        version=3, att_key_type=ECDSA_P256_KEY_TYPE, qe_vendor_id=INTEL_QE_VENDOR_ID, qe_svn=state.qe.isv_svn
    )
    attributes = Attributes.build(flags=AttributeFlags.INIT | AttributeFlags.MODE64BIT, xfrm=7)
    certification = CertificationData(CertificationType.PCK_CHAIN, chain)

    def quote(number: int) -> bytes:
        body = ReportBody.build(attributes=attributes, report_data=number.to_bytes(64, "little"))
        signature = encode_signature(key.sign(header.raw + body.raw, ec.ECDSA(SHA256())))
        return Quote(header, body, signature, point, report.body, certified, AUTH_DATA, certification).encode()

    return quote


def _slice(evidence: Evidence, seconds: float) -> Slice:
    roots, at = Roots.insecure_simulated(evidence.root), evidence.at
    repeat = Verifier(evidence.collateral, roots=roots)
    forgetful = Verifier(evidence.collateral, roots=roots, remembered=QUOTES // 4)
    documents = dcap_qvl.QuoteCollateralV3.from_json(encode_collateral(evidence.collateral).decode())
    root, unix = load_pem_x509_certificate(evidence.root).public_bytes(Encoding.DER), int(at.timestamp())
    key, message, algorithm = ec.generate_private_key(ec.SECP256R1()), bytes(SIGNED_SIZE), ec.ECDSA(SHA256())
    public, signature = key.public_key(), key.sign(message, algorithm)
    many = evidence.many_enclaves
    return Slice(
        limit=_rate(lambda _: public.verify(signature, message, algorithm), many, seconds),
        repeat_platform=_rate(lambda quote: repeat.verify(quote, at=at), evidence.one_enclave, seconds),
        warm_chains=_rate(lambda quote: forgetful.verify(quote, at=at), many, seconds),
        cold=_rate(lambda quote: verify(quote, evidence.collateral, roots=roots, at=at), many[:8], seconds),
        dcap_qvl=_rate(lambda quote: dcap_qvl.verify_with_root_ca(quote, documents, root, unix), many, seconds),
    )


def _rate(call: Callable[[bytes], object], quotes: Sequence[bytes], seconds: float) -> float:
    """Calls a second of processor time, over whole rounds of ``quotes``; a round before does not count."""
    for quote in quotes:
        call(quote)
    rounds, begin = 0, time.process_time()
    while (elapsed := time.process_time() - begin) < seconds or not rounds:
        for quote in quotes:
            call(quote)
        rounds += 1
    return rounds * len(quotes) / elapsed


def _figure(name: str, target: Target, slices: Sequence[Slice], measured: str, unit: str, verifications: int) -> Figure:
    rates = [getattr(each, measured) for each in slices]
    units = [getattr(each, unit) for each in slices]
    ratios = [rate * verifications / base for rate, base in zip(rates, units, strict=True)]
    value, called = middle(ratios), "V" if unit == "limit" else "dcap-qvl"
    told = f"{value:.2f}{spread(ratios)}: {middle(rates):,.0f}/s at {called} = {middle(units):,.0f}/s"
    return Figure(name, target, value, told, {"slices": [each._asdict() for each in slices]})
