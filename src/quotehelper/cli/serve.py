"""``quotehelper serve``: the daemon in the foreground."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quotehelper.aesm.transport import SOCKET_PATH
from quotehelper.cli.output import Mode
from quotehelper.cli.platform_options import platform_options
from quotehelper.errors import ConfigError
from quotehelper.node.config import IN_PROCESS, IN_PROCESS_PLATFORM, WORKER, Settings, SocketSettings, encode_settings
from quotehelper.node.log import Level, LogFormat
from quotehelper.platforms.dcap.files import DcapFiles
from quotehelper.platforms.registry import PLATFORMS

if TYPE_CHECKING:
    from typing import NoReturn

_AUTO = "auto"


class _GroupName(click.ParamType[int]):
    name = "group"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if value.isdecimal():
            return int(value)
        import grp

        try:
            return grp.getgrnam(value).gr_gid
        except KeyError:
            self.fail(f"there is no group {value!r}", param, ctx)


def _choose_platform(dcap: DcapFiles) -> str:
    """``dcap``. Raises ConfigError with all that is in its way: a simulated platform is never taken for a real one."""
    from quotehelper.platforms.hardware import obstacles, read_hardware

    found = obstacles(read_hardware(library=dcap.library, provider=dcap.provider))
    if not found:
        return "dcap"
    raise ConfigError(
        f"SGX can't be used here: {'; '.join(obstacle.problem for obstacle in found)}",
        f"{found[0].remedy}. Or say who is to quote: --platform dcap to go on and wait until it can, --platform "
        "upstream --upstream PATH, or --platform simulated --state DIRECTORY, whose quotes prove nothing",
    )


def _take_defaults(ctx: click.Context, _param: click.Parameter, file: Path | None) -> Path | None:
    """Let ``[serve]`` in the file decide what neither flag nor environment does. Raises ConfigError."""
    if file is not None:
        from quotehelper.cli.config_file import read_serve_table

        ctx.default_map = read_serve_table(file, ctx)
    return file


@click.command()
@click.option(
    "--platform",
    type=click.Choice([*PLATFORMS, _AUTO]),
    default=_AUTO,
    help="Who makes the quotes: Intel's library here, another AESM service, or a simulation; auto: Intel's library.",
)
@platform_options
@click.option(
    "--qe-isv-svn",
    type=click.IntRange(1, 0xFFFF),
    help="Simulated platform: run this version of the quoting enclave.  [default: the state's]",
)
@click.option("--socket", default=SOCKET_PATH, help="Where clients connect.")
@click.option("--socket-mode", type=Mode(), default="666", help="Who may connect: permission bits.")
@click.option("--socket-group", type=_GroupName(), help="Group of the socket.")
@click.option(
    "--abstract-socket/--no-abstract-socket",
    default=None,
    show_default="bound with the default path and a mode open to all",
    help="Whether to bind the abstract name that Gramine tries first.",
)
@click.option(
    "--private-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory, mode 0700, where instances on this machine meet; never give it to workloads.",
)
@click.option(
    "--take-over",
    is_flag=True,
    help="Prove this instance first, then relieve the one that serves: no client notices. Needs --private-dir.",
)
@click.option(
    "--instance",
    help="Name of this instance that outlasts restarts, such as its pod's UID.  [default: boot and start time]",
)
@click.option("--processes", "--workers", type=click.IntRange(1, 64), default=1, help="Serving processes.")
@click.option(
    "--platform-process",
    type=click.Choice([IN_PROCESS, WORKER]),
    show_default="in-process for simulated, worker for all others",
    help="Where the platform makes its quotes: in the serving process, or in a worker process beside it.",
)
@click.option(
    "--metrics",
    metavar="ADDRESS",
    help="Tell health and metrics at HOST:PORT, [IPV6]:PORT, or the path of a Unix socket.  [default: nowhere]",
)
@click.option(
    "--self-check-interval",
    type=click.FloatRange(1, 3600),
    default=60.0,
    show_default=True,
    help="With --metrics: seconds from one quote made and judged by the daemon itself to the next.",
)
@click.option(
    "--bundle",
    type=click.Path(exists=True, path_type=Path),
    help="With --metrics: watch this collateral, and warn weeks before verifiers refuse quotes.",
)
@click.option(
    "--pccs",
    metavar="SOURCE",
    help='With --metrics: the same with fetched collateral: "intel", "azure", or a service\'s URL.',
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    is_eager=True,
    callback=_take_defaults,
    help="TOML file with log_level, log_format, [limits], and [serve] for these options; SIGHUP reads all but [serve].",
)
@click.option("--log-level", type=click.Choice([x.name.lower() for x in Level]), help="What is logged.")
@click.option("--log-format", type=click.Choice([x.value for x in LogFormat]), help="How it is logged.")
def command(  # noqa: PLR0913  one argument an option
    *,
    platform: str,
    state: Path | None,
    upstream: str,
    dcap_library: str | None,
    dcap_enclaves: str | None,
    dcap_provider: str | None,
    qe_isv_svn: int | None,
    socket: str,
    socket_mode: int,
    socket_group: int | None,
    abstract_socket: bool | None,
    private_dir: Path | None,
    take_over: bool,
    instance: str | None,
    processes: int,
    platform_process: str | None,
    metrics: str | None,
    self_check_interval: float,
    bundle: Path | None,
    pccs: str | None,
    config: Path | None,
    log_level: str | None,
    log_format: str | None,
) -> NoReturn:
    """Make quotes for every client on this machine.

    Runs in the foreground and logs to standard error; says "ready" when it serves. SIGTERM ends it once what is in
    flight is answered; SIGHUP reads configuration and state anew while it goes on serving.
    """
    dcap = DcapFiles(dcap_library, dcap_enclaves, dcap_provider)
    if platform == "simulated" and state is None:
        raise click.UsageError(
            "--platform simulated needs --state; `quotehelper simulate init --state DIRECTORY` makes it"
        )
    if take_over and private_dir is None:
        raise click.UsageError("--take-over needs --private-dir: that is where the instance that serves can be asked")
    if metrics is not None:
        _check_metrics(metrics)
    if (bundle, pccs) != (None, None):
        _check_watch(metrics, bundle, pccs)
    platform = _choose_platform(dcap) if platform == _AUTO else platform
    if platform_process == IN_PROCESS and platform != IN_PROCESS_PLATFORM:
        raise click.UsageError(f"platform {platform} runs in a worker process only")
    settings = Settings(
        platform=platform,
        state="" if state is None else str(state),
        dcap=dcap,
        upstream=upstream,
        qe_isv_svn=qe_isv_svn,
        socket=SocketSettings(socket, socket_mode, socket_group, abstract_socket),
        processes=processes,
        config_file=None if config is None else str(config),
        log_level=None if log_level is None else Level[log_level.upper()],
        log_format=None if log_format is None else LogFormat(log_format),
        private_dir=None if private_dir is None else os.path.abspath(private_dir),  # noqa: PTH100  resolves no link
        take_over=take_over,
        platform_process=platform_process,
        metrics=metrics,
        self_check_interval_s=self_check_interval,
        instance=instance,
        bundle=None if bundle is None else str(bundle.absolute()),
        pccs=pccs,
    )
    os.execv(sys.executable, [sys.executable, "-m", "quotehelper.cli.daemon", encode_settings(settings)])  # noqa: S606  see cli/daemon.py


def _check_watch(metrics: str | None, bundle: Path | None, pccs: str | None) -> None:
    """Raises UsageError unless one of them says what to watch, and somebody does."""
    if metrics is None or None not in (bundle, pccs):
        raise click.UsageError("--bundle or --pccs, one of them, says what to watch for --metrics")


def _check_metrics(address: str) -> None:
    """Raises ConfigError if ``address`` is none, or nothing could answer there."""
    from importlib.util import find_spec

    from quotehelper.node.metrics_address import parse_metrics_address

    parse_metrics_address(address)
    if find_spec("aiohttp") is None:
        raise ConfigError("--metrics needs aiohttp, which is not installed", "pip install 'quotehelper[control]'")
