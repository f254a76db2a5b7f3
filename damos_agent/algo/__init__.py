"""How things evolve: pure functions, numbers in, numbers out."""
