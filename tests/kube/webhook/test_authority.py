from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.errors import DecodeError
from quotehelper.kube.webhook.authority import (
    LIFETIME_S,
    PUBLISHED_S,
    RENEWED_S,
    Generation,
    Generations,
    encode_generations,
    make_generation,
    read_generations,
)

NOW = 1_800_000_000.0
NAMES = ("w.ns.svc", "w.ns.svc.cluster.local")


def named(made_at: float) -> Generation:
    """A generation that only its time matters of."""
    return Generation(made_at, f"-----BEGIN A{made_at}", f"-----BEGIN C{made_at}", f"-----BEGIN K{made_at}")


def test_the_first_generation_is_served_at_once() -> None:
    generations = Generations().advance(NOW, NAMES)
    assert len(generations.all) == 1
    assert generations.served(NOW) is generations.all[0]


def test_nothing_is_to_be_done_is_the_same_object() -> None:
    generations = Generations((named(NOW),))
    assert generations.advance(NOW + RENEWED_S - 1, NAMES) is generations


def test_a_new_generation_is_trusted_before_it_is_served() -> None:
    old = named(NOW)
    renewed = Generations((old,)).advance(NOW + RENEWED_S, NAMES)
    assert len(renewed.all) == 2
    assert renewed.bundle_pem == old.authority_pem + renewed.all[1].authority_pem
    assert renewed.served(NOW + RENEWED_S + PUBLISHED_S - 1) is old
    assert renewed.served(NOW + RENEWED_S + PUBLISHED_S) is renewed.all[1]


def test_the_old_generation_is_trusted_for_a_while_after_it_was_served_last() -> None:
    both = Generations((named(NOW), named(NOW + RENEWED_S)))
    assert both.advance(NOW + RENEWED_S + 2 * PUBLISHED_S - 1, NAMES) is both
    assert both.advance(NOW + RENEWED_S + 2 * PUBLISHED_S, NAMES).all == both.all[1:]


def test_what_has_expired_while_nobody_looked_is_replaced_and_served_at_once() -> None:
    late = NOW + LIFETIME_S
    generations = Generations((named(NOW),)).advance(late, NAMES)
    assert [each.made_at for each in generations.all] == [late]
    assert generations.served(late).made_at == late


DAY_S = 86400.0


@given(st.lists(st.floats(0, 10 * DAY_S), min_size=1, max_size=40))
def test_while_somebody_looks_now_and_then_what_is_served_is_trusted_even_by_an_api_server_that_lags(
    pauses: list[float],
) -> None:
    """An API server may know the bundle of any moment within PUBLISHED_S."""
    now = NOW
    generations = Generations((named(NOW),))
    history = [(NOW, generations)]
    for pause in pauses:
        now += pause
        served = generations.served(now)
        known = [each for at, each in history if at <= now - PUBLISHED_S] or [history[0][1]]
        lagging = [known[-1], *(each for at, each in history if at > now - PUBLISHED_S)]
        assert all(served in each.all for each in lagging)
        assert now - served.made_at < LIFETIME_S
        generations = generations.advance(now, NAMES)
        history.append((now, generations))


def test_a_certificate_holds_for_the_services_names_and_for_no_other() -> None:
    made = make_generation(NOW, NAMES)
    store = Store([x509.load_pem_x509_certificate(made.authority_pem.encode())])
    certificate = x509.load_pem_x509_certificate(made.certificate_pem.encode())
    for name in NAMES:
        verifier = (
            PolicyBuilder()
            .store(store)
            .time(datetime.fromtimestamp(NOW, UTC))
            .build_server_verifier(x509.DNSName(name))
        )
        assert verifier.verify(certificate, [])[0] == certificate
    other = (
        PolicyBuilder().store(store).time(datetime.fromtimestamp(NOW, UTC)).build_server_verifier(x509.DNSName("other"))
    )
    with pytest.raises(x509.verification.VerificationError):
        other.verify(certificate, [])


def test_an_authority_can_vouch_for_nothing_else() -> None:
    authority = x509.load_pem_x509_certificate(make_generation(NOW, NAMES).authority_pem.encode())
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert constraints.value.permitted_subtrees == [x509.DNSName(name) for name in NAMES]
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_generations_come_back_from_their_text() -> None:
    generations = Generations((make_generation(NOW, NAMES), named(NOW + 5)))
    assert read_generations(encode_generations(generations)) == generations
    assert read_generations(b"") == Generations()


@given(st.binary(max_size=100) | st.text(max_size=40).map(str.encode))
def test_anything_else_is_a_decode_error(data: bytes) -> None:
    if data:
        with pytest.raises(DecodeError):
            read_generations(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"version":2,"generations":[]}',
        b'{"version":1,"generations":[[1,"a","b","c"]]}',
        b'{"version":1,"generations":[[1,"-----BEGIN "]]}',
        b'{"version":1,"generations":7}',
        b"[" * 10000,
    ],
)
def test_a_secret_of_another_shape_is_a_decode_error_that_quotes_nothing(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        read_generations(data)
    assert "-----" not in str(caught.value)


def test_a_key_never_shows_in_messages() -> None:
    assert "KEY" not in repr(make_generation(NOW, NAMES))
    assert "KEY" not in repr(Generations((make_generation(NOW, NAMES),)))
