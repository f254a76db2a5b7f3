"""What things are: frozen dataclasses, enums, units, errors. No I/O, no clock."""
