"""A shop behind one entry: the host forwards every HTTP request to `http`."""

from nylon_ring_py import Plugin, Request, Response

from .orders import orders
from .products import products
from .router import Router

plugin = Plugin("shop_api", version="1.0.0")
router = Router(products, orders)


@plugin.handle("http")
def http(req: Request) -> Response:
    """Answer any request of the shop."""
    return router.answer(req)
