"""The names under which clusters hand out SGX, and what one unit of each is worth. Pure.

EPC is accounted under four names (kubernetes 1.1, 5.2). One of them is the *accounting resource* of a cluster: the
one its nodes advertise. The others are translated to it.

========================================== ========== =======================================================
resource                                   unit       who advertises it
========================================== ========== =======================================================
``sgx.intel.com/epc``                      1 byte     Intel's set-up (NFD or a node hook), AKS since 2021
``kubernetes.azure.com/sgx_epc_mem_in_MiB``  1 MiB    AKS until 2021, and manifests that were written for it
``alibabacloud.com/sgx_epc_MiB``           1 MiB      Alibaba's device plugin
``openenclave.io/sgx_epc_MiB``             1 MiB      aks-engine's device plugin of 2019
========================================== ========== =======================================================

``sgx.intel.com/enclave`` and ``sgx.intel.com/provision`` count device nodes, one a container.
"""

from __future__ import annotations

from dataclasses import dataclass

from quotehelper.kube.quantity import LARGEST, whole_number

MIB = 1 << 20
"""Bytes."""


@dataclass(frozen=True, slots=True)
class EpcResource:
    """A name under which EPC is requested. ``unit_bytes``: what a count of 1 stands for."""

    name: str
    unit_bytes: int

    def size_bytes(self, quantity: object) -> int:
        """The EPC that ``quantity``, from a manifest, asks for under this name.

        Raises DecodeError if it is no quantity or no whole number: extended resources are counted in whole ones.
        """
        return min(whole_number(quantity) * self.unit_bytes, LARGEST)

    def count(self, size_bytes: int) -> int:
        """How many units hold ``size_bytes``: rounded up, since too little EPC would be claimed otherwise."""
        return -(-size_bytes // self.unit_bytes)


INTEL_EPC = EpcResource("sgx.intel.com/epc", 1)
AZURE_EPC = EpcResource("kubernetes.azure.com/sgx_epc_mem_in_MiB", MIB)
ALIBABA_EPC = EpcResource("alibabacloud.com/sgx_epc_MiB", MIB)
OPEN_ENCLAVE_EPC = EpcResource("openenclave.io/sgx_epc_MiB", MIB)

EPC_RESOURCES = {resource.name: resource for resource in (INTEL_EPC, AZURE_EPC, ALIBABA_EPC, OPEN_ENCLAVE_EPC)}
"""Every name of EPC, by itself."""

ENCLAVE = "sgx.intel.com/enclave"
"""Hands out /dev/sgx_enclave: build and run enclaves."""
PROVISION = "sgx.intel.com/provision"
"""Hands out /dev/sgx_provision: the privilege of quoting enclaves, which identifies the platform (kubernetes 4.2)."""
DEVICE_RESOURCES = (ENCLAVE, PROVISION)

SGX_RESOURCES = (*EPC_RESOURCES, *DEVICE_RESOURCES)
"""Every resource that has to do with SGX."""
