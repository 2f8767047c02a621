"""A simulated authority, and each kind of database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from collateral_world import Postgres, World, postgres
from quotehelper.collateral.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.create(tmp_path_factory.mktemp("world") / "state")


@pytest.fixture(scope="session")
def other_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A platform of the other CA, under an authority of its own."""
    return World.create(tmp_path_factory.mktemp("world") / "state", ca="platform")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Postgres | None]:
    with postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    no_interop_tool: Callable[[str], None],
) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    cluster: Postgres | None = request.getfixturevalue("cluster")
    if cluster is None:
        no_interop_tool("PostgreSQL")
        raise AssertionError
    return cluster.create_database()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    yield store
    store.close()
