#!/usr/bin/env python3
"""Writes sales.csv: the orders of a small wholesaler in 2025, with the dirt that real exports have.

The same on every machine and every Python: the numbers come from a generator written here, not from `random`, whose
choices may change between versions.
"""

import csv
import datetime
import pathlib

ROWS = 4000
REGIONS = {"North": 22, "South": 31, "East": 17, "West": 30}
PRODUCTS = {
    "Filter coffee 1 kg": 1490,
    "Espresso beans 1 kg": 1890,
    "Green tea 250 g": 980,
    "Oat milk 6 x 1 l": 1140,
    "Paper cups 500": 2350,
    "Grinder": 18900,
}
CHANNELS = {"web": 58, "phone": 12, "partner": 30}


class Numbers:
    """A linear congruential generator (the constants of Knuth's MMIX)."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def below(self, bound: int) -> int:
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) * bound >> 31

    def weighted(self, weights: dict[str, int]) -> str:
        left = self.below(sum(weights.values()))
        for name, weight in weights.items():
            left -= weight
            if left < 0:
                return name
        raise AssertionError("the weights add up")


def orders():
    numbers = Numbers(2025)
    first_day = datetime.date(2025, 1, 1)
    names = list(PRODUCTS)
    for index in range(ROWS):
        # In the order of the year; more of them towards its end.
        day = first_day + datetime.timedelta(days=365 * index * (5 * ROWS - index) // (4 * ROWS**2))
        product = names[numbers.below(len(names) * 2) % len(names)]
        quantity = 1 + numbers.below(3 if product == "Grinder" else 24)
        cents = PRODUCTS[product] * (95 + numbers.below(11)) // 100
        region = numbers.weighted(REGIONS)
        row = [f"A{10000 + index}", day.isoformat(), region, product, str(quantity), f"{cents / 100:.2f}", numbers.weighted(CHANNELS)]
        yield dirtied(row, numbers)


def dirtied(row: list[str], numbers: Numbers) -> list[str]:
    """About one row in a hundred as it comes out of a system that people type into."""
    dirt = numbers.below(600)
    if dirt == 0:
        row[4] = ""  # no quantity
    elif dirt == 1:
        row[4] = f"-{row[4]}"  # a return, booked as an order
    elif dirt == 2:
        row[5] = row[5].replace(".", ",")  # a decimal comma
    elif dirt == 3:
        row[5] = "n/a"
    elif dirt == 4:
        row[1] = "2025-13-" + row[1][-2:]  # no such month
    elif dirt == 5:
        row[2] = f" {row[2].lower()} "  # the right region, untidy
    return row


def main() -> None:
    with open(pathlib.Path(__file__).with_name("sales.csv"), "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["order", "date", "region", "product", "quantity", "unit_price", "channel"])
        writer.writerows(orders())


if __name__ == "__main__":
    main()
