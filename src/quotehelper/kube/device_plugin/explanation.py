"""What would be advertised, and why, as facts that can be printed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.kube.device_plugin.device_list import LIST_LIMIT, list_bytes
from quotehelper.kube.device_plugin.plugin_socket import socket_name

if TYPE_CHECKING:
    from typing import Any

    from quotehelper.kube.device_plugin.inventory import Advertised, Inventory


def explain(inventory: Inventory) -> dict[str, Any]:
    """Everything about ``inventory`` that an operator may want to know; plain values, ready for JSON."""
    machine = inventory.machine
    return {
        "epc": {
            "size_bytes": machine.epc.size_bytes,
            "source": machine.epc.source.value,
            "nodes": [{"numa_node": node.node, "size_bytes": node.size_bytes} for node in machine.epc.nodes],
            "absence": None if machine.epc.absence is None else machine.epc.absence.name,
            "sources": list(machine.epc.trail),
        },
        "devices": {
            node.kind.name.lower(): {"host_path": node.host_path, "problem": node.problem or None}
            for node in (machine.enclave, machine.provision)
        },
        "accounting": {
            "resource": inventory.accounting.name,
            "unit_bytes": inventory.accounting.unit_bytes,
            "sold_bytes": inventory.sold_bytes,
            "on_node_status": inventory.extended_bytes is not None,
            "reason": inventory.reason.value,
            "explanation": inventory.explanation,
            "remedy": inventory.remedy or None,
        },
        "resources": [_resource(advertised) for advertised in inventory.resources],
        "list_limit_bytes": LIST_LIMIT,
    }


def _resource(advertised: Advertised) -> dict[str, Any]:
    return {
        "name": advertised.resource,
        "devices": advertised.listed,
        "health": advertised.health.value,
        "reason": advertised.reason.value,
        "explanation": advertised.explanation,
        "list_bytes": list_bytes(advertised.listed, advertised.health),
        "socket": socket_name(advertised.resource),
    }
