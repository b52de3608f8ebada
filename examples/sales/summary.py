"""Summarise the orders in sales.csv: revenue by region and product, the best month, and what could not be read.

Leaves outputs/by_month.csv behind.
"""

import csv
import logging
import os
from collections import defaultdict
from datetime import date
from decimal import Decimal, InvalidOperation


def read_order(row):
    """One order with its types, or a ValueError that says what is wrong."""
    day = date.fromisoformat(row["date"])
    quantity = int(row["quantity"])
    if quantity <= 0:
        raise ValueError(f"quantity is {quantity}")
    try:
        price = Decimal(row["unit_price"].replace(",", "."))
    except InvalidOperation:
        raise ValueError(f"unit_price is {row['unit_price']!r}") from None
    return day, row["region"].strip().title(), row["product"], quantity * price


def main(top=3):
    by_region, by_product, by_month = defaultdict(Decimal), defaultdict(Decimal), defaultdict(Decimal)
    orders = skipped = 0
    with open("sales.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                day, region, product, revenue = read_order(row)
            except ValueError as error:
                skipped += 1
                logging.debug("order %s: %s", row["order"], error)
                continue
            orders += 1
            by_region[region] += revenue
            by_product[product] += revenue
            by_month[day.strftime("%Y-%m")] += revenue
    if skipped:
        logging.warning("left out %d rows that could not be read", skipped)

    def ranked(totals):
        return sorted(totals.items(), key=lambda item: -item[1])

    total = sum(by_region.values())
    print(f"{'region':<8}{'revenue':>14}{'share':>8}")
    for region, revenue in ranked(by_region):
        print(f"{region:<8}{revenue:>14,.2f}{revenue / total:>8.1%}")

    os.makedirs("outputs", exist_ok=True)
    with open("outputs/by_month.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("month", "revenue"), *sorted(by_month.items())])

    return {
        "orders": orders,
        "skipped": skipped,
        "revenue": float(total),
        "best_month": ranked(by_month)[0][0],
        "top_products": [{"product": name, "revenue": float(revenue)} for name, revenue in ranked(by_product)[:top]],
    }
