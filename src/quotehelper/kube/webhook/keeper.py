"""Keeps the webhook's own certificates: one list for all replicas, in a Secret, and the API server's trust. Shell.

Least privilege (deploy/kustomize/components/webhook/access.yaml): ``get`` and ``update`` of the one Secret, ``get`` and
``patch`` of the one MutatingWebhookConfiguration. Replicas agree by the Secret's resourceVersion: who writes second is
refused, reads again, and finds that nothing is left to do.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from typing import TYPE_CHECKING, Any

import httpx2
from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.core.exceptions import ConfigError as NoCluster
from lightkube.generic_resource import create_global_resource, create_namespaced_resource
from lightkube.types import PatchType

from quotehelper.errors import ConfigError, DecodeError, TransportError
from quotehelper.kube.webhook.authority import Generations, encode_generations, read_generations
from quotehelper.kube.webhook.certificates import TlsPair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from structlog.typing import FilteringBoundLogger

    from quotehelper.kube.webhook.settings import SelfMade

SECRET_KEY = "generations.json"  # noqa: S105  a member's name
FIELD_MANAGER = "quotehelper-webhook"
_ATTEMPTS = 5
"""Writes of the Secret that may lose against another replica's before this check gives up."""
_CONFLICT, _NOT_FOUND = 409, 404

_Secret = create_namespaced_resource("", "v1", "Secret", "secrets")
_Configuration = create_global_resource(
    "admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations"
)


@contextlib.asynccontextmanager
async def open_api_server() -> AsyncIterator[AsyncClient]:
    """A client of the API server, by service account or kubeconfig. Raises ConfigError if there is none."""
    try:
        client = AsyncClient(field_manager=FIELD_MANAGER)
    except NoCluster as error:
        raise ConfigError(
            f"no API server is known: {error}", "Run in a pod with a service account, or set KUBECONFIG"
        ) from error
    try:
        yield client
    finally:
        await client.close()


class CertificateKeeper:
    """Keeps generations in the Secret, and their authorities in the webhook configuration."""

    def __init__(self, client: AsyncClient, names: SelfMade, log: FilteringBoundLogger) -> None:
        self._client = client
        self._names = names
        self._log = log

    async def keep(self, now: float) -> TlsPair:
        """Do what is due at ``now``; returns the pair to serve.

        Raises ConfigError if Secret or configuration are missing or not ours, TransportError if the API server can't
        be asked or refuses.
        """
        try:
            generations = await self._agree(now)
            await self._publish(generations)
        except ApiError as error:
            raise TransportError(f"the API server refused: {error.status.message}") from error
        except httpx2.HTTPError as error:
            raise TransportError(f"the API server can't be reached: {error!r}") from error
        served = generations.served(now)
        return TlsPair(served.certificate_pem.encode(), served.key_pem.encode())

    async def _agree(self, now: float) -> Generations:
        """The generations that all replicas hold at ``now``, advanced by whoever comes first."""
        for _attempt in range(_ATTEMPTS):
            secret = await self._get(_Secret, self._names.secret, self._names.namespace)
            present = self._read(secret)
            due = present.advance(now, self._names.dns_names)
            if due is present:
                return present
            encoded = base64.b64encode(encode_generations(due)).decode()
            secret["data"] = (secret.get("data") or {}) | {SECRET_KEY: encoded}
            try:
                await self._client.replace(_Secret(**secret))
            except ApiError as error:
                if error.status.code != _CONFLICT:
                    raise
                continue
            self._log.info("certificates advanced", generations=len(due.all))
            return due
        raise TransportError(f"secret {self._names.secret} changes faster than it can be written")

    def _read(self, secret: dict[str, Any]) -> Generations:
        data = secret.get("data")
        encoded = data.get(SECRET_KEY, "") if isinstance(data, dict) else ""
        try:
            return read_generations(base64.b64decode(encoded, validate=True))
        except (DecodeError, binascii.Error, TypeError) as error:
            raise ConfigError(
                f"secret {self._names.namespace}/{self._names.secret}: {error}",
                f"Remove {SECRET_KEY} from it, so that it is made anew",
            ) from error

    async def _publish(self, generations: Generations) -> None:
        """Have the API server trust the generations' authorities, if it does not yet."""
        configuration = await self._get(_Configuration, self._names.configuration, None)
        webhooks = configuration.get("webhooks")
        bundle = base64.b64encode(generations.bundle_pem.encode()).decode()
        steps: list[dict[str, object]] = []
        for at, webhook in enumerate(webhooks if isinstance(webhooks, list) else ()):
            if webhook.get("clientConfig", {}).get("caBundle") != bundle:
                steps.append({"op": "test", "path": f"/webhooks/{at}/name", "value": webhook.get("name")})
                steps.append({"op": "add", "path": f"/webhooks/{at}/clientConfig/caBundle", "value": bundle})
        if steps:
            await self._client.patch(_Configuration, self._names.configuration, steps, patch_type=PatchType.JSON)
            self._log.info("authorities published", webhooks=len(steps) // 2, authorities=len(generations.all))

    async def _get(self, kind: type, name: str, namespace: str | None) -> dict[str, Any]:
        try:
            found: Any = await self._client.get(kind, name, **({} if namespace is None else {"namespace": namespace}))
        except ApiError as error:
            if error.status.code != _NOT_FOUND:
                raise
            raise ConfigError(
                f"there is no {kind.__name__} {name}", "Apply deploy/kustomize/components/webhook, or name yours"
            ) from error
        document: dict[str, Any] = found.to_dict()
        return document
