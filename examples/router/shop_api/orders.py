"""Orders: a JSON body in, the sum out."""

from nylon_ring_py import HandlerError, Request, Status

from .router import Routes

orders = Routes()


@orders.route("POST", "/orders")
def place_order(req: Request) -> object:
    """Place an order such as `{"product": "tea", "count": 2}`."""
    from shop_api.products import price_of  # an import inside a handler finds the plugin's own module too

    match req.json():
        case {"product": str(product), "count": int(count)} if count > 0:
            return {"product": product, "count": count, "sum": round(price_of(product) * count, 2)}
    raise HandlerError(Status.INVALID, 'an order looks like {"product": "tea", "count": 2}')
