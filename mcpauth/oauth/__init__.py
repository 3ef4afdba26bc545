"""The rules of OAuth, one RFC section per file. No HTTP, no SQL."""
