# Reads and writes YAML, with libyaml where the wheel has it.
import random

import yaml

text = """
name: &n app
copies: 3
ports: [80, 443]
env: {A: "1", B: null, C: yes}
base: &base {x: 1}
derived: {<<: *base, y: 2}
alias: *n
day: 2024-02-29
text: |
  two
  lines
"""
value = yaml.load(text, Loader=yaml.CSafeLoader)
try:
    yaml.safe_load("!!python/object/apply:os.system ['true']")
    refused = False
except yaml.YAMLError:
    refused = True

{
    "value": {
        "value": {**value, "day": value["day"].isoformat()},
        "same": yaml.safe_load(yaml.dump(value, Dumper=yaml.CSafeDumper)) == value,
        "documents": len(list(yaml.safe_load_all("a: 1\n---\nb: 2\n"))),
        "refused": refused,
    },
    "random": [random.random()],
}
