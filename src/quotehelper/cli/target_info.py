"""``quotehelper target-info``: for which enclave a report must be made before the daemon can quote it."""

from __future__ import annotations

from pathlib import Path

import click

from quotehelper.aesm.transport import SOCKET_PATH
from quotehelper.cli.output import json_option, print_facts, write_result


@click.command()
@click.option("--socket", default=SOCKET_PATH, help="The daemon's socket.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the 512 bytes of TARGETINFO here.")
@json_option
def command(socket: str, out: Path | None, *, as_json: bool) -> None:
    """Ask a daemon for which enclave a report must be made.

    The target info goes to the enclave, whose report (EREPORT) then goes to `quotehelper quote --report`.
    """
    from quotehelper.aesm.client import AesmClient
    from quotehelper.sgx.key_id import QE3_KEY_ID

    target_info, public_key_id = AesmClient(socket).init_quote(QE3_KEY_ID)
    if out is not None:
        write_result(out, target_info.raw)
    print_facts(
        "Quoting enclave",
        {
            "mr_enclave": target_info.mr_enclave.hex(),
            "attributes": target_info.attributes.raw.hex(),
            "misc_select": target_info.misc_select,
            "public_key_id": public_key_id.hex(),
            "written_to": None if out is None else str(out),
        },
        as_json=as_json,
    )
