"""Does an AESM daemon, ours or anybody's, answer as each known client needs it: the conformance list."""
