"""Real SGX hardware through Intel's libsgx_dcap_ql.so.1: the one room that calls foreign functions.

It loads enclaves and signal handlers into its process and may hang or crash there, so it belongs into a worker of its
own (``platforms.worker``); the platform itself can be opened in any process, in one thread.
"""
