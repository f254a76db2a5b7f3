"""Forms of a report, one small module each: a function from `Report` to text."""
