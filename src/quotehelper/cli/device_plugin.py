"""``quotehelper device-plugin``: EPC and SGX device nodes for pods, or an account of what would be handed out."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quotehelper.cli.exit_codes import EXIT_USAGE
from quotehelper.cli.output import Address, Mode, console, json_option, print_json, printable
from quotehelper.errors import ConfigError
from quotehelper.kube.resources import AZURE_EPC, EPC_RESOURCES, MIB
from quotehelper.node.log import Level, Log, LogFormat, LogSettings

if TYPE_CHECKING:
    from typing import Any

    from quotehelper.kube.device_plugin.settings import Settings

_SIZE_LIMIT_MIB = 1 << 32
_LIMIT_LIMIT = 10_000


class _AddressOrNone(click.ParamType["tuple[str, int] | None"]):
    """HOST:PORT, or ``none``."""

    name = "host:port"

    def convert(
        self, value: str | tuple[str, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int] | None:
        return None if value == "none" else Address().convert(value, param, ctx)


@click.command()
@click.option(
    "--resource",
    type=click.Choice(list(EPC_RESOURCES)),
    default=AZURE_EPC.name,
    help="The one name under which EPC is handed out.",
)
@click.option(
    "--enclave-limit",
    type=click.IntRange(0, _LIMIT_LIMIT),
    default=110,
    help="Holders of sgx.intel.com/enclave; 0 does not offer it.",
)
@click.option(
    "--provision-limit",
    type=click.IntRange(0, _LIMIT_LIMIT),
    default=110,
    help="Holders of sgx.intel.com/provision; 0 does not offer it.",
)
@click.option("--legacy-aliases", is_flag=True, help="Also give /dev/sgx/enclave and /dev/sgx/provision.")
@click.option(
    "--cdi-directory",
    type=click.Path(path_type=Path),
    help="Give nodes by CDI, its file in this directory (often /var/run/cdi).",
)
@click.option("--cdi-uid", type=click.IntRange(0), show_default="the host's", help="Owner of the nodes, by CDI.")
@click.option("--cdi-gid", type=click.IntRange(0), show_default="the host's", help="Group of the nodes, by CDI.")
@click.option("--cdi-mode", type=Mode(), default="666", help="Mode of the nodes, by CDI.")
@click.option(
    "--cdi-additional-gid",
    type=click.IntRange(1),
    multiple=True,
    help="A group that holders get on top of their own, by CDI; can be repeated.",
)
@click.option(
    "--epc-override",
    type=click.IntRange(1, _SIZE_LIMIT_MIB),
    metavar="MIB",
    help="EPC to assume where neither sysfs nor CPUID tells.",
)
@click.option(
    "--simulated-epc",
    type=click.IntRange(1, _SIZE_LIMIT_MIB),
    metavar="MIB",
    help="Hand out EPC that does not exist, for clusters without SGX. No enclave runs in it.",
)
@click.option(
    "--simulated-devices",
    type=click.Choice(["null", "none"]),
    default="null",
    help="With simulated EPC: /dev/null in place of the nodes, or no nodes.",
)
@click.option(
    "--node-name",
    envvar=["QUOTEHELPER_DEVICE_PLUGIN_NODE_NAME", "NODE_NAME"],
    default="",
    help="The Node to write events and capacity to; spec.nodeName of the pod.",
)
@click.option(
    "--service-account",
    type=click.Path(path_type=Path),
    default=Path("/var/run/secrets/kubernetes.io/serviceaccount"),
    help="Directory of token and ca.crt; without them the API server is left alone.",
)
@click.option("--attribute-pods", is_flag=True, help="Tell by metrics which containers hold how much EPC.")
@click.option("--listen", type=_AddressOrNone(), default="0.0.0.0:9481", help="HOST:PORT of metrics, or none.")
@click.option(
    "--rescan-s", type=click.FloatRange(0.05, 3600), default=10.0, help="Seconds between two looks at the machine."
)
@click.option(
    "--settle-s", type=click.FloatRange(0, 600), default=2.0, help="Seconds for which a change of it must last."
)
@click.option(
    "--kubelet-directory",
    type=click.Path(path_type=Path),
    default=Path("/var/lib/kubelet/device-plugins"),
    help="Where the kubelet has its socket.",
)
@click.option(
    "--pod-resources-socket",
    type=click.Path(path_type=Path),
    default=Path("/var/lib/kubelet/pod-resources/kubelet.sock"),
    help="Where the kubelet tells who holds devices.",
)
@click.option(
    "--dev-root",
    type=click.Path(path_type=Path),
    default=Path("/dev"),
    help="Where the host's /dev is seen.",
)
@click.option("--sysfs-root", type=click.Path(path_type=Path), default=Path("/sys"), help="Where sysfs is seen.")
@click.option("--proc-root", type=click.Path(path_type=Path), default=Path("/proc"), help="Where procfs is seen.")
@click.option("--log-level", type=click.Choice([x.name.lower() for x in Level]), default="info")
@click.option("--log-format", type=click.Choice([x.value for x in LogFormat]), default="text")
@click.option("--dry-run", is_flag=True, help="Print what would be advertised, and why; touch nothing.")
@json_option
def command(*, dry_run: bool, as_json: bool, log_level: str, log_format: str, **options: Any) -> None:  # noqa: ANN401  one argument an option
    """Hand out EPC and SGX device nodes to pods (the node's device plugin).

    Runs in the foreground, one on each node, and registers at the kubelet:

    \b
      the --resource           EPC; its holders get /dev/sgx_enclave
      sgx.intel.com/enclave    /dev/sgx_enclave without EPC being counted
      sgx.intel.com/provision  /dev/sgx_provision, for quoting services alone

    EPC has exactly one name, so that it is never sold twice. Three names count MiB; sgx.intel.com/epc counts bytes, has
    no limit of size, is kept on the node's status through the API server, and its holders must ask for
    sgx.intel.com/enclave too.

    How much EPC there is comes from sysfs, else CPUID, else --epc-override. Try --dry-run first: it says what was
    found, by whom, and why there is none; its exit code is 2 if the configuration can't serve this machine. The device
    plugin needs to see the host's /dev, and to write in the kubelet's directory; it opens no SGX device. SIGTERM ends
    it.
    """  # noqa: D301  click wants the character itself
    settings = _settings(**options)
    if dry_run:
        _explain(settings, as_json=as_json)
        return
    if as_json:
        raise click.UsageError("--json goes with --dry-run")
    try:
        from quotehelper.kube.device_plugin.service import serve
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    asyncio.run(serve(settings, Log(LogSettings(Level[log_level.upper()], LogFormat(log_format)))))


def _settings(**options: Any) -> Settings:  # noqa: ANN401  as above
    try:
        from quotehelper.kube.device_plugin.api_server import access_from
        from quotehelper.kube.device_plugin.inventory import Offer
        from quotehelper.kube.device_plugin.machine import Roots, SimulatedDevices, Stated
        from quotehelper.kube.device_plugin.settings import HttpAddress, Settings
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return Settings(
        offer=Offer(EPC_RESOURCES[options["resource"]], options["enclave_limit"], options["provision_limit"]),
        stated=Stated(
            _bytes(options["epc_override"]),
            _bytes(options["simulated_epc"]),
            SimulatedDevices(options["simulated_devices"]),
        ),
        roots=Roots(options["sysfs_root"], options["proc_root"], options["dev_root"]),
        cdi=_cdi(options),
        legacy_aliases=options["legacy_aliases"],
        kubelet_directory=options["kubelet_directory"],
        pod_resources=options["pod_resources_socket"],
        access=access_from(os.environ, options["service_account"]),
        node_name=options["node_name"],
        attribute_pods=options["attribute_pods"],
        rescan_s=options["rescan_s"],
        settle_s=options["settle_s"],
        http=None if options["listen"] is None else HttpAddress(*options["listen"]),
    )


def _cdi(options: dict[str, Any]) -> Any:  # noqa: ANN401  CdiOptions or None, imported late
    from quotehelper.kube.device_plugin.cdi import CdiOptions

    if options["cdi_directory"] is None:
        if options["cdi_uid"] is not None or options["cdi_gid"] is not None or options["cdi_additional_gid"]:
            raise ConfigError("owner and groups of nodes go by CDI alone", "Name its directory by --cdi-directory")
        return None
    return CdiOptions(
        options["cdi_directory"],
        options["cdi_uid"],
        options["cdi_gid"],
        options["cdi_mode"],
        tuple(options["cdi_additional_gid"]),
    )


def _bytes(size_mib: int | None) -> int | None:
    return None if size_mib is None else size_mib * MIB


def _missing(error: ModuleNotFoundError) -> ConfigError:
    return ConfigError(f"the device plugin needs {error.name}", "pip install 'quotehelper[kubernetes]'")


def _explain(settings: Settings, *, as_json: bool) -> None:
    from quotehelper.kube.device_plugin.explanation import explain
    from quotehelper.kube.device_plugin.service import survey

    inventory = survey(settings, write_cdi=False)
    facts = explain(inventory)
    if as_json:
        print_json(facts)
    else:
        _print(facts)
    if inventory.refused:
        sys.exit(EXIT_USAGE)


def _print(facts: dict[str, Any]) -> None:
    from rich.table import Table

    out = console()
    accounting = facts["accounting"]
    out.print(f"[bold]EPC[/]  {printable(accounting['explanation'])}")
    if accounting["remedy"]:
        out.print(f"     {printable(accounting['remedy'])}")
    for line in facts["epc"]["sources"]:
        out.print(f"     {printable(line)}")
    for name, device in facts["devices"].items():
        out.print(f"[bold]{name}[/]  {printable(device['host_path'] or device['problem'] or 'no node')}")
    if accounting["on_node_status"]:
        out.print(f"[bold]node status[/]  {accounting['resource']}: {accounting['sold_bytes']}")
    table = Table("resource", "devices", "health", "list bytes", "why", box=None, pad_edge=False)
    for resource in facts["resources"]:
        cells = (resource["name"], resource["devices"], resource["health"], resource["list_bytes"])
        table.add_row(*map(str, cells), f"{resource['reason']}: {printable(resource['explanation'])}")
    out.print(table)
