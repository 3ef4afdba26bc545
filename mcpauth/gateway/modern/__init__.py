"""The modern era (MCP 2026-07-28): every request stands for itself, with what the server must know in its ``_meta``."""
