"""Documents that must be refused, each for what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from quotehelper.documents import qe_identity, tcb_info
from quotehelper.documents.signed_json import split_signed
from quotehelper.errors import DecodeError

MALFORMED = Path(__file__).parents[1] / "vectors" / "malformed"
QE_IDENTITY = (qe_identity.NAME, qe_identity.parse_enclave_identity)
TCB_INFO = (tcb_info.NAME, tcb_info.parse_tcb_info)
FIELDS = {
    "qe_identity_missing_attributes.json": "attributes",
    "qe_identity_missing_attributesmask.json": "attributesMask",
    "qe_identity_missing_id.json": "id",
    "qe_identity_missing_issuedate.json": "issueDate",
    "qe_identity_missing_isvprodid.json": "isvprodid",
    "qe_identity_missing_isvsvn.json": "tcbLevels[0].tcb",  # the member's name is missing, so the JSON is broken there
    "qe_identity_missing_miscselect.json": "miscselect",
    "qe_identity_missing_miscselectmask.json": "miscselectMask",
    "qe_identity_missing_mrsigner.json": "mrsigner",
    "qe_identity_missing_nextupdate.json": "nextUpdate",
    "qe_identity_missing_qeidentity.json": "",  # likewise, at the document's top
    "qe_identity_missing_signature.json": "signature",
    "qe_identity_missing_tcb_date.json": "tcbLevels[0].tcbDate",
    "qe_identity_missing_tcb_eval_data_num.json": "tcbEvaluationDataNumber",
    "qe_identity_missing_tcb_levels.json": "tcbLevels",
    "qe_identity_missing_tcb_status.json": "tcbLevels[0].tcbStatus",
    "qe_identity_missing_version.json": "version",
    "tcbInfoNegativeCompSvn.json": "tcbLevels[0].tcb.sgxtcbcomp01svn",
    "tcbInfoNegativeFloat.json": "version",
    "tcbInfoNegativeIntegerOverflow.json": "version",
    "tcbInfoNegativeIntegerWithSign.json": "version",
    "tcbInfoNegativeInvalidIssueDate.json": "issueDate",
    "tcbInfoNegativeInvalidNextUpdate.json": "nextUpdate",
    "tcbInfoNegativeMissingNextUpdate.json": "nextUpdate",
    "tcbInfoNegativePceSvn.json": "tcbLevels[0].tcb.pcesvn",
    "tcbInfoNegativePropertyMissingLevel0.json": "signature",
    "tcbInfoNegativePropertyMissingLevel1.json": "version",
    "tcbInfoNegativePropertyMissingLevel2.json": "tcbLevels[0].tcb",
    "tcbInfoNegativePropertyMissingLevel3.json": "tcbLevels[0].tcb.pcesvn",
    "tcbInfoNegativePropertyWrongTypeLevel0.json": "signature",
    "tcbInfoNegativePropertyWrongTypeLevel1.json": "fmspc",
    "tcbInfoNegativePropertyWrongTypeLevel2.json": "tcbLevels[0].status",
    "tcbInfoNegativePropertyWrongTypeLevel3.json": "tcbLevels[0].tcb.sgxtcbcomp06svn",
    "tcbInfoNegativeSignature.json": "signature",
    "tcbInfoNegativeStringEscape.json": "issueDate",
}


def test_every_malformed_vector_is_in_the_table() -> None:
    assert sorted(FIELDS) == sorted(path.name for path in MALFORMED.iterdir())


@pytest.mark.parametrize(("name", "field"), FIELDS.items(), ids=list(FIELDS))
def test_a_malformed_document_is_refused_for_the_right_field(name: str, field: str) -> None:
    raw = (MALFORMED / name).read_bytes()
    outer, parse = QE_IDENTITY if name.startswith("qe_identity") else TCB_INFO
    with pytest.raises(DecodeError) as refused:
        parse(split_signed(raw, outer).body)
    assert refused.value.field == field
