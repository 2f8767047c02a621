from __future__ import annotations

import pytest

from quotehelper.aesm.status import AesmStatus, describe_status, name_status

SPECIFIED = """
0 SUCCESS · 1 UNEXPECTED_ERROR · 2 NO_DEVICE_ERROR · 3 PARAMETER_ERROR · 4 EPIDBLOB_ERROR · 5 EPID_REVOKED_ERROR ·
6 GET_LICENSETOKEN_ERROR · 7 SESSION_INVALID · 8 MAX_NUM_SESSION_REACHED · 9 PSDA_UNAVAILABLE ·
10 EPH_SESSION_FAILED · 11 LONG_TERM_PAIRING_FAILED · 12 NETWORK_ERROR · 13 NETWORK_BUSY_ERROR ·
14 PROXY_SETTING_ASSIST · 15 FILE_ACCESS_ERROR · 16 SGX_PROVISION_FAILED · 17 SERVICE_STOPPED · 18 BUSY ·
19 BACKEND_SERVER_BUSY · 20 UPDATE_AVAILABLE · 21 OUT_OF_MEMORY_ERROR · 22 MSG_ERROR · 23 THREAD_ERROR ·
24 SGX_DEVICE_NOT_AVAILABLE · 25 ENABLE_SGX_DEVICE_FAILED · 26 PLATFORM_INFO_BLOB_INVALID_SIG ·
27 SERVICE_NOT_AVAILABLE · 28 KDF_MISMATCH · 29 OUT_OF_EPC · 30 SERVICE_UNAVAILABLE · 31 UNRECOGNIZED_PLATFORM ·
32 ECDSA_ID_MISMATCH · 33 PATHNAME_BUFFER_OVERFLOW_ERROR · 34 ERROR_STORED_KEY · 35 PUB_KEY_ID_MISMATCH ·
36 INVALID_PCE_SIG_SCHEME · 37 ATT_KEY_BLOB_ERROR · 38 UNSUPPORTED_ATT_KEY_ID · 39 UNSUPPORTED_LOADING_POLICY ·
40 INTERFACE_UNAVAILABLE · 41 PLATFORM_LIB_UNAVAILABLE · 42 ATT_KEY_NOT_INITIALIZED ·
43 ATT_KEY_CERT_DATA_INVALID · 44 NO_PLATFORM_CERT_DATA · 45 ERROR_REPORT · 46 ENCLAVE_LOST · 47 INVALID_REPORT ·
48 ENCLAVE_LOAD_ERROR · 49 UNABLE_TO_GENERATE_QE_REPORT · 50 KEY_CERTIFICATION_ERROR · 51 CONFIG_UNSUPPORTED
"""
"""aesm 3.1; 27 has no name there but Fortanix's."""


def test_every_status_of_the_specification_has_its_number() -> None:
    specified = [entry.split() for entry in SPECIFIED.split("·")]
    assert [(str(status.value), status.name) for status in AesmStatus] == [(n, name) for n, name in specified]


def test_a_status_is_its_number() -> None:
    assert AesmStatus(47) is AesmStatus.INVALID_REPORT
    assert int(AesmStatus.INVALID_REPORT) == 47
    assert f"{AesmStatus.INVALID_REPORT}" == "47"


@pytest.mark.parametrize("status", AesmStatus, ids=lambda status: status.name)
def test_every_status_has_a_meaning_and_a_remedy_in_one_sentence_each(status: AesmStatus) -> None:
    for sentence in (status.meaning, status.remedy):
        assert sentence
        assert "." not in sentence.replace("aesmd.conf", "")
    assert status.meaning[0].islower()
    assert status.remedy[0].isupper()


def test_a_status_is_described_with_its_remedy() -> None:
    assert describe_status(18) == "the daemon has more work than it takes. Try again in a moment"


@pytest.mark.parametrize("status", [52, 255, 2**32 - 1])
def test_an_unknown_status_is_said_to_be_unknown(status: int) -> None:
    assert describe_status(status).startswith("a status that is not known")


def test_a_status_is_named_with_its_number() -> None:
    assert name_status(47) == "47 INVALID_REPORT"
    assert name_status(52) == "52 (not known)"
