"""The results as Markdown: one table per question."""

from __future__ import annotations

from dataclasses import dataclass

from measure import Percentiles
from proof import Proof

LANGUAGES = ("JavaScript", "Python")
# The contender that ratios refer to, if it was measured.
REFERENCE = "belljar: parked sandbox"


@dataclass(frozen=True)
class Row:
    name: str
    language: str


def latency_table(measured: dict[Row, Percentiles]) -> str:
    lines = []
    for language in LANGUAGES:
        rows = [(row, p) for row, p in measured.items() if row.language in (language, "none")]
        reference = next((p.p50 for row, p in rows if row.name == REFERENCE), None)
        lines += [
            f"| {language}: ms from request to result | runs | p50 | p95 | p99 | against parked |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for row, p in sorted(rows, key=lambda item: item[1].p50):
            lines.append(
                f"| {row.name} | {p.runs} | {p.p50:.2f} | {p.p95:.2f} | {p.p99:.2f} | {_ratio(p.p50, reference)} |"
            )
        lines.append("")
    return "\n".join(lines)


def throughput_table(measured: dict[Row, float], clients: int) -> str:
    lines = [
        f"| fresh sandboxes a second, {clients} clients at once | JavaScript | Python |",
        "| --- | ---: | ---: |",
    ]
    return "\n".join([*lines, *_by_language(measured, "{:.0f}", largest_first=True), ""])


def memory_table(measured: dict[Row, float]) -> str:
    lines = ["| MB (PSS) of one more idle sandbox | JavaScript | Python |", "| --- | ---: | ---: |"]
    return "\n".join([*lines, *_by_language(measured, "{:.2f}", largest_first=False), ""])


def isolation_table(contenders: list, proofs: dict[Row, Proof]) -> str:
    lines = [
        "| contender | isolates with | limits set | 2 GB of memory | an endless loop | a file of the host |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for contender in contenders:
        proof = proofs.get(Row(contender.name, contender.language))
        if proof and contender.language in LANGUAGES:
            name = f"{contender.name} ({contender.language})"
            lines.append(
                f"| {name} | {contender.isolates} | {contender.limits} | {proof.memory} | {proof.cpu} | {proof.host_file} |"
            )
    return "\n".join([*lines, ""])


def _by_language(measured: dict[Row, float], form: str, *, largest_first: bool) -> list[str]:
    names = list(dict.fromkeys(row.name for row in measured))
    names.sort(
        key=lambda name: max(v for row, v in measured.items() if row.name == name),
        reverse=largest_first,
    )
    lines = []
    for name in names:
        cells = [
            form.format(measured[row]) if (row := Row(name, language)) in measured else ""
            for language in LANGUAGES
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _ratio(value: float, reference: float | None) -> str:
    return f"{value / reference:.1f}x" if reference else ""
