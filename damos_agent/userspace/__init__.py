"""Backend for machines without usable DAMON: access probes, sampling loop, actions."""
