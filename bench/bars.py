"""The project's bars, each a ratio or an amount within one run on one machine, and the check that
a run meets them."""

from __future__ import annotations

from collections.abc import Iterator

from belljar_rows import LATENCIES, MEMORIES, THROUGHPUTS
from measure import Percentiles
from tables import LANGUAGES, Row

# Belljar must reach a fresh, limited sandbox at least this many times faster than each of these.
PEERS = {
    "JavaScript": ("`deno run`", "secure-exec", "`bwrap` + `node`"),
    "Python": ("`bwrap` + `python3`",),
}
PLAIN = {"JavaScript": "plain `node FILE`", "Python": "plain `python3 FILE`"}
ONE_SHOT = "one-shot `belljar run FILE`"
MEMORY_MB = {"JavaScript": 1.0, "Python": 1.5}
RUNS_PER_SECOND = 1000


def bars_table(
    latencies: dict[Row, Percentiles], throughputs: dict[Row, float], memories: dict[Row, float]
) -> str:
    lines = ["| bar | language | measured | to hold | |", "| --- | --- | ---: | ---: | --- |"]
    for language in LANGUAGES:
        for what, measured, least, most in _bars(language, latencies, throughputs, memories):
            held = (least is None or measured >= least) and (most is None or measured <= most)
            to_hold = f"<= {most:g}" if least is None else f">= {least:g}"
            lines.append(
                f"| {what} | {language} | {measured:.2f} | {to_hold} | {'held' if held else '**missed**'} |"
            )
    return "\n".join([*lines, ""]) if len(lines) > 2 else ""


# The name of a figure, its value, and the minimum or the maximum that is allowed.
Bar = tuple[str, float, float | None, float | None]


def _bars(
    language: str,
    latencies: dict[Row, Percentiles],
    throughputs: dict[Row, float],
    memories: dict[Row, float],
) -> Iterator[Bar]:
    def time(name: str) -> Percentiles | None:
        return latencies.get(Row(LATENCIES.get(name, name), language))

    parked, forked, bare, busy = (
        time(name) for name in ("parked", "forked", "bare_fork", "half_load")
    )
    if parked:
        yield "parked, p50 in ms", parked.p50, None, 1.0
        for peer in PEERS[language]:
            if other := time(peer):
                yield f"parked against {peer}, times faster", other.p50 / parked.p50, 10.0, None
    if forked and bare:
        yield "forked against the bare fork", forked.p50 / bare.p50, None, 2.0
    if busy:
        yield "p99 against p50 at half load", busy.p99 / busy.p50, None, 5.0
    if (one_shot := time(ONE_SHOT)) and (plain := time(PLAIN[language])):
        yield "one-shot against the plain runtime", one_shot.p50 / plain.p50, None, 1.5
    if (rate := throughputs.get(Row(THROUGHPUTS["throughput"], language))) is not None:
        yield "fresh sandboxes a second", rate, RUNS_PER_SECOND, None
    if (megabytes := memories.get(Row(MEMORIES["parked_memory"], language))) is not None:
        yield "one more parked sandbox, MB", megabytes, None, MEMORY_MB[language]
