"""The probe `pte`: young bits of page tables, read by a BPF program, cleared by MADV_COLD."""
