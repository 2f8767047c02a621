"""What the hardware and Intel's quoting enclave define: reports, key ids, quotes. Pure."""
