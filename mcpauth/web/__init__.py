"""HTTP: one handler file per endpoint. A handler parses, makes one call, writes."""
