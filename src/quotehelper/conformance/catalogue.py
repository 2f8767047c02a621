"""The conformance list: every check there is, in the order in which they are run. Pure.

What may harm a daemon that does not keep the rules comes last. docs/conformance.md shows the list; a test compares
the two.
"""

from __future__ import annotations

from quotehelper.conformance import (
    client_sequences,
    framing,
    initialising,
    keys,
    neighbours,
    quoting,
    retired_requests,
)

CHECKS = (
    *initialising.CHECKS,
    *keys.CHECKS,
    *quoting.CHECKS,
    *framing.CHECKS,
    *client_sequences.CHECKS,
    *retired_requests.CHECKS,
    *neighbours.CHECKS,
)
"""Each with an id of its own. The first asks for a size before anything else has initialised the key."""
