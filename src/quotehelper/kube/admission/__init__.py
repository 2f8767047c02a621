"""Admission: what is done to a pod before it is stored, decided from the review alone. Pure.

::

    review.py      AdmissionReview v1 in, AdmissionReview v1 out
    admit.py       a pod, settings and what is known of the cluster -> patch, warnings, denial
    opting_in.py   which container quotes how, by annotation or namespace label
    requests.py    EPC and device requests of a container, and what can't work about them
    wiring.py      environment, mounts and volumes through which a container reaches its quote provider
    remarks.py     what is said to the user without refusing anything
    pod.py         views of a pod's JSON         patch.py     RFC 6902 operations
    cluster.py     nodes and namespaces as data  spelling.py  names that were meant
    settings.py    what the operator decides

A pod's unrelated fields are never part of a patch; a patched pod gets an empty patch. Never a call to anybody.
"""
