"""Random and mutated bytes into every parser of evidence, and into verification: a value or a deliberate error.

``QUOTEHELPER_FUZZ_DOCUMENTS`` sets how many (200,000 in CI); the seed is fixed, so that a failure comes again.
"""

from __future__ import annotations

import os
import random
import tracemalloc
from typing import TYPE_CHECKING, NamedTuple

import pytest

from evidence import RECORDED, Case, evidence, recorded
from harness import VECTORS
from quotehelper.documents.collateral import encode_collateral, parse_collateral
from quotehelper.documents.pck import read_certificate, read_chain, read_crl
from quotehelper.documents.qe_identity import parse_enclave_identity
from quotehelper.documents.sgx_extension import encode_sgx_extension, read_sgx_extension
from quotehelper.documents.signed_json import compact, split_signed
from quotehelper.documents.tcb_info import parse_tcb_info
from quotehelper.errors import DecodeError, VerificationError
from quotehelper.sgx.quote import read_quote
from quotehelper.verification.roots import Roots
from quotehelper.verification.semantics import INTEL, STRICT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from quotehelper.verification.semantics import Semantics

INPUTS = int(os.environ.get("QUOTEHELPER_FUZZ_DOCUMENTS", "20000"))
SEED = 20261125
TOKENS = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\\",
    b"1e9",
    b"-1",
    b"null",
    b"\xff",
    b"\0",
    b"9" * 40,
    b"\\u0000",
)


class Parser(NamedTuple):
    """A boundary: what is called, and good inputs to start from."""

    parse: Callable[[bytes], object]
    seeds: Sequence[bytes]


CASES = [recorded(name) for name in RECORDED[::3]]
"""Some of each kind: processor and platform CA, TCB info of both versions."""


def inner(document: str, name: str) -> list[bytes]:
    return [split_signed(getattr(case.collateral, document), name).body for case in CASES]


def parsers() -> dict[str, Parser]:
    chains = [case.collateral.tcb_info_issuer_chain for case in CASES]
    certificates = [certificate.der for chain in chains for certificate in read_chain(chain).certificates]
    leaves = [read_chain(case.collateral.pck_chain or b"").leaf for case in CASES[:3]]
    malformed = [path.read_bytes() for path in sorted((VECTORS / "malformed").rglob("*.json"))]
    documents = [case.collateral.tcb_info for case in CASES] + malformed
    return {
        "quote": Parser(read_quote, [case.quote for case in CASES]),
        "chain": Parser(read_chain, [*chains, *(case.collateral.pck_chain or b"" for case in CASES)]),
        "certificate": Parser(read_certificate, certificates + [leaf.der for leaf in leaves]),
        "CRL": Parser(read_crl, [crl for c in CASES for crl in (c.collateral.pck_crl, c.collateral.root_ca_crl)]),
        "SGX extension": Parser(read_sgx_extension, [encode_sgx_extension(leaf.sgx_extension) for leaf in leaves]),
        "signed document": Parser(lambda raw: split_signed(raw, "tcbInfo"), documents),
        "compact text": Parser(compact, documents),
        "TCB info": Parser(parse_tcb_info, inner("tcb_info", "tcbInfo")),
        "QE identity": Parser(parse_enclave_identity, inner("qe_identity", "enclaveIdentity")),
        "collateral": Parser(parse_collateral, [encode_collateral(case.collateral) for case in CASES[:3]]),
        "roots": Parser(Roots.insecure, [case.root for case in CASES]),
        "simulated roots": Parser(Roots.insecure_simulated, [evidence().case().root, CASES[0].root]),
    }


PARSERS = parsers()


def mutations(seeds: Sequence[bytes], rng: random.Random) -> Iterator[bytes]:
    """Inputs without end: the good ones, mutated in every way that bytes can be."""
    while True:
        raw = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((1, 1, 1, 2, 8))):
            at = rng.randrange(len(raw) + 1)
            match rng.randrange(8):
                case 0 | 1 if at < len(raw):
                    raw[at] ^= 1 << rng.randrange(8)
                case 2:
                    raw[at:at] = rng.choice(TOKENS)
                case 3:
                    del raw[at : at + rng.randrange(1, 9)]
                case 4:
                    del raw[at:]
                case 5:
                    end = at + rng.randrange(64)
                    raw[at:at] = raw[at:end]
                case 6:
                    other = rng.choice(seeds)
                    raw[at : at + 32] = other[at : at + 32]
                case _ if at < len(raw):
                    raw[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x30, 0x22))
                case _:
                    raw = bytearray(rng.randbytes(rng.randrange(200)))
        yield bytes(raw)


@pytest.mark.parametrize("name", PARSERS)
def test_any_bytes_into_a_parser_give_a_value_or_a_decode_error(name: str) -> None:
    parser, rng = PARSERS[name], random.Random(f"{SEED} {name}")  # noqa: S311  not for secrets
    stream = mutations(parser.seeds, rng)
    for _ in range(INPUTS // len(PARSERS)):
        raw = next(stream)
        try:
            parser.parse(raw)
        except DecodeError:
            continue
        except Exception as error:  # noqa: BLE001  the claim is that none comes out
            pytest.fail(f"{name}: {raw.hex()} -> {error!r}")


def part_of(case: Case, name: str) -> bytes:
    found = case.quote if name == "quote" else getattr(case.collateral, name)
    assert isinstance(found, bytes)
    return found


def with_part(case: Case, name: str, raw: bytes) -> Case:
    if name == "quote":
        return case._replace(quote=raw)
    return case._replace(collateral=case.collateral._replace(**{name: raw}))


PARTS = (
    *("quote", "pck_chain", "pck_crl_issuer_chain", "root_ca_crl", "pck_crl"),
    *("tcb_info_issuer_chain", "tcb_info", "qe_identity_issuer_chain", "qe_identity"),
)


@pytest.mark.parametrize("semantics", [STRICT, INTEL], ids=lambda semantics: semantics.name)
@pytest.mark.parametrize("part", PARTS)
def test_any_bytes_among_the_evidence_give_facts_or_a_verification_error(part: str, semantics: Semantics) -> None:
    rng = random.Random(f"{SEED} {part}")  # noqa: S311  not for secrets
    cases = [evidence().case(), evidence("platform").case(), *CASES]
    stream = mutations([part_of(case, part) for case in cases], rng)
    for _ in range(max(20, INPUTS // 400)):
        case = with_part(rng.choice(cases), part, raw := next(stream))
        try:
            case.verify(semantics)
        except VerificationError:
            continue
        except Exception as error:  # noqa: BLE001  the claim is that none comes out
            pytest.fail(f"{part}: {raw.hex()} -> {error!r}")


@pytest.mark.parametrize("name", PARSERS)
def test_a_large_input_is_refused_before_it_costs_memory(name: str) -> None:
    for raw in (b"\x30\x84\x7f\xff\xff\xff" + bytes(1 << 20), b"[" * (1 << 20), b'{"tcbInfo":"' + b"\\" * (1 << 20)):
        tracemalloc.start()
        try:
            PARSERS[name].parse(raw)
        except DecodeError:
            pass
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < 24 << 20
