"""What an operator can do: the commands call it, and later the admin pages, so that the two cannot drift."""
