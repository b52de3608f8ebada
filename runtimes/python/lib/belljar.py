"""Belljar, from inside a sandbox.

- `parameters`: what the run was given, as it came (`{}` when nothing was)
- `env`: the environment variables that were granted
- `secrets`: the secrets that were granted, by name
- `run`: `run.id`, `run.deadline` (a datetime in UTC), `run.timeout_ms`
- `display(value, type=None)`: shows an image, a table, a figure or a document beside the result
- `storage`: named files, where granted
"""

from belljar_driver.access import display, env, parameters, run, secrets, storage

__all__ = ["display", "env", "parameters", "run", "secrets", "storage"]
