"""Reading the machine: /proc, cgroups, PSI, NUMA. Parsing and reading are apart."""
