"""What waits, what died, and a button that replays it: `uvicorn oncall:app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from orders import OrderHandler

from sharded_queue import Admin, RedisStorage, connect
from sharded_queue.admin.letters import ReplayLetters

REPLAY = ReplayLetters(handler=Admin.named(OrderHandler), is_all=True, head=True)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    redis = connect()
    app.state.admin = Admin(RedisStorage(redis))
    yield
    await redis.aclose()


app = FastAPI(lifespan=lifespan)


@app.get("/", response_class=HTMLResponse)
async def show(request: Request) -> str:
    admin: Admin = request.app.state.admin
    state, plan = await admin.state(OrderHandler), await admin.plan(REPLAY)
    waiting = [f"{tube.thread}: {tube.depth} for {tube.lag_seconds:.0f} s" for tube in state.oldest]
    dead = [f"{letter.thread}: {letter.error}" for letter in await admin.letters(OrderHandler, count=20)]
    items = "".join(f"<li>{escape(line)}" for line in [*waiting, *dead])
    form = (
        f"<form method=post action=replay>{escape(plan.question)} {escape(plan.effect)} <button>Replay</button></form>"
    )
    return f"<h1>{state.depth} orders wait, {state.letters} died</h1><ul>{items}</ul>{form}"


@app.post("/replay")
async def replay(request: Request) -> RedirectResponse:
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise HTTPException(403, "only the button of this page acts")
    await request.app.state.admin.do(REPLAY)
    return RedirectResponse(".", status_code=303)
