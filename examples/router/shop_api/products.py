"""What the shop sells, from the data file in this package."""

import json
from functools import cache
from importlib import resources

from nylon_ring_py import HandlerError, Request, Status

from .router import Routes

products = Routes()


@cache
def catalogue() -> dict[str, float]:
    """Price by product."""
    prices: dict[str, float] = json.loads(resources.files(__package__).joinpath("catalogue.json").read_text("utf-8"))
    return prices


def price_of(product: str) -> float:
    """The price of one product; HandlerError where the shop does not have it."""
    price = catalogue().get(product)
    if price is None:
        raise HandlerError(Status.INVALID, f"the shop has no {product}")
    return price


@products.route("GET", "/products")
def list_products(req: Request) -> object:
    """All products, or with `?max_price=` those that cost no more."""
    text = req.args.first("max_price", "inf")
    try:
        most = float(text)
    except ValueError:
        raise HandlerError(Status.INVALID, f"max_price is {text!r}, which is no number") from None
    return {name: price for name, price in catalogue().items() if price <= most}


@products.route("GET", "/products/<name>")
def show_product(req: Request, name: str) -> object:
    """One product."""
    return {"name": name, "price": price_of(name)}
