"""The ``quotehelper`` command: finds the subcommand, and is the edge where every error becomes words and a code.

Exit codes: 0 done or accepted; 1 refused; 2 usage or configuration; 3 can't tell or unavailable, try again.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from quotehelper import __version__
from quotehelper.cli.exit_codes import EXIT_UNAVAILABLE, EXIT_USAGE, exit_code, plain
from quotehelper.errors import QuoteHelperError

if TYPE_CHECKING:
    from typing import NoReturn

_PREFIX = "QUOTEHELPER"
"""With which the names of environment variables begin."""

_COMMANDS = {
    "serve": "Make quotes for every client on this machine (the daemon).",
    "config": "See whether settings files are right, and which settings are in force.",
    "quote": "Ask a daemon for a quote over given report data.",
    "target-info": "Ask a daemon for which enclave a report must be made.",
    "verify": "Verify quotes: are they genuine, and does a policy want them.",
    "conformance": "Try whether a daemon, ours or any other, answers each known client as it needs it.",
    "show": "Decode a quote, report, certificate or collateral document for people, or as JSON.",
    "hardware-report": "Look at this machine's SGX and try its platform: one redacted archive.",
    "simulate": "Create and use a simulated SGX platform.",
    "collateral": "Fetch, show, bundle and compare what verification needs besides the quote.",
    "pccs": "Run and administer a collateral service (PCCS).",
    "demo": "See the whole of it work: platform, daemon, client, verified quote.",
    "webhook": "Opt pods in to quoting as Kubernetes creates them.",
    "migrate": "Rewrite manifests that were written for other SGX systems.",
    "doctor": "Find out why quoting does not work.",
    "bench": "Measure a daemon: quotes a second, latency, errors.",
    "device-plugin": "Hand out EPC and SGX device nodes to pods (Kubernetes).",
    "prepare-node": "Give the node's directories to the daemon's user (Kubernetes).",
    "completion": "Print the completion script of a shell.",
}
"""Each command with its one line of help, in the order in which ``--help`` lists them."""


class _Commands(click.Group):
    """Imports a command's module when it is called, so that none pays for another at start."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  the framework's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  see above
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"quotehelper.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        _name_variables(command, _variable(_PREFIX, cmd_name))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  see above
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _name_variables(command: click.Command, prefix: str) -> None:
    """Give each option of ``command``, and of those under it, the variable of its name, and have help show it.

    Left to itself click names variables after the functions' arguments, whose names are not always the options'.
    """
    for option in (each for each in command.params if isinstance(each, click.Option)):
        option.show_envvar = True
        option.envvar = option.envvar or _variable(prefix, max(option.opts, key=_is_long))
    for name, inner in command.commands.items() if isinstance(command, click.Group) else ():
        _name_variables(inner, _variable(prefix, name))


def _is_long(option: str) -> bool:
    return option.startswith("--")


def _variable(prefix: str, name: str) -> str:
    return f"{prefix}_{name.lstrip('-').replace('-', '_').upper()}"


@click.group(
    cls=_Commands,
    context_settings={
        "auto_envvar_prefix": _PREFIX,
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "max_content_width": 110,
    },
    epilog="Exit codes: 0 done or accepted, 1 refused, 2 usage or configuration, 3 can't tell or unavailable. "
    "Every option can be set by environment: QUOTEHELPER_<COMMAND>_<OPTION>.",
)
@click.version_option(__version__, prog_name="quotehelper")
def cli() -> None:
    """SGX quotes as a service of the node, in the protocol that SGX clients already speak."""


def main() -> NoReturn:
    """Run the command line; every deliberate error becomes a sentence on standard error and an exit code."""
    try:
        code: object = cli.main(prog_name="quotehelper", standalone_mode=False)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.Abort:
        code = _fail("interrupted", EXIT_UNAVAILABLE)
    except click.ClickException as error:
        error.show()
        code = EXIT_USAGE
    except QuoteHelperError as error:
        code = _fail(error, exit_code(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output has left
        code = 0
    except OSError as error:
        code = _fail(f"{error.filename or 'system'}: {error.strerror or error}", EXIT_USAGE)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(error: object, code: int) -> int:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {plain(str(error))}", err=True)
    return code
