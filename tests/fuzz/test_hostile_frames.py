"""Random and mutated frames against a live daemon: each gets what the specification prescribes, or a close.

``QUOTEHELPER_FUZZ_FRAMES`` sets how many (200,000 in CI); the seed is fixed, so that a failure comes again.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import frames
from harness import VECTORS, Daemon
from prescribed import KNOWN, exchange_all, is_prescribed

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAMES = int(os.environ.get("QUOTEHELPER_FUZZ_FRAMES", "20000"))
SEED = 20261124
AT_ONCE = 64


def mutations(report_frame: bytes) -> Iterator[bytes]:
    """Frames without end: recorded and built ones, mutated in every way that bytes can be."""
    rng = random.Random(SEED)  # noqa: S311  not for secrets
    seeds = [path.read_bytes() for path in sorted((VECTORS / "frames").glob("*/*.req"))]
    seeds += [report_frame, *(frames.message(field) for field in KNOWN)]
    while True:
        frame = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((0, 1, 1, 1, 2, 8))):
            at = rng.randrange(len(frame) + 1)
            match rng.randrange(7):
                case 0 if at < len(frame):
                    frame[at] ^= 1 << rng.randrange(8)
                case 1:
                    frame[at:at] = rng.randbytes(rng.randrange(1, 5))
                case 2:
                    del frame[at : at + rng.randrange(1, 9)]
                case 3:
                    del frame[at:]
                case 4:
                    other = rng.choice(seeds)
                    frame += other[4:]
                case 5 if at < len(frame):
                    frame[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
                case _:
                    frame = bytearray(rng.randbytes(rng.randrange(200)))
        if rng.random() < 0.8:  # most with a length that fits, or few would get past it
            frame[:4] = max(0, len(frame) - 4).to_bytes(4, "little")
        yield bytes(frame)


def test_hostile_frames_get_the_prescribed_answer_or_a_close_and_cost_no_memory(
    daemon: Daemon, report_frame: bytes
) -> None:
    stream = mutations(report_frame)
    before = 0
    outcomes = {"answered": 0, "closed": 0}
    for sent in range(0, FRAMES, AT_ONCE):
        requests = [next(stream) for _ in range(AT_ONCE)]
        for request, answer in zip(requests, exchange_all(daemon, requests), strict=True):
            outcomes["answered" if answer else "closed"] += 1
            first = answer[: 4 + int.from_bytes(answer[:4], "little")]
            assert not answer or is_prescribed(request, first), f"{request.hex()} -> {answer.hex()}"
        if sent % 4096 == 0:
            assert frames.reply(daemon.exchange(report_frame))[1][1] == 0, "others go on being answered"
            before = before or daemon.resident_kib()
    assert min(outcomes.values()) > FRAMES / 10, f"the mutations are lopsided: {outcomes}"
    assert daemon.resident_kib() - before < 2048, "memory grew"
