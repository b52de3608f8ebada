"""Belljar, from inside a sandbox.

- `parameters`: the run's parameters, unchanged (`{}` without any)
- `env`: the environment variables that were granted
- `secrets`: the secrets that were granted, by name
- `run`: `run.id`, `run.deadline` (a datetime in UTC), `run.timeout_ms`
- `display(value, type=None)`: shows an image, a table, a figure or a document next to the result
- `storage`: named files, where granted
"""

from belljar_driver.access import display, env, parameters, run, secrets, storage

__all__ = ["display", "env", "parameters", "run", "secrets", "storage"]
