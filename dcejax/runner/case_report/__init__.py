"""A case as one HTML file that is read in a minute: maps to scroll, curves, a table of regions, warnings, sources."""
