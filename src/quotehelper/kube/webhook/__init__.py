"""The admission webhook: HTTPS around ``kube.admission``. Shell.

::

    run.py            starts it, wires the parts, ends it
    server.py         requests in, answers out, with limits and deadlines
    certificates.py   TLS whose certificate changes without a failed review
    authority.py      certificates made by the webhook itself, in generations that overlap       pure
    keeper.py         shares them between replicas by a Secret, and tells the API server
    cluster_watch.py  nodes, namespaces and helper pods, as data with an age
    telemetry.py      metrics and log
    settings.py       what the operator decides

Reviews touch nothing but memory: whatever is asked of the API server is asked beside them.
"""
