"""One typed settings tree: defaults, overlaid by a TOML file, the environment and flags. Shell (reads the file).

The file has the same names, in tables::

    log_level = "info"
    log_format = "json"

    [limits]
    connections = 2048
    quote_s = 12.0

    [serve]
    platform = "simulated"

``log_level``, ``log_format``, ``log_successes``, ``[limits]`` and ``[enclaves]`` (see ``rules``) are what SIGHUP can
change. ``[serve]`` holds defaults for the options of `quotehelper serve`, which decide what the daemon *is* (its
socket, its platform): only the command line reads it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from quotehelper.aesm.transport import SOCKET_PATH
from quotehelper.errors import ConfigError
from quotehelper.node.log import Level, LogFormat, LogSettings
from quotehelper.node.rules import EnclaveRules, faults_in_rules, read_rules
from quotehelper.platforms.dcap.files import DcapFiles
from quotehelper.platforms.registry import PlatformSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CONFIG_HINT = "See docs/operations.md for the settings and their ranges"


class Limits(NamedTuple):
    """What one serving process accepts at most. Each has its reason.

    ``frame_bytes``: a request; the largest a DCAP client sends is 1.7 kB, EPID revocation lists are not served.
    ``buffer_bytes``: the ``buf_size`` of a quote request, which is answered padded to that size; the largest quote
    possible is 13,346 bytes. ``connections``: clients that have connected but not completed a request (others are
    never parked); the oldest makes room for the newest. ``received_bytes``: what those have sent, together.
    ``in_flight``: quote requests complete but not answered; more are told to come back (18).
    ``in_flight_per_group``: of those not begun, how many may be one pod's, or one user's outside of pods; the other
    places are for the others. ``header_s``, ``body_s``: seconds until a request's length, and its rest, must be
    there. ``idle_s``: seconds that an answered connection may wait for a further request. ``quote_s``: seconds
    until a quote request must be answered; Intel's client gives up after 15. ``drain_s``: seconds for what is in
    flight when the daemon is told to end. ``orphan_s``: seconds that serving goes on after the supervisor was
    killed. ``overlap_s``: seconds that a quoting enclave which was replaced still quotes reports made for it.
    ``platform_s``: seconds that a platform worker may owe answers and give none, before it is replaced; less than
    ``quote_s``, so that its successor can still answer.
    """

    frame_bytes: int = 64 * 1024
    buffer_bytes: int = 64 * 1024
    connections: int = 1024
    received_bytes: int = 8 * 1024 * 1024
    in_flight: int = 256
    in_flight_per_group: int = 192
    header_s: float = 5.0
    body_s: float = 10.0
    idle_s: float = 0.05
    quote_s: float = 12.0
    drain_s: float = 10.0
    orphan_s: float = 60.0
    overlap_s: float = 86400.0
    platform_s: float = 10.0


_RANGES: Mapping[str, tuple[float, float]] = {
    "frame_bytes": (4096, 1024 * 1024),
    "buffer_bytes": (16 * 1024, 96 * 1024),
    "connections": (16, 65536),
    "received_bytes": (1024 * 1024, 1024**3),
    "in_flight": (1, 65536),
    "in_flight_per_group": (1, 65536),
    "header_s": (0.05, 600),
    "body_s": (0.05, 600),
    "idle_s": (0.0, 600),
    "quote_s": (0.05, 600),
    "drain_s": (0.0, 600),
    "orphan_s": (0.0, 3600),
    "overlap_s": (0.0, 2592000),
    "platform_s": (0.05, 600),
}


IN_PROCESS, WORKER = "in-process", "worker"
"""Where a platform makes its quotes: in the serving process, or in a worker process beside it."""

IN_PROCESS_PLATFORM = "simulated"
"""The only platform that can be in the serving process: it never waits, and nothing foreign runs in it."""


class SocketSettings(NamedTuple):
    """Where clients find the daemon.

    ``path``: of the Unix stream socket. ``mode``: its permission bits; clients need write. ``group``: its group id,
    or None to leave it. ``abstract``: bind the abstract name that Gramine tries first as well; None means: if
    ``path`` is the default and ``mode`` lets everybody in.
    """

    path: str = SOCKET_PATH
    mode: int = 0o666
    group: int | None = None
    abstract: bool | None = None

    @property
    def binds_abstract(self) -> bool:
        """Whether the abstract name is to be bound."""
        everybody = 0o002
        if self.abstract is None:
            return self.path == SOCKET_PATH and bool(self.mode & everybody)
        return self.abstract


class Reloadable(NamedTuple):
    """What SIGHUP reads anew."""

    log: LogSettings
    limits: Limits
    rules: EnclaveRules


class Settings(NamedTuple):
    """Everything that decides how the daemon runs. Plain values throughout, as it goes from process to process.

    ``platform``: a name of ``platforms.registry``. ``state``, ``dcap``, ``upstream``: where that platform finds what
    it needs. ``processes``: serving processes. ``config_file``: read at start and at SIGHUP. ``log_level``,
    ``log_format``: given by flag or environment, they win over the file's. ``qe_isv_svn``: of a simulated platform.
    ``private_dir``: where instances on one node meet. ``take_over``: relieve the instance that serves. ``instance``:
    a name of this one that lasts over restarts. ``platform_process``: IN_PROCESS, WORKER, or None for what suits the
    platform. ``metrics``: where health and metrics are told, None: nowhere. ``self_check_interval_s``: seconds from
    one self-check to the next. ``bundle``, ``pccs``: where collateral is that the control process watches, a path or a
    source; at most one of the two.
    """

    platform: str
    state: str
    socket: SocketSettings = SocketSettings()
    processes: int = 1
    config_file: str | None = None
    log_level: Level | None = None
    log_format: LogFormat | None = None
    dcap: DcapFiles = DcapFiles()
    upstream: str = ""
    qe_isv_svn: int | None = None
    private_dir: str | None = None
    take_over: bool = False
    instance: str | None = None
    platform_process: str | None = None
    metrics: str | None = None
    self_check_interval_s: float = 60.0
    bundle: str | None = None
    pccs: str | None = None

    @property
    def has_workers(self) -> bool:
        """Whether the platform is in worker processes: wherever libraries or sockets of others are in play."""
        return self.platform_process == WORKER or self.platform != IN_PROCESS_PLATFORM

    @property
    def platform_settings(self) -> PlatformSettings:
        """Which platform to open."""
        return PlatformSettings(self.platform, self.state, self.dcap, self.upstream, self.socket.path, self.qe_isv_svn)

    def reloadable(self) -> Reloadable:
        """The log settings, limits and rules as the file says now. Raises ConfigError, naming file and setting."""
        table: dict[str, Any] = {} if self.config_file is None else _read(self.config_file)
        for fault in find_faults(table):
            raise ConfigError(f"{self.config_file}: {fault.problem}", _CONFIG_HINT)
        level = self.log_level or _LEVELS[table.get("log_level", "info")]
        log_format = self.log_format or _FORMATS[table.get("log_format", "text")]
        log = LogSettings(level, log_format, table.get("log_successes", LogSettings().successes))
        return Reloadable(log, Limits(**table.get("limits", {})), read_rules(table.get("enclaves", {})))


class Fault(NamedTuple):
    """What is wrong with the setting at ``path``: names of tables and the key."""

    path: tuple[str, ...]
    problem: str


def find_faults(table: Mapping[str, object]) -> Iterator[Fault]:
    """Everything that is wrong with ``table``, the file's content, but for what is in ``[serve]``."""
    for name, choices in (("log_level", _LEVELS), ("log_format", _FORMATS)):
        value = table.get(name, next(iter(choices)))
        if not isinstance(value, str) or value not in choices:
            yield Fault((name,), f"{name} is {value!r}, known are {', '.join(choices)}")
    successes = table.get("log_successes", 0)
    if not isinstance(successes, int) or isinstance(successes, bool) or successes < 0:
        yield Fault(("log_successes",), f"log_successes is {successes!r}, not a whole number from 0 on")
    for name in ("limits", "enclaves", "serve"):
        if not isinstance(table.get(name, {}), dict):
            yield Fault((name,), f"{name} is not a table")
    limits = table.get("limits")
    for name, value in limits.items() if isinstance(limits, dict) else ():
        yield from _find_fault_in_limit(name, value)
    enclaves = table.get("enclaves")
    for name, problem in faults_in_rules(enclaves) if isinstance(enclaves, dict) else ():
        yield Fault(("enclaves", name), problem)
    for name in sorted(table.keys() - {"log_level", "log_format", "log_successes", "limits", "enclaves", "serve"}):
        yield Fault((name,), f"unknown setting {name!r}")


