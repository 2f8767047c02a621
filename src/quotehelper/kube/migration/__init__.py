"""Migration: manifests written for other SGX systems, rewritten where they must change, and nowhere else. Pure.

::

    migrate.py    text in, text and explained changes out
    workloads.py  what changes in pods: resources, environment, mounts
    replaced.py   objects whose place quotehelper takes, and others that concern it
    rules.py      each kind of change with its reason
    editing.py    edits of YAML text by position
"""
