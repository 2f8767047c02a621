"""A platform in a process of its own, behind a socketpair.

``messages``: what the two sides say. ``remote``: the side that asks. ``loop``: the side that has the platform.
"""
