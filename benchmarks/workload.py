"""What is asked of the daemons that are measured: the requests of Intel's client, one frame of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.aesm.client import AesmClient
from quotehelper.aesm.messages import encode_request
from quotehelper.cli.bench import KINDS, play_enclave, request_of_kind

if TYPE_CHECKING:
    from pathlib import Path


def request_frames(socket: str, state: Path) -> dict[str, bytes]:
    """A frame of each kind that the daemon at ``socket``, on the simulated platform in ``state``, answers with 0."""
    client, make_report = AesmClient(socket), play_enclave(state)
    return {kind: encode_request(request_of_kind(kind, client, make_report)) for kind in KINDS}
