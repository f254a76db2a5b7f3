"""Small valid policies as text, with parts to choose."""

from __future__ import annotations


def policy(
    name: str = "sample",
    *,
    target: str = "{process: {exe: memcached}}",
    mode: str = "observe",
    action: str = "pageout",
    quota: str = "{size: 100MiB, interval: 1s}",
    filters: str = "[]",
) -> str:
    """A policy with one scheme for memory idle for two minutes; parts are YAML flow text."""
    return f"""\
apiVersion: damos-agent/v1
kind: Policy
metadata: {{name: {name}}}
spec:
  mode: {mode}
  target: {target}
  schemes:
    - action: {action}
      pattern: {{access_rate: {{max: 0%}}, age: {{min: 2m}}}}
      quota: {quota}
      filters: {filters}
"""
