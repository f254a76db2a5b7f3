"""The backend over DAMON's sysfs interface."""
