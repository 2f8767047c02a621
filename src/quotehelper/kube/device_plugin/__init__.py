"""The device plugin: hands out EPC and SGX device nodes to pods, and says why where there are none."""
