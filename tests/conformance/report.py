"""The report of a comparison between a plain runtime and Belljar's sandboxes, as a page of the
documentation."""

from __future__ import annotations

import datetime
import fnmatch
import platform
import tomllib
from dataclasses import dataclass
from pathlib import Path

from verdicts import PASSED, SKIPPED, VerdictFile

# A test that plain node passes once but not every time says nothing about the sandbox.
UNSTABLE = "unstable"
# The project's target, in per cent of the tests that plain passes and the policy allows.
BAR = 99.0


@dataclass(frozen=True)
class Reason:
    """The reason why some tests do not pass in a sandbox.

    `policy`: they need what no policy grants (another identity, the host's own network), so they are not compared.
    `difference`: they could pass, and do not; they count against the sandbox.
    """

    tests: tuple[str, ...]
    kind: str
    text: str

    def explains(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.tests)


@dataclass(frozen=True)
class Comparison:
    title: str
    subject: str
    differing: str | None
    command: str
    plain: VerdictFile
    belljar: VerdictFile
    groups: dict[str, list[str]]
    reasons: list[Reason]


@dataclass(frozen=True)
class _Split:
    """The tests of a group that plain passes, by their result in a sandbox."""

    not_run: list[str]
    unstable: list[str]
    policy: list[str]
    rest: list[str]
    passed: list[str]

    @property
    def compared(self) -> int:
        return len(self.passed) + len(self.rest)

    @property
    def percentage(self) -> float:
        return 100 * len(self.passed) / self.compared if self.compared else 0.0

    @property
    def passed_plain(self) -> int:
        return sum(map(len, (self.not_run, self.unstable, self.policy, self.rest, self.passed)))


def read_reasons(path: Path, version: int) -> list[Reason]:
    """Returns the reasons of a table that apply to a version: entries `[[reason]]` with `tests`,
    `kind`, `text` and, if not for all versions, `only`."""
    entries = tomllib.loads(path.read_text()).get("reason", [])
    reasons = [
        Reason(tuple(e["tests"]), e["kind"], e["text"])
        for e in entries
        if version in e.get("only", [version])
    ]
    for reason in reasons:
        if reason.kind not in ("policy", "difference"):
            raise ValueError(
                f"{path.name}: the kind of a reason is `policy` or `difference`, not `{reason.kind}`"
            )
    return reasons


def write(comparison: Comparison, path: Path) -> int:
    """Writes the page. The exit status is 0 if the target is met and every failure has a reason."""
    splits = {group: _split(comparison, names) for group, names in comparison.groups.items()}
    total = _split(comparison, [name for names in comparison.groups.values() for name in names])
    unexplained = [name for name in total.rest if not _explanation(comparison, name)]
    stale = [
        r
        for r in comparison.reasons
        if not any(r.explains(name) for name in total.rest + total.policy)
    ]

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(comparison, splits, total, unexplained))
    print(
        f"{path}: {len(total.passed)} of {total.compared} compared tests pass, {total.percentage:.2f}%"
    )
    for name in unexplained:
        print(f"no reason given: {name}")
    for reason in stale:
        print(f"a reason that explains nothing any more: {', '.join(reason.tests)}")
    if total.not_run:
        print(f"{len(total.not_run)} tests were not run in a sandbox yet")
    return 0 if total.percentage >= BAR and not (unexplained or stale or total.not_run) else 1


def _split(comparison: Comparison, names: list[str]) -> _Split:
    split = _Split([], [], [], [], [])
    for name in names:
        plain = comparison.plain.verdicts.get(name)
        if plain is None or plain.status != PASSED:
            continue
        verdict = comparison.belljar.verdicts.get(name)
        if verdict is None:
            split.not_run.append(name)
        elif verdict.status == PASSED:
            split.passed.append(name)
        elif verdict.status == UNSTABLE:
            split.unstable.append(name)
        elif (reason := _explanation(comparison, name)) and reason.kind == "policy":
            split.policy.append(name)
        else:
            split.rest.append(name)
    return split


def _explanation(comparison: Comparison, name: str) -> Reason | None:
    return next((r for r in comparison.reasons if r.explains(name)), None)


def _page(
    comparison: Comparison, splits: dict[str, _Split], total: _Split, unexplained: list[str]
) -> str:
    plain = comparison.plain
    lines = [
        f"# {comparison.title}",
        "",
        f"{comparison.subject}, in plain processes and in Belljar's sandboxes, on {_today()} with Linux {_kernel()}.",
        "Generated; reproduce it with",
        "",
        f"    {comparison.command}",
        "",
    ]
    if comparison.differing:
        lines += [comparison.differing, ""]
    lines += [
        "| tests | passed plain | unstable in plain | not in any policy | compared | passed in Belljar | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for group, split in [*splits.items(), ("**all**", total)]:
        lines.append(
            f"| {group} | {split.passed_plain} | {len(split.unstable)} | {len(split.policy)} | {split.compared} "
            f"| {len(split.passed)} | {split.percentage:.2f}% |"
        )
    lines += [
        "",
        f"In a plain process, {plain.count(PASSED)} of {len(plain.verdicts)} pass, {plain.count(SKIPPED)} skip themselves and the others fail:",
        "they ask for what this machine lacks or for another build. Only those that pass are compared.",
        "*Unstable*: after a failure in a sandbox, plain did not pass it three times in a row either.",
        "",
    ]
    if total.not_run:
        lines += [f"**Incomplete**: {len(total.not_run)} tests have not been run in a sandbox.", ""]
    lines += _section("Tests that fail in a sandbox", comparison, total.rest)
    if unexplained:
        lines += ["### Not explained yet", "", *_details(comparison, unexplained)]
    lines += _section("Tests that ask for what no policy grants", comparison, total.policy)
    return "\n".join(lines).rstrip() + "\n"


def _section(title: str, comparison: Comparison, names: list[str]) -> list[str]:
    lines = [f"## {title}", ""]
    if not names:
        return [*lines, "None.", ""]
    for reason in comparison.reasons:
        explained = [name for name in names if _explanation(comparison, name) is reason]
        if explained:
            lines += [f"- {reason.text}", *(f"  - `{name}`" for name in explained)]
    return [*lines, ""]


def _details(comparison: Comparison, names: list[str]) -> list[str]:
    lines = []
    for name in names:
        verdict = comparison.belljar.verdicts[name]
        said = next((line for line in verdict.detail.splitlines() if line.strip()), "")
        lines.append(f"- `{name}`: {verdict.status}; {said[:160]}")
    return [*lines, ""]


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _kernel() -> str:
    return platform.release().partition("-")[0]
