"""The resident process."""
