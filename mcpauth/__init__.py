"""mcpauth: put a home machine's MCP servers on the internet, easily and safely."""

__version__ = "0.1.0"
