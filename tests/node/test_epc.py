"""Enclave memory by a process's mappings, as the kernel writes them."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from quotehelper.node.epc import epc_mapped_by, sum_mapped

MAPS = """\
55d0c0a00000-55d0c0a02000 r--p 00000000 fd:01 1311 /usr/bin/python3.11
7f0000000000-7f0000100000 rw-s 00000000 00:05 412 /dev/sgx_enclave
7f0000100000-7f0000101000 r-xs 00000000 00:05 412 /dev/sgx/enclave
7f0000200000-7f0000300000 rw-s 00000000 00:05 413 /dev/sgx_provision
7f0000300000-7f0000301000 rw-p 00000000 fd:01 99 /tmp/x /dev/sgx_enclave
7f0000400000-7f0000500000 rw-p 00000000 00:00 0
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]
"""


def test_what_is_mapped_from_an_enclave_node_counts_and_nothing_else() -> None:
    assert sum_mapped(MAPS.splitlines(keepends=True)) == 0x101000


def test_a_process_without_enclaves_has_none() -> None:
    assert epc_mapped_by(os.getpid()) == 0


def test_no_process_has_none() -> None:
    assert epc_mapped_by(0) == 0
    assert epc_mapped_by(2**22 + 1) == 0


@given(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])))
def test_whatever_a_mapped_file_is_called_it_counts_only_as_a_node(name: str) -> None:
    line = f"7f0000000000-7f0000001000 r--p 00000000 fd:01 7 /srv/{name}\n"
    assert sum_mapped([line]) == 0
