# Parses, refuses and describes data, in the compiled core.
import random
import uuid
from datetime import date
from typing import Literal

from pydantic import BaseModel, Field, ValidationError, field_validator


class Item(BaseModel):
    name: str = Field(min_length=2)
    price: float = Field(gt=0)
    kind: Literal["a", "b"] = "a"


class Order(BaseModel):
    id: uuid.UUID = Field(default_factory=uuid.uuid4)
    day: date
    items: list[Item]

    @field_validator("items")
    @classmethod
    def not_empty(cls, items):
        if not items:
            raise ValueError("no items")
        return items


order = Order.model_validate_json('{"day": "2024-02-29", "items": [{"name": "pen", "price": "1.5"}]}')
try:
    Order.model_validate({"day": "2023-02-29", "items": [{"name": "x", "price": -1, "kind": "c"}]})
    errors = []
except ValidationError as error:
    errors = sorted(detail["type"] for detail in error.errors())

{
    "value": {
        "price": order.items[0].price,
        "day": order.model_dump(mode="json")["day"],
        "errors": errors,
        "schema": sorted(Order.model_json_schema()["$defs"]),
    },
    "random": [str(order.id), random.random()],
}
