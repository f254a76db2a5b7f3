"""damos-agent: declarative memory policies for Linux, reconciled into the kernel's DAMON."""

__version__ = "0.1.0"
