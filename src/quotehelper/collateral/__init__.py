"""Collateral, kept: fetched from where it is published, proven, stored, and served to whoever verifies or quotes.

Needs the extra ``collateral`` (aiohttp, SQLAlchemy); no quoting daemon imports any of it.
"""
