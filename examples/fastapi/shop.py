"""The web side of the shop: `uvicorn shop:app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from orders import Order, OrderHandler
from pydantic import BaseModel

from sharded_queue import Queue, QueueFull, RedisStorage, StorageUnavailable, connect


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client for each process of the server, closed when it ends."""
    redis = connect()
    app.state.queue = Queue(RedisStorage(redis))
    yield
    await redis.aclose()


app = FastAPI(lifespan=lifespan)


def queue(request: Request) -> Queue:
    opened: Queue = request.app.state.queue
    return opened


Opened = Annotated[Queue, Depends(queue)]


class Placed(BaseModel):
    customer: str
    number: int  # in the customer's tube; a later order has a greater one
    is_duplicate: bool


class Customer(BaseModel):
    waiting: int
    is_in_work: bool
    error: str | None  # of the first order, if it failed; its thread tries it again


@app.post("/orders", status_code=202)
async def place(order: Order, queue: Opened) -> Placed:
    """Accepted means stored: the order is handled even if this process dies now."""
    (receipt,) = await queue.register(OrderHandler, order)
    return Placed(customer=order.customer, number=receipt.sequence, is_duplicate=receipt.is_duplicate)


@app.get("/customers/{name}")
async def customer(name: str, queue: Opened) -> Customer:
    state = await queue.storage.explain(OrderHandler.shard_of(name), name)
    if not state.tubes:
        raise HTTPException(404, f"no order of {name} waits")
    (tube,) = state.tubes
    return Customer(waiting=tube.depth, is_in_work=bool(state.in_hand), error=tube.error or None)


@app.exception_handler(QueueFull)
@app.exception_handler(StorageUnavailable)
async def unavailable(_: Request, error: QueueFull | StorageUnavailable) -> JSONResponse:
    """The client should try again. Where an order must not be placed twice then, give it an identity."""
    return JSONResponse({"detail": str(error)}, status_code=503, headers={"Retry-After": "1"})
