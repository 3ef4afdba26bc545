"""Frozen records and wire messages. They decide nothing."""
