"""``python -m quotehelper``: the same as the ``quotehelper`` command."""

from quotehelper.cli.main import main

main()
