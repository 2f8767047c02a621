"""The daemon: one supervisor, serving processes, and the way of a request through them.

Every module here is imported by a serving process, so none imports asyncio, logging, an HTTP library or a
terminal library (import-linter holds that): start-up and memory are figures to reach.
"""
