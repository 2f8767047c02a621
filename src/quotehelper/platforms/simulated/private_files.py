"""Files that nobody but their owner may read, and that are there whole or not at all. Shell.

A new directory is built as a draft beside its place and gets its name last, by a rename; a changed file likewise. So
whoever is killed, at whatever step, leaves what was there before, and perhaps a draft. A draft is locked by whoever
builds it; the next one to build beside it removes those whose builder is gone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from quotehelper.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SIZE_LIMIT = 1 << 16
"""Bytes a file may have that is read: ours have less than 6 KiB."""

_DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600
_OTHERS = 0o077
_DRAFT = ".draft"
_RESTORE = "Restore it from a copy, or create a new platform elsewhere"


def read(directory: Path, *names: str) -> tuple[bytes, ...]:
    """The contents of the files ``names`` in ``directory``.

    Raises ConfigError if the directory or one of them is missing, open to others, no plain file, larger than
    SIZE_LIMIT, or cannot be read.
    """
    with _opened(directory) as descriptor:
        return tuple(_read(directory / name, descriptor) for name in names)


def create(directory: Path, files: Mapping[str, bytes], *, public: bool = False) -> None:
    """Make ``directory`` with ``files``, whose names may have one "/": all at once, durably.

    With ``public`` everybody may read them, as far as the umask lets them.

    Missing parents are made. Of several who create the same directory one wins. Raises ConfigError for the others, if
    anything but an empty directory is there already, or if the file system refuses.
    """
    refuse_occupied(directory)
    with _explained(directory, "Choose a place on a local file system that you can write to"):
        directory = directory.resolve()
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _draft_of(directory) as draft:
            for name, content in files.items():
                _write(draft / name, content)
            for folder in {(draft / name).parent for name in files} | {draft}:
                _sync(folder)
            if public:
                _open_to_all(draft)
            _publish(draft, directory)


def refuse_occupied(directory: Path) -> None:
    """Raise ConfigError if something else than an empty directory is at ``directory``; a courtesy, no guarantee."""
    with _explained(directory, "Choose a place that you can read and write"):
        if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
            raise _occupied(directory)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """While inside, nobody else is inside for this ``directory``. Raises ConfigError as ``read`` does."""
    with _opened(directory) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def replace(path: Path, content: bytes) -> None:
    """Give the file ``path`` a new ``content``: readers see the old one or the new one. Call while ``locked``.

    Raises ConfigError if the file system refuses.
    """
    draft = _draft_path(path)
    with _explained(path, "Nothing was changed: see that the file system is writable and has room"):
        for left in _drafts(path):
            left.unlink(missing_ok=True)
        try:
            _write(draft, content)
            draft.replace(path)
            _sync(path.parent)
        finally:
            draft.unlink(missing_ok=True)


def remove(directory: Path, *patterns: str, kept: str) -> None:
    """Remove the files of ``directory`` that match one of ``patterns``, but for ``kept``. Call while ``locked``.

    Raises ConfigError if the file system refuses.
    """
    with _explained(directory, "What was asked for is done, only files that nothing names are left"):
        for path in (found for pattern in patterns for found in directory.glob(pattern)):
            if path.name != kept:
                path.unlink(missing_ok=True)
        _sync(directory)


@contextlib.contextmanager
def _explained(path: Path, remedy: str) -> Iterator[None]:
    """Turn what the file system says about ``path`` into a ConfigError."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", remedy) from None
    except RuntimeError:  # how Path.resolve says it, up to Python 3.12
        raise ConfigError(f"{path}: symbolic links in a circle", remedy) from None


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    try:
        descriptor = _open_directory(directory)
    except FileNotFoundError:
        remedy = f"Create a platform with: quotehelper simulate init --state {directory}"
        raise ConfigError(f"There is no directory {directory}", remedy) from None
    except OSError as error:
        remedy = "Name the directory of a simulated platform that you own"
        raise ConfigError(f"{directory}: {error.strerror}", remedy) from None
    try:
        _check_mode(directory, os.fstat(descriptor), _DIRECTORY_MODE)
        yield descriptor
    finally:
        os.close(descriptor)


def _read(path: Path, directory: int) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO in its place must not hold us up
    with _explained(path, _RESTORE), os.fdopen(os.open(path.name, flags, dir_fd=directory), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path} is not a plain file", _RESTORE)
        _check_mode(path, status, _FILE_MODE)
        if status.st_size > SIZE_LIMIT:
            raise ConfigError(f"{path} is larger than {SIZE_LIMIT} bytes", _RESTORE)
        return file.read(SIZE_LIMIT)


def _check_mode(path: Path, status: os.stat_result, wanted: int) -> None:
    if status.st_mode & _OTHERS:
        problem = f"{path} is open to others: its mode is {stat.S_IMODE(status.st_mode):04o}"
        raise ConfigError(problem, f"If nobody has used that: chmod {wanted:04o} {path}")


@contextlib.contextmanager
def _draft_of(directory: Path) -> Iterator[Path]:
    """A locked empty directory beside ``directory``; gone afterwards unless it was renamed."""
    for left in _drafts(directory):
        _remove_abandoned(left)
    draft, descriptor = _locked_draft(directory)
    try:
        os.fchmod(descriptor, _DIRECTORY_MODE)
        yield draft
    finally:
        _remove(draft)
        os.close(descriptor)


def _locked_draft(directory: Path) -> tuple[Path, int]:
    while True:
        draft = _draft_path(directory)
        draft.mkdir(_DIRECTORY_MODE)
        try:
            descriptor = _open_directory(draft)
        except FileNotFoundError:
            continue  # somebody took it for abandoned at once
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if draft.exists():
            return draft, descriptor
        os.close(descriptor)  # somebody took it for abandoned before it was locked


def _publish(draft: Path, directory: Path) -> None:
    try:
        draft.rename(directory)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise _occupied(directory) from None
        raise
    _sync(directory.parent)


def _draft_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.urandom(8).hex()}{_DRAFT}")


def _drafts(path: Path) -> list[Path]:
    beside = path.parent.iterdir()
    return [other for other in beside if other.name.startswith(f".{path.name}.") and other.name.endswith(_DRAFT)]


def _remove_abandoned(draft: Path) -> None:
    """Remove ``draft`` unless somebody is building it."""
    try:
        descriptor = _open_directory(draft)
    except OSError:
        return  # gone, or none of ours
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(draft)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)


def _remove(directory: Path) -> None:
    """Remove a draft and what is in it; whatever is gone already is fine."""
    for folder, _, names in os.walk(directory, topdown=False):
        for name in names:
            Path(folder, name).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            Path(folder).rmdir()


def _open_to_all(directory: Path) -> None:
    umask = os.umask(0o022)
    os.umask(umask)
    for path in (*directory.rglob("*"), directory):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(_DIRECTORY_MODE, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _open_directory(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _sync(directory: Path) -> None:
    descriptor = _open_directory(directory)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _occupied(directory: Path) -> ConfigError:
    return ConfigError(f"{directory} is there already", "Choose another directory, or remove this one first")
