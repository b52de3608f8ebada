# Renders templates with inheritance, macros, filters, escaping, and in its sandbox.
import random

from jinja2 import DictLoader, Environment, select_autoescape
from jinja2.sandbox import SandboxedEnvironment, SecurityError

templates = {
    "base.html": "<h1>{% block title %}{% endblock %}</h1>{% block body %}{% endblock %}",
    "page.html": "{% extends 'base.html' %}{% block title %}{{ title|upper }}{% endblock %}{% block body %}"
    "{% macro row(x) %}<i>{{ x }}</i>{% endmacro %}{% for x in rows if x %}{{ loop.index }}{{ row(x) }}{% endfor %}{% endblock %}",
}
environment = Environment(loader=DictLoader(templates), autoescape=select_autoescape())
try:
    SandboxedEnvironment().from_string("{{ ().__class__.__bases__[0].__subclasses__() }}").render()
    refused = False
except SecurityError:
    refused = True

{
    "value": {
        "page": environment.get_template("page.html").render(title="a & b", rows=["<x>", "", "y"]),
        "sum": environment.from_string("{{ numbers|sum }} {{ numbers|join(',') }}").render(numbers=range(5)),
        "refused": refused,
    },
    "random": [random.random(), environment.from_string("{{ range(10 ** 12)|random }}").render()],
}
