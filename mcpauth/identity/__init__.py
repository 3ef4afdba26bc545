"""Where a person proves who they are: one file per provider."""
