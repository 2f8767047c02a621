"""How many files a process may have open. Shell."""

from __future__ import annotations


def raise_descriptor_limit() -> None:
    """Use all descriptors the system grants: the usual soft limit of 1,024 is less than ``limits.connections``."""
    import resource  # noqa: PLC0415  needed once

    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
