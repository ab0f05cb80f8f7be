"""Command-line entry points; absl flags live here only."""
