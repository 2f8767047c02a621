"""Kubernetes around the daemon: resources and quantities, admission, the device plugin."""
