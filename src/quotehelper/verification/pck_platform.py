"""Which platform made a quote: its PCK chain with both revocation lists. Pure.

Source: dcap 7.4 step 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quotehelper.verification import chains, validity
from quotehelper.verification.steps import Step
from quotehelper.verification.validity import Validity

if TYPE_CHECKING:
    from quotehelper.documents.collateral import Collateral
    from quotehelper.documents.pck import Certificate, Crl
    from quotehelper.verification.chains import PckChain
    from quotehelper.verification.roots import Roots
    from quotehelper.verification.semantics import Semantics


@dataclass(frozen=True, eq=False)
class PckPlatform:
    """What was proven of a platform: its chain, and the revocation lists that don't name it.

    ``crl_issuers``: the certificates that came with the intermediate's list, which only date it.
    """

    chain: PckChain
    crl_issuers: tuple[Certificate, ...]
    root_crl: Crl
    pck_crl: Crl
    validity: Validity


def verify_platform(pem: bytes, collateral: Collateral, roots: Roots, semantics: Semantics) -> PckPlatform:
    """The platform whose PCK chain is ``pem``. Raises VerificationError: PCK_CHAIN to PCK_REVOCATION."""
    chain = chains.verify_pck_chain(pem, roots, semantics)
    root_crl = chains.verify_crl(collateral.root_ca_crl, chain.root, Step.ROOT_CA_CRL, semantics)
    pck_crl = chains.verify_crl(collateral.pck_crl, chain.intermediate, Step.PCK_CRL, semantics)
    crl_issuers = chains.read_crl_issuers(collateral.pck_crl_issuer_chain, chain, semantics)
    chains.check_not_revoked(chain.root, root_crl, Step.PCK_REVOCATION)
    chains.check_not_revoked(chain.intermediate, root_crl, Step.PCK_REVOCATION)
    chains.check_not_revoked(chain.leaf, pck_crl, Step.PCK_REVOCATION)
    certificates = {"root": chain.root, "intermediate": chain.intermediate, "PCK": chain.leaf}
    windows = [
        validity.of_certificate(f"{name} certificate", certificate, semantics, can_be_refreshed=False)
        for name, certificate in certificates.items()
    ]
    windows.append(validity.of_crl("root's revocation list", root_crl, semantics))
    windows.append(validity.of_crl("intermediate's revocation list", pck_crl, semantics))
    return PckPlatform(chain, crl_issuers, root_crl, pck_crl, Validity(Step.PCK_VALIDITY, windows))
