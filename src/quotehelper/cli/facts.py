"""What a document says, as nested facts: what JSON and tables are made of."""

from __future__ import annotations

from typing import Any

Facts = dict[str, Any]
"""Names to strings, numbers, truth values, lists of these, or further facts."""

TITLE = "title"
"""The name of the fact by which people know one of several; left out of JSON."""
