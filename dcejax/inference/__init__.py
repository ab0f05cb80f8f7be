"""From curves to maps, and maps to files."""
