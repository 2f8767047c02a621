"""The collateral service: HTTP and HTTPS around the keeper, as clients of Intel's PCCS and PCS expect it."""
