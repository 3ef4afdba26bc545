"""The built-in `files` backend: a folder of the owner's, read over MCP."""
