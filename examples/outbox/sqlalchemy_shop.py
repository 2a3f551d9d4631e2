"""The same shop in SQLAlchemy: `sqlalchemy_shop.py place ann`, `sqlalchemy_shop.py relay`."""

import os
import time

import click
import outbox
from orders import Order, OrderHandler
from sqlalchemy import BigInteger, Integer, create_engine, delete, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

PAUSE_SECONDS = 0.5

engine = create_engine(f"sqlite:///{os.environ.get('SHOP_DATABASE', 'shop.sqlite3')}", connect_args={"timeout": 30})
Session = sessionmaker(engine)


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"

    name: Mapped[str] = mapped_column(primary_key=True)
    orders: Mapped[int] = mapped_column(default=0)


class OutboxRow(Base):
    __tablename__ = "outbox"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - no id is given twice, as in other databases

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    identity: Mapped[str]
    handler: Mapped[str]
    body: Mapped[str]


def place_order(customer: str) -> int:
    with Session.begin() as session:
        counting = update(Customer).where(Customer.name == customer).values(orders=Customer.orders + 1)
        number = session.scalars(counting.returning(Customer.orders)).one()  # locks the customer until the commit
        session.add(OutboxRow(**outbox.columns(OrderHandler, Order(customer, number))))
    return number


def relay(count: int = 100) -> int:
    """Register the oldest rows, then delete them; returns how many there were."""
    with Session() as session:
        rows = session.scalars(select(OutboxRow).order_by(OutboxRow.id).limit(count)).all()
    outbox.register(rows)
    with Session.begin() as session:
        session.execute(delete(OutboxRow).where(OutboxRow.id.in_([row.id for row in rows])))
    return len(rows)


@click.group()
def main() -> None:
    Base.metadata.create_all(engine)


@main.command()
@click.argument("customers", nargs=-1)
def place(customers: tuple[str, ...]) -> None:
    """Place an order for each customer."""
    for customer in customers:
        with Session.begin() as session:
            session.execute(insert(Customer).values(name=customer).on_conflict_do_nothing())
        click.echo(f"placed {customer} {place_order(customer)}")


@main.command("relay")
@click.option("--once", is_flag=True, help="End when the outbox is empty.")
def relay_all(once: bool) -> None:
    """Register what the outbox holds, again and again."""
    while True:
        count = relay()
        if count:
            click.echo(f"registered {count}")
        elif once:
            return
        else:
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
