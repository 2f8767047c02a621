from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quotehelper.aesm.transport import SOCKET_PATH
from quotehelper.errors import ConfigError
from quotehelper.node.config import Limits, Settings, SocketSettings, decode_settings, encode_settings
from quotehelper.node.log import Level, LogFormat, LogSettings
from quotehelper.platforms.dcap.files import DcapFiles

if TYPE_CHECKING:
    from pathlib import Path


def settings_of(file: Path | None, text: str = "", level: Level | None = None) -> Settings:
    if file is not None:
        file.write_text(text)
    return Settings("simulated", "/state", config_file=None if file is None else str(file), log_level=level)


def test_without_a_file_the_defaults_hold() -> None:
    reloadable = settings_of(None).reloadable()
    assert reloadable.limits == Limits()
    assert reloadable.log == LogSettings(Level.INFO, LogFormat.TEXT)


def test_the_file_overlays_the_defaults(tmp_path: Path) -> None:
    text = 'log_level = "debug"\nlog_format = "json"\n[limits]\nconnections = 99\nquote_s = 1.5\n'
    reloadable = settings_of(tmp_path / "file.toml", text).reloadable()
    assert reloadable.limits == Limits(connections=99, quote_s=1.5)
    assert reloadable.log == LogSettings(Level.DEBUG, LogFormat.JSON)


def test_a_flag_wins_over_the_file(tmp_path: Path) -> None:
    reloadable = settings_of(tmp_path / "file.toml", 'log_level = "debug"', Level.ERROR).reloadable()
    assert reloadable.log.level is Level.ERROR


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("surprise = 1", "unknown setting 'surprise'"),
        ("[limits]\nconections = 1", "unknown setting limits.conections"),
        ("[limits]\nconnections = 1", "limits.connections is 1, it goes from 16"),
        ("[limits]\nconnections = 20.5", "limits.connections is 20.5, not a whole number"),
        ("[limits]\nquote_s = true", "limits.quote_s is True, not a number"),
        ("[limits]\nquote_s = nan", "limits.quote_s is nan"),
        ("limits = 3", "limits is not a table"),
        ('log_level = "loud"', "log_level is 'loud', known are debug, info, warning, error"),
        ("log_level = 3", "log_level is 3"),
        ("log_successes = -1", "log_successes is -1, not a whole number from 0 on"),
        ("log_successes = true", "log_successes is True, not a whole number from 0 on"),
        ("= nonsense", "line 1"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "file.toml"
    with pytest.raises(ConfigError, match=re.escape(named)) as caught:
        settings_of(file, text).reloadable()
    assert str(file) in caught.value.problem


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Settings("simulated", "/state", config_file=str(tmp_path / "none.toml")).reloadable()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(raw=st.binary(max_size=200))
def test_any_bytes_in_the_file_give_settings_or_a_config_error(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "file.toml"
    file.write_bytes(raw)
    try:
        Settings("simulated", "/state", config_file=str(file)).reloadable()
    except ConfigError as error:
        assert str(file) in str(error)  # noqa: PT017  either outcome is right, this one has a form


@given(
    st.builds(
        Settings,
        st.text(),
        st.text(),
        st.builds(
            SocketSettings, st.text(), st.integers(0, 0o777), st.none() | st.integers(0), st.none() | st.booleans()
        ),
        st.integers(1, 64),
        st.none() | st.text(min_size=1),
        st.none() | st.sampled_from(Level),
        st.none() | st.sampled_from(LogFormat),
        st.builds(DcapFiles, *[st.none() | st.text()] * 3),
        st.text(),
        st.none() | st.integers(1, 0xFFFF),
        st.none() | st.text(),
        st.booleans(),
        st.none() | st.text(),
        self_check_interval_s=st.floats(1, 3600),
    )
)
def test_settings_survive_the_way_to_the_daemon(given_settings: Settings) -> None:
    assert decode_settings(encode_settings(given_settings)) == given_settings


@pytest.mark.parametrize(
    ("path", "mode", "asked", "bound"),
    [
        (SOCKET_PATH, 0o666, None, True),
        (SOCKET_PATH, 0o660, None, False),
        ("/elsewhere", 0o666, None, False),
        ("/elsewhere", 0o660, True, True),
        (SOCKET_PATH, 0o666, False, False),
    ],
)
def test_the_abstract_name_goes_with_the_default_path_and_an_open_mode(
    path: str,
    mode: int,
    *,
    asked: bool | None,
    bound: bool,
) -> None:
    assert SocketSettings(path, mode, None, asked).binds_abstract is bound
