"""Real signed documents, as Intel served them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.fixture(scope="session")
def tcb_info_text() -> bytes:
    """A TCB info, version 3, of Intel's."""
    return (VECTORS / "quotes" / "v01-configandsw-processor-v3" / "tcb_info.json").read_bytes()


@pytest.fixture(scope="session")
def qe_identity_text() -> bytes:
    """A QE identity of Intel's."""
    return (VECTORS / "quotes" / "v01-configandsw-processor-v3" / "qe_identity.json").read_bytes()


@pytest.fixture(scope="session", params=sorted(path.name for path in (VECTORS / "pcs").glob("sgx_*.json")))
def served_text(request: pytest.FixtureRequest) -> bytes:
    """Each signed document that was recorded from Intel's service, as it was served."""
    recorded = json.loads((VECTORS / "pcs" / request.param).read_bytes())
    (text,) = (value for name, value in recorded.items() if name.endswith("_json"))
    return str(text).encode()
