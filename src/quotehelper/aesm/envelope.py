"""What all AESM requests and responses have in common. Pure.

Requests and responses travel alone in an envelope each, a message of optional messages; a response stands in the
field of the request that it answers. Source: aesm 2 and 2.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

from quotehelper.wire.protobuf import Kind, Message, boolean, octets, u32, u64

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self


@dataclass_transform(frozen_default=True, field_specifiers=(octets, u32, u64, boolean))
class Response(Message):
    """What a daemon answers. ``error_code`` is an ``aesm_error_t``, encoded even when 0: absent it would mean 1."""

    FIELD: ClassVar[int]
    """The envelope's field number, the request's."""

    ECHOES: ClassVar[Mapping[str, str]] = {}
    """Fields of an error reply that repeat one of the request's."""

    error_code: int = u32(1)

    def __init_subclass__(cls, field: int, echoes: Mapping[str, str] | None = None) -> None:
        """Declare a response: ``field`` of the envelope, and what an error reply repeats."""
        super().__init_subclass__()
        cls.FIELD = field
        cls.ECHOES = echoes or {}

    @classmethod
    def error(cls, status: int, request: Request | None = None) -> Self:
        """The reply that says ``status``, made as Intel's service makes it: integers 0, bytes absent, echoes."""
        values: list[object] = [status]
        for field in cls.FIELDS[1:]:
            nothing = None if field.kind is Kind.OCTETS else 0
            echo = getattr(request, cls.ECHOES[field.name], None) if field.name in cls.ECHOES else None
            values.append(echo or nothing)
        return cls.complete(values)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(octets, u32, u64, boolean))
class Request(Message):
    """What a client asks.

    ``timeout``: the client's own, in a unit that differs between clients (aesm 1.5); daemons ignore it.
    """

    FIELD: ClassVar[int]
    """The envelope's field number."""

    RESPONSE: ClassVar[type[Response]]
    """What answers it."""

    timeout: int | None = u32(9, default=None, kw_only=True)

    def __init_subclass__(cls, response: type[Response]) -> None:
        """Declare a request by what answers it."""
        super().__init_subclass__()
        cls.FIELD = response.FIELD
        cls.RESPONSE = response

    def __new__(cls, **named: Any) -> Self:  # noqa: ANN401  the fields' types, which mypy checks
        """A request of the named values. Optional fields may be left out."""
        return super().__new__(cls, **named)
