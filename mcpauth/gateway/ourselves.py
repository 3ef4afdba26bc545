"""Who we are, to the servers that we ask for ourselves and to the clients of `/mcp`."""

from .. import __version__

ABOUT_US = {"name": "mcpauth", "version": __version__}
