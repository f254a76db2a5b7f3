"""YAML to model. The only users of pydantic and PyYAML."""
