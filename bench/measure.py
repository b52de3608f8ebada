"""Latency and throughput, measured in rounds. Every contender has a turn in each round, so that
changes on the machine affect all alike."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from contenders import Client, Contender, NoAnswer
from programs import ADD

RUN_SECONDS = 60
# Contenders with shorter runs get more runs in a round, for a better p99.
FAST_MS = 50.0
RUNS_PER_ROUND_FAST, RUNS_PER_ROUND_SLOW = 8, 2


@dataclass(frozen=True)
class Percentiles:
    runs: int
    p50: float
    p95: float
    p99: float


def percentiles(samples: list[float]) -> Percentiles:
    ordered = sorted(samples)

    def at(percent: float) -> float:
        return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]

    return Percentiles(len(ordered), at(50), at(95), at(99))


# Called with a contender that stopped answering, and the reason. It is not measured further, and
# its results are not shown.
Drop = Callable[[Contender, NoAnswer], None]


def latencies(
    contenders: list[Contender], rounds: int, between: Callable[[int], None], drop: Drop
) -> dict[Contender, Percentiles]:
    """Measures milliseconds from request to result, one request at a time. `between` is called before
    each round."""
    clients = {contender: contender.connect() for contender in contenders}
    samples: dict[Contender, list[float]] = {contender: [] for contender in contenders}
    try:
        turns = {}
        for contender in contenders:
            try:
                turns[contender] = (
                    RUNS_PER_ROUND_FAST
                    if _warm_up(clients[contender]) < FAST_MS
                    else RUNS_PER_ROUND_SLOW
                )
            except NoAnswer as why:
                del samples[contender]
                drop(contender, why)
        for number in range(rounds):
            between(number)
            order = list(samples)
            random.shuffle(order)
            for contender in order:
                try:
                    samples[contender] += [
                        _milliseconds(clients[contender]) for _ in range(turns[contender])
                    ]
                except NoAnswer as why:
                    del samples[contender]
                    drop(contender, why)
        return {contender: percentiles(found) for contender, found in samples.items()}
    finally:
        for client in clients.values():
            client.close()


def _warm_up(client: Client) -> float:
    """Runs the program five times, and returns the fastest time in milliseconds. These runs do not
    count."""
    return min(_milliseconds(client) for _ in range(5))


def _milliseconds(client: Client) -> float:
    started = time.perf_counter_ns()
    output = client.run(ADD, RUN_SECONDS)
    took = (time.perf_counter_ns() - started) / 1e6
    if output != "2":
        raise NoAnswer(f"1 + 1 returned {output!r}")
    return took


def throughputs(
    contenders: list[Contender], clients_at_once: int, seconds: float, passes: int, drop: Drop
) -> dict[Contender, float]:
    """Measures runs per second with several concurrent clients: the median of several passes over all
    contenders."""
    found: dict[Contender, list[float]] = {contender: [] for contender in contenders}
    for _ in range(passes):
        for contender in list(found):
            try:
                found[contender].append(_runs_per_second(contender, clients_at_once, seconds))
            except NoAnswer as why:
                del found[contender]
                drop(contender, why)
    return {contender: sorted(rates)[len(rates) // 2] for contender, rates in found.items()}


def _runs_per_second(contender: Contender, clients_at_once: int, seconds: float) -> float:
    clients = [contender.connect() for _ in range(clients_at_once)]
    finished: list[float] = []
    failures: list[BaseException] = []
    warm = threading.Barrier(clients_at_once)
    started: list[float] = []

    def work(client: Client) -> None:
        try:
            _milliseconds(client)
            warm.wait()
            started.append(time.perf_counter())
            end = started[0] + seconds
            while time.perf_counter() < end:
                _milliseconds(client)
                finished.append(time.perf_counter())
        except BaseException as failure:
            failures.append(failure)
            warm.abort()

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for client in clients:
            client.close()
    if failures:
        raise NoAnswer(f"under load: {failures[0]}") from failures[0]
    return len(finished) / (max(finished) - started[0])
