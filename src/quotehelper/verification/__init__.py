"""Is a quote genuine, and do we want it: proof in numbered steps, then a policy. Pure."""
