"""Methods: what turns curves into maps, each with its configuration, networks, training stages and outputs."""