def encode_settings(settings: Settings) -> str:
    """Settings as text that ``decode_settings`` understands: how the command line hands them to the daemon."""
    values = settings._replace(log_format=None)
    return json.dumps([settings.log_format and settings.log_format.value, *values])


def decode_settings(text: str) -> Settings:
    """The settings that ``encode_settings`` wrote."""
    log_format, *values = json.loads(text)
    settings = Settings(*values)
    return settings._replace(
        socket=SocketSettings(*settings.socket),
        log_level=settings.log_level and Level(settings.log_level),
        log_format=log_format and LogFormat(log_format),
        dcap=DcapFiles(*settings.dcap),
    )


_LEVELS = {level.name.lower(): level for level in Level}
_FORMATS = {layout.value: layout for layout in LogFormat}


def _find_fault_in_limit(name: str, value: object) -> Iterator[Fault]:
    path = ("limits", name)
    if name not in _RANGES:
        yield Fault(path, f"unknown setting limits.{name}")
        return
    low, high = _RANGES[name]
    whole = isinstance(Limits._field_defaults[name], int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        yield Fault(path, f"limits.{name} is {value!r}, not a {'whole ' * whole}number")
    elif not low <= value <= high:
        yield Fault(path, f"limits.{name} is {value}, it goes from {low} to {high}")


def _read(path: str) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415  costs 14 ms, and most daemons run without a file

    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123  pathlib costs a serving process 5 ms
            return tomllib.loads(file.read())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "Name a readable file, or leave --config out") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}", "Write it in TOML") from error
