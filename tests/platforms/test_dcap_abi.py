"""The structures against the specification's table, and against a C compiler's layout."""

from __future__ import annotations

import ctypes
import subprocess
from typing import TYPE_CHECKING

import pytest

from quotehelper.platforms.dcap import abi
from quotehelper.sgx.key_id import QE3_KEY_ID, AttestationKeyId, QeReportInfo
from quotehelper.sgx.report import Report, TargetInfo

if TYPE_CHECKING:
    from dcap_libraries import DcapLibraries

STRUCTURES: dict[str, type[ctypes.Structure]] = {
    "sgx_ql_att_key_id_t": abi.AttestationKeyIdBase,
    "sgx_att_key_id_ext_t": abi.AttestationKeyIdExtended,
    "sgx_ql_qe_report_info_t": abi.QeReportInfoBuffer,
}
SPECIFIED = {
    "sgx_ql_att_key_id_t": (158, {"id": 0, "version": 2, "mrsigner_length": 4, "mrsigner": 6, "prod_id": 54,
        "extended_prod_id": 58, "config_id": 74, "family_id": 138, "algorithm_id": 154}),
    "sgx_att_key_id_ext_t": (256, {"base": 0, "spid": 158, "att_key_type": 174, "reserved": 176}),
    "sgx_ql_qe_report_info_t": (960, {"nonce": 0, "app_enclave_target_info": 16, "qe_report": 528}),
}  # fmt: skip
"""dcap 4.1 and aesm 5.1, 5.2, 5.6: size, and offset of each field."""


def layout(name: str) -> dict[str, tuple[int, int]]:
    """Offset and size of each field as ctypes has them."""
    kind = STRUCTURES[name]
    fields = {field[0]: getattr(kind, field[0]) for field in kind._fields_}
    return {field: (descriptor.offset, descriptor.size) for field, descriptor in fields.items()}


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_is_laid_out_as_specified(name: str) -> None:
    size, offsets = SPECIFIED[name]
    assert ctypes.sizeof(STRUCTURES[name]) == size
    assert {field: offset for field, (offset, _) in layout(name).items()} == offsets


def test_a_c_compiler_lays_the_structures_out_alike(dcap_libraries: DcapLibraries) -> None:
    printed = subprocess.run([dcap_libraries.layout], capture_output=True, text=True, check=True).stdout
    compiled: dict[str, dict[str, tuple[int, int]]] = {}
    for structure, field, offset, size in map(str.split, printed.splitlines()):
        compiled.setdefault(structure, {})[field] = int(offset), int(size)
    assert compiled.pop("sgx_target_info_t") == {"-": (0, ctypes.sizeof(abi.TargetInfoBuffer))}
    assert compiled.pop("sgx_report_t") == {"-": (0, ctypes.sizeof(abi.ReportBuffer))}
    assert compiled.pop("sgx_ql_pck_cert_id_t") == {"-": (0, 43), "pce_id": (41, 2)}  # the provider's own, dcap 4.1
    assert compiled.pop("sgx_ql_config_t") == {"-": (0, 34), "p_cert_data": (26, 8)}
    assert compiled == {name: {"-": (0, ctypes.sizeof(kind))} | layout(name) for name, kind in STRUCTURES.items()}


def test_buffers_have_the_sizes_of_our_own_structures() -> None:
    assert ctypes.sizeof(abi.TargetInfoBuffer) == TargetInfo.SIZE
    assert ctypes.sizeof(abi.ReportBuffer) == Report.SIZE
    assert ctypes.sizeof(abi.QeReportInfoBuffer) == QeReportInfo.SIZE
    assert ctypes.sizeof(abi.AttestationKeyIdExtended) == AttestationKeyId.SIZE


def test_a_key_id_reads_the_same_through_both() -> None:
    read = abi.AttestationKeyIdExtended.from_buffer_copy(QE3_KEY_ID.raw)
    assert (read.base.prod_id, read.base.algorithm_id) == (QE3_KEY_ID.prod_id, QE3_KEY_ID.algorithm_id)
    assert bytes(read.base.mrsigner) == QE3_KEY_ID.mr_signer


@pytest.mark.parametrize("name", [*abi.QUOTING_LIBRARY, *abi.LOGIC_LIBRARY])
def test_every_function_is_found_with_its_types(dcap_libraries: DcapLibraries, name: str) -> None:
    arguments = {**abi.QUOTING_LIBRARY, **abi.LOGIC_LIBRARY}[name]
    function = abi.bind(ctypes.CDLL(str(dcap_libraries.quoting)), name, arguments)
    assert function.argtypes == arguments
    assert function.restype is ctypes.c_uint32


def test_a_function_that_is_not_there_is_none(dcap_libraries: DcapLibraries) -> None:
    assert abi.bind(ctypes.CDLL(str(dcap_libraries.alone)), "sgx_ql_get_keyid", ()) is None
