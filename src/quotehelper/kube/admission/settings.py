"""What the operator decides about admission, and the names that pods and namespaces use. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from quotehelper.kube.resources import ENCLAVE, INTEL_EPC, PROVISION, EpcResource

QUOTING = "quotehelper.dev/quoting"
"""Our annotation of pods, and our label of namespaces; grammar in ``opting_in``."""
INTEL_PROVIDER = "sgx.intel.com/quote-provider"
"""Intel's annotation: a container's name, or ``aesmd`` (kubernetes 2.3)."""
INTEL_EPC_SUM = "sgx.intel.com/epc"
"""Intel's annotation for Kata: the EPC of a pod's regular containers together."""

AESM_DIRECTORY = "/var/run/aesmd"
AESM_VARIABLE = "SGX_AESM_ADDR"
"""Its presence, with any value, makes Intel's quote library ask AESM (kubernetes 2.3)."""
ALL_NAMESPACES = "*"

GUIDE = "docs/admission.md"
"""Where messages point to."""


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """How pods are admitted in a cluster.

    ``epc``: the accounting resource, which its nodes advertise; other names of EPC are translated to it. ``enclave``
    and ``provision``: the resources that hand out the device nodes, None where the EPC resource alone does.
    ``in_process_namespaces``: where declared in-process quoting gets ``provision``; "*" is everywhere.
    ``view_age_limit_s``: seconds beyond which what is known of the cluster is taken for unknown.
    """

    epc: EpcResource = INTEL_EPC
    enclave: str | None = ENCLAVE
    provision: str | None = PROVISION
    in_process_namespaces: frozenset[str] = frozenset()
    view_age_limit_s: float = 60.0

    def allows_in_process(self, namespace: str) -> bool:
        """Whether pods of ``namespace`` may get ``provision`` by declaration."""
        return not self.in_process_namespaces.isdisjoint((namespace, ALL_NAMESPACES))
