"""`damosctl`: what people and scripts type. The only floor that prints and exits."""
