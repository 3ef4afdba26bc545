"""Looks whether clients can connect, and says what to do where they cannot. Changes nothing."""
