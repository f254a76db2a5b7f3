"""YAML into the model. The only users of pydantic and PyYAML; nothing is imported eagerly."""
