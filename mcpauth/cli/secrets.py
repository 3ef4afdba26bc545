"""Passwords that a person types, or a program pipes in."""

import getpass
import sys

from ..errors import WrongUsage


def read_password(from_stdin: bool) -> str:
    """Never from the command line, where every user of the machine could read it. Raises WrongUsage."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise WrongUsage("pipe the password in, with --password-stdin")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise WrongUsage("the two passwords differ; nothing was changed")
    return password
