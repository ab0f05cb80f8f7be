"""The networks, as pure init and apply."""
