"""``quotehelper prepare-node``: the init container that gives the node's directories to the daemon's user."""

from __future__ import annotations

from pathlib import Path

import click

from quotehelper.cli.output import json_option, print_facts, print_json

_DIRECTORIES = click.Path(path_type=Path, readable=False)
_ID_LIMIT = (1 << 32) - 2


@click.command()
@click.option("--uid", type=click.IntRange(1, _ID_LIMIT), required=True, show_envvar=True, help="The daemon's user.")
@click.option("--gid", type=click.IntRange(1, _ID_LIMIT), required=True, show_envvar=True, help="Its group.")
@click.option(
    "--public", type=_DIRECTORIES, multiple=True, help="A directory that workloads mount: mode 0755. Can be repeated."
)
@click.option(
    "--private", type=_DIRECTORIES, multiple=True, help="One that nobody else may enter: mode 0700. Can be repeated."
)
@json_option
def command(*, uid: int, gid: int, public: tuple[Path, ...], private: tuple[Path, ...], as_json: bool) -> None:
    """Give directories of the node to the daemon's user, before the daemon starts.

    Runs as root with CAP_CHOWN, and needs nothing else. What is right already is left alone, so that it may run beside
    a daemon that serves. A private directory in which somebody else could have put something is refused.
    """
    from quotehelper.kube.node_directories import Owner, give_private, give_public

    owner = Owner(uid, gid)
    given = {str(directory): give_public(directory, owner) for directory in public}
    given |= {str(directory): give_private(directory, owner) for directory in private}
    if as_json:
        print_json({"uid": uid, "gid": gid, "changed": given})
    else:
        said = {directory: "given" if changed else "right already" for directory, changed in given.items()}
        print_facts("Directories", said, as_json=False)
