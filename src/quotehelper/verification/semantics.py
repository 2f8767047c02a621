"""Where verifiers disagree, as named switches. Pure.

`INTEL` gives Intel's verdicts exactly, `STRICT` the stricter of Intel's and dcap-qvl's in each point (dcap 7.4, 7.5
and 5.3). Both accept TCB info of version 2. docs/compatibility.md lists the differences that show.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Semantics:
    """What is refused, and what is only remarked. Each switch says what it does if it is on."""

    name: str
    insecure_expired_is_flag: bool
    """What has expired does not refuse the quote; the result says ``collateral_expired``."""
    insecure_separate_pck_chain: bool
    """A quote without a chain of its own is verified with the one among the collateral."""
    insecure_text_rewritten: bool
    """Signed documents are compacted before their signature is checked, so white space may have been added."""
    refuse_not_yet_valid: bool
    """Certificates before notBefore, and documents before their issue, are refused."""
    refuse_debug: bool
    """Quotes of debug enclaves are refused."""
    refuse_odd_auth_data: bool
    """The quoting enclave's auth data must have 32 bytes, as Intel's has."""
    check_path_constraints: bool
    """Basic constraints, key usage and unknown critical extensions are judged, not only looked for."""
    check_crl_issuer_chain: bool
    """The chain that comes with the PCK's revocation list must end in the PCK chain's intermediate and root."""
    match_cpu_svn: bool
    """A TCB level must be reached by the certificate's CPUSVN as well as by its components, which should be equal."""
    same_root_certificate: bool
    """All chains must end in the same certificate of the root, not only in its key."""


INTEL = Semantics(
    name="intel",
    insecure_expired_is_flag=True,
    insecure_separate_pck_chain=True,
    insecure_text_rewritten=True,
    refuse_not_yet_valid=False,
    refuse_debug=False,
    refuse_odd_auth_data=False,
    check_path_constraints=False,
    check_crl_issuer_chain=False,
    match_cpu_svn=False,
    same_root_certificate=True,
)

STRICT = Semantics(
    name="strict",
    insecure_expired_is_flag=False,
    insecure_separate_pck_chain=False,
    insecure_text_rewritten=False,
    refuse_not_yet_valid=True,
    refuse_debug=True,
    refuse_odd_auth_data=True,
    check_path_constraints=True,
    check_crl_issuer_chain=True,
    match_cpu_svn=True,
    same_root_certificate=False,
)
