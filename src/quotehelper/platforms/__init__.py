"""Who can quote: the Platform protocol and its implementations."""
