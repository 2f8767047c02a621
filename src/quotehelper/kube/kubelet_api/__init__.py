"""The kubelet's interfaces: device plugins v1beta1 and pod resources v1, as protobuf messages. Pure.

``*.proto`` are kubernetes/kubelet's, under the notice at their heads. ``*_pb2.py`` and ``*_pb2.pyi`` are made from
them by ``make schema`` and committed, so that installing needs no compiler; a test holds them to their sources. Stubs
are not generated: ``device_plugin`` names the methods it serves and calls, and hands its lists over ready encoded.
"""
