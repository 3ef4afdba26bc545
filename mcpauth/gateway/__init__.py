"""The wire: JSON-RPC, sessions and backends of MCP. Knows no OAuth; it is handed a Principal."""
