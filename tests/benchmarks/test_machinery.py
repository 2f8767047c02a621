from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cryptography.exceptions import InvalidSignature

from benchmarks.answers import check_answer
from benchmarks.document import replace_section
from benchmarks.figures import Figure, Target
from benchmarks.limits import beside_signing, cryptography_sign_s, openssl_sign_s
from benchmarks.rig import BenchError
from benchmarks.run import GROUPS
from benchmarks.verification import QUOTES, make_evidence
from benchmarks.workload import request_frames
from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.sgx.quote import read_quote
from quotehelper.verification.roots import Roots
from quotehelper.verification.verify import verify

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from harness import Daemon

    Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("group", [group for group in GROUPS if group != "peers"])
def test_every_group_of_figures_can_be_measured(benchmark_module: Run, state: Path, tmp_path: Path, group: str) -> None:
    out = tmp_path / "bench.json"
    done = benchmark_module("run", "--scale", "tiny", "--state", str(state), "--only", group, "--out", str(out))
    figures = json.loads(out.read_text())["figures"]
    assert figures
    assert all(figure["figure"] in done.stdout for figure in figures)


def test_a_peer_without_a_socket_is_refused(benchmark_module: Run, tmp_path: Path) -> None:
    done = benchmark_module("run", "--only", "peers", "--peer", f"intel={tmp_path}/none", check=False)
    assert done.returncode == 1
    assert "give a name and the path of a socket" in done.stderr


def test_another_daemon_is_compared_as_a_peer(
    benchmark_module: Run, state: Path, daemon: Daemon, tmp_path: Path
) -> None:
    out = tmp_path / "bench.json"
    options = ("--scale", "tiny", "--state", str(state), "--only", "peers", "--out", str(out))
    benchmark_module("run", *options, "--peer", f"twin={daemon.path}")
    names = [figure["figure"] for figure in json.loads(out.read_text())["figures"]]
    assert names[0] == "quote requests against twin, 64 clients"
    assert len(names) == 6


def test_the_tables_replace_those_in_the_document(benchmark_module: Run, state: Path, tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    sections = "".join(
        f"<!-- {name}: begin -->\nearlier table\n<!-- {name}: end -->\nkept\n" for name in ("figures", "profile")
    )
    document.write_text(sections)
    place = ("--state", str(state), "--docs", str(document))
    benchmark_module("run", "--scale", "tiny", "--only", "start", "--out", str(tmp_path / "bench.json"), *place)
    benchmark_module("profile_quote", "--quotes", "500", *place)
    text = document.read_text()
    assert "| start to first quote, whole daemon | ≤ 0.5 s |" in text
    assert "| platform.quote() |" in text
    assert text.count("kept") == 2
    assert "earlier table" not in text


def test_a_group_with_a_section_of_its_own_leaves_the_others_alone(
    benchmark_module: Run, state: Path, tmp_path: Path
) -> None:
    document = tmp_path / "performance.md"
    names = ("figures", "verification")
    document.write_text("".join(f"<!-- {name}: begin -->\nearlier {name}\n<!-- {name}: end -->\n" for name in names))
    options = ("--scale", "tiny", "--only", "verification", "--out", str(tmp_path / "bench.json"))
    benchmark_module("run", *options, "--state", str(state), "--docs", str(document))
    assert "earlier figures" in document.read_text()
    assert "earlier verification" not in document.read_text()
    assert "| verification, repeat platform | ≥ 0.7 of V |" in document.read_text()


def test_the_evidence_that_is_measured_is_genuine_and_all_different(state: Path) -> None:
    evidence = make_evidence(state)
    roots = Roots.insecure_simulated(evidence.root)
    for quotes in (evidence.one_enclave, evidence.many_enclaves):
        assert len(set(quotes)) == len(quotes) == QUOTES
        for quote in quotes:
            assert verify(quote, evidence.collateral, roots=roots, at=evidence.at).status is TcbStatus.UP_TO_DATE
    keys = {read_quote(quote).attestation_key for quote in evidence.many_enclaves}
    assert len(keys) == QUOTES
    assert len({read_quote(quote).attestation_key for quote in evidence.one_enclave}) == 1


def test_a_document_without_the_section_is_refused(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("nothing\n")
    with pytest.raises(BenchError, match="has no section <!-- figures: begin -->"):
        replace_section(document, "figures", "table")


def test_a_quote_that_is_not_over_the_report_is_noticed(state: Path, daemon: Daemon) -> None:
    frame = request_frames(str(daemon.path), state)["quote"]
    reply = daemon.exchange(frame)
    check_answer("quote", frame, reply)
    at = frame.index(b"\xe1" * 32)
    with pytest.raises(BenchError, match="another report"):
        check_answer("quote", frame[:at] + b"\xe2" + frame[at + 1 :], reply)


def test_a_quote_with_a_wrong_signature_is_noticed(state: Path, daemon: Daemon) -> None:
    frame = request_frames(str(daemon.path), state)["quote"]
    reply = bytearray(daemon.exchange(frame))
    signature = reply.index(frame[11 : 11 + 384]) + 384 + 4
    reply[signature + 40] ^= 1
    with pytest.raises(InvalidSignature):
        check_answer("quote", frame, bytes(reply))


def test_an_error_status_is_noticed(daemon: Daemon, state: Path) -> None:
    frame = request_frames(str(daemon.path), state)["quote"]
    refused = frame[:100] + bytes([frame[100] ^ 1]) + frame[101:]
    with pytest.raises(BenchError, match="status 47"):
        check_answer("quote", refused, daemon.exchange(refused))


def test_a_target_judges_from_its_side() -> None:
    assert Target("≥", 0.55).is_met(0.55)
    assert not Target("≥", 0.55).is_met(0.54)
    assert Target("≤", 0).is_met(0)
    assert not Target("≤", 0).is_met(1)
    assert Figure("f", Target("≤", 5, "times idle"), 6, "", {}).as_json()["target"] == "≤ 5 times idle"


def test_the_signing_limit_is_measured_around_a_run() -> None:
    sign_s, result = beside_signing(lambda: "result", 0.01)
    assert result == "result"
    assert 1e-6 < sign_s < 1e-2
    assert 1e-6 < cryptography_sign_s(0.01) < 1e-2
    assert openssl_sign_s(0.01) > 0
