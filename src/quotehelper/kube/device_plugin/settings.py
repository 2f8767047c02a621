"""Everything that decides how the device plugin runs, as one value. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from quotehelper.kube.device_plugin.endpoint import Pace
from quotehelper.kube.device_plugin.inventory import Offer
from quotehelper.kube.device_plugin.machine import Roots, Stated
from quotehelper.kube.device_plugin.node_status import Rhythm
from quotehelper.kube.resources import AZURE_EPC

if TYPE_CHECKING:
    from quotehelper.kube.device_plugin.api_server import Access
    from quotehelper.kube.device_plugin.cdi import CdiOptions

KUBELET_DIRECTORY = Path("/var/lib/kubelet/device-plugins")
POD_RESOURCES = Path("/var/lib/kubelet/pod-resources/kubelet.sock")


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """Where metrics and health are served. ``port`` 0: any free one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Settings:
    """What one device plugin is told.

    ``offer``: what is advertised. ``stated``, ``roots``: what the machine is. ``cdi``, ``legacy_aliases``: how nodes
    get into containers. ``access``, ``node_name``: the API server, None to do without. ``attribute_pods``: whether to
    tell who holds EPC. ``rescan_s``: seconds between two looks at the machine. ``settle_s``: seconds for which a change
    of it must last. ``http``: None to serve none.
    """

    offer: Offer = field(default_factory=lambda: Offer(AZURE_EPC))
    stated: Stated = field(default_factory=Stated)
    roots: Roots = field(default_factory=Roots)
    cdi: CdiOptions | None = None
    legacy_aliases: bool = False
    kubelet_directory: Path = KUBELET_DIRECTORY
    pod_resources: Path = POD_RESOURCES
    access: Access | None = None
    node_name: str = ""
    attribute_pods: bool = False
    rescan_s: float = 10.0
    settle_s: float = 2.0
    pace: Pace = field(default_factory=Pace)
    rhythm: Rhythm = field(default_factory=Rhythm)
    http: HttpAddress | None = None
