"""``quotehelper webhook``: the admission webhook in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from quotehelper.errors import ConfigError
from quotehelper.kube.admission.settings import AdmissionSettings
from quotehelper.kube.resources import ENCLAVE, EPC_RESOURCES, INTEL_EPC, PROVISION
from quotehelper.kube.webhook.settings import (
    CertificateFiles,
    Endpoint,
    HelperPods,
    Limits,
    SelfMade,
    WebhookSettings,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from quotehelper.kube.resources import EpcResource

_PORTS = 65535
_LEVELS = ("debug", "info", "warning", "error")


class _Endpoint(click.ParamType[Endpoint]):
    name = "host:port"

    def convert(self, value: str | Endpoint, param: click.Parameter | None, ctx: click.Context | None) -> Endpoint:
        if isinstance(value, Endpoint):
            return value
        host, colon, port = value.rpartition(":")
        if not colon or not port.isdecimal() or int(port) > _PORTS:
            self.fail(f"{value!r} is not HOST:PORT, as in 0.0.0.0:8443", param, ctx)
        return Endpoint(host.strip("[]"), int(port))


class _Label(click.ParamType[tuple[str, str]]):
    name = "key=value"

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, wanted = value.partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        return key, wanted


_FILE = click.Path(dir_okay=False, path_type=Path)
_OPTIONS = (
    click.option("--listen", type=_Endpoint(), default="0.0.0.0:8443", help="Where reviews come in."),
    click.option(
        "--health-listen",
        type=_Endpoint(),
        default="0.0.0.0:8080",
        help="Plain HTTP: /healthz, /readyz, /metrics.",
    ),
    click.option("--certificate", type=_FILE, help="Certificate chain (PEM), read anew when it changes."),
    click.option("--key", type=_FILE, help="Its key (PEM)."),
    click.option(
        "--self-made",
        metavar="NAMESPACE",
        help="Make certificates for the service in this namespace.",
    ),
    click.option("--service", default=SelfMade("").service, help="The Service, with --self-made."),
    click.option("--secret", default=SelfMade("").secret, help="The Secret, with --self-made."),
    click.option(
        "--configuration",
        default=SelfMade("").configuration,
        help="The MutatingWebhookConfiguration, with --self-made.",
    ),
    click.option(
        "--epc-resource",
        type=click.Choice(list(EPC_RESOURCES)),
        default=INTEL_EPC.name,
        callback=lambda _context, _option, name: EPC_RESOURCES[name],
        help="What the nodes advertise; other names of EPC are translated to it.",
    ),
    click.option(
        "--enclave-resource",
        default=ENCLAVE,
        callback=lambda _context, _option, name: name or None,
        help='Gives the enclave device; "": EPC does.',
    ),
    click.option(
        "--provision-resource",
        default=PROVISION,
        callback=lambda _context, _option, name: name or None,
        help='Gives the provisioning device; "": EPC does.',
    ),
    click.option(
        "--in-process-namespaces",
        multiple=True,
        callback=lambda _context, _option, names: frozenset(names),
        help='Where pods may quote in-process by declaration; "*": everywhere. Repeatable.',
    ),
    click.option("--helper-namespace", help="Watch the node helpers in this namespace."),
    click.option(
        "--helper-label",
        type=_Label(),
        multiple=True,
        default=("app.kubernetes.io/name=quotehelper",),
        help="Label of the helpers' pods. Repeatable.",
    ),
    click.option(
        "--view-age-limit", type=click.FloatRange(1, 3600), default=60.0, help="Seconds until it is taken for unknown."
    ),
    click.option(
        "--check-interval", type=click.FloatRange(0.01, 60), default=5.0, help="Seconds between looks at certificates."
    ),
    click.option("--drain", type=click.FloatRange(0, 300), default=5.0, help="Seconds of serving on after SIGTERM."),
    click.option("--log-level", type=click.Choice(_LEVELS), default="info", help="What is logged."),
    click.option("--log-format", type=click.Choice(["json", "text"]), default="json", help="And how."),
)


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@_options
def command(  # noqa: PLR0913  one argument an option
    *,
    listen: Endpoint,
    health_listen: Endpoint,
    certificate: Path | None,
    key: Path | None,
    self_made: str | None,
    service: str,
    secret: str,
    configuration: str,
    epc_resource: EpcResource,
    enclave_resource: str | None,
    provision_resource: str | None,
    in_process_namespaces: frozenset[str],
    helper_namespace: str | None,
    helper_label: tuple[tuple[str, str], ...],
    view_age_limit: float,
    check_interval: float,
    drain: float,
    log_level: str,
    log_format: str,
) -> None:
    """Opt pods in to quoting as they are created.

    Certificates are files (--certificate, --key), or made by the webhook (--self-made). docs/admission.md says it all.
    """
    names = None if self_made is None else SelfMade(self_made, service, secret, configuration)
    pods = AdmissionSettings(epc_resource, enclave_resource, provision_resource, in_process_namespaces, view_age_limit)
    _serve(
        WebhookSettings(
            _certificates(certificate, key, names),
            listen=listen,
            health=health_listen,
            admission=pods,
            limits=Limits(drain_s=drain),
            helpers=None if helper_namespace is None else HelperPods(helper_namespace, dict(helper_label)),
            certificate_check_s=check_interval,
            log_json=log_format == "json",
            log_level=log_level,
        )
    )


def _certificates(certificate: Path | None, key: Path | None, names: SelfMade | None) -> CertificateFiles | SelfMade:
    """Where certificates come from; a usage error unless exactly one place is named."""
    if names is not None and certificate is None and key is None:
        return names
    if certificate is None or key is None or names is not None:
        raise click.UsageError("give --certificate and --key, or --self-made NAMESPACE")
    return CertificateFiles(certificate, key)


def _serve(settings: WebhookSettings) -> None:
    try:
        from quotehelper.kube.webhook.run import serve_webhook
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the webhook needs {error.name}, which is not installed",
            "Install it: pip install 'quotehelper[kubernetes]'",
        ) from error
    serve_webhook(settings)
