"""python -m mcpauth: the same as the command."""

from .cli.main import run

run()
