"""What a payment service does with an `Idempotency-Key`: `uvicorn bank:app`."""

from typing import Annotated

from fastapi import FastAPI, Header
from pydantic import BaseModel

app = FastAPI()
charges: list["Charge"] = []
answered: dict[str, int] = {}


class Charge(BaseModel):
    account: str
    cents: int


@app.post("/charges")
async def charge(charge: Charge, idempotency_key: Annotated[str | None, Header()] = None) -> dict[str, int]:
    """The second call with the same key changes nothing, and gets the answer of the first one."""
    if idempotency_key in answered:
        return {"number": answered[idempotency_key]}
    charges.append(charge)
    if idempotency_key is not None:
        answered[idempotency_key] = len(charges)
    return {"number": len(charges)}


@app.get("/charges")
async def booked() -> list[Charge]:
    return charges
