"""The embedded Hub as an ASGI application: a folder that speaks the Hub's protocol.

As far as unmodified huggingface_hub, transformers and datasets need it for models and datasets.
Spaces, Xet, likes and webhooks are not served.
"""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from evalkit.hub import (
    metadata,
    pages,
    routes_collection,
    routes_commit,
    routes_discussion,
    routes_repo,
)
from evalkit.hub.calls import HANDLERS, Hub, KeepEscapes
from evalkit.hub.metadata import Validator
from evalkit.hub.store import Store

LOOPBACK_NAMES = ("127.0.0.1", "localhost")


def application(
    store: Store,
    *,
    validate: Validator = metadata.check,
    allowed_hosts: Sequence[str] = LOOPBACK_NAMES,
) -> Starlette:
    """The application over `store`.

    validate: what `validate-yaml` answers with.
    allowed_hosts: names by which clients may address it; others are turned away, so that a web
        page cannot reach it through a name of its own that resolves to this machine.
    """
    app = Starlette(
        routes=[
            *routes_collection.ROUTES,
            *routes_commit.ROUTES,
            *routes_discussion.ROUTES,
            *routes_repo.ROUTES,
            *pages.ROUTES,
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts)),
            Middleware(KeepEscapes),
        ],
        exception_handlers=HANDLERS,
    )
    app.router.redirect_slashes = False  # a redirect would hide that a path is wrong
    app.state.hub = Hub(store, validate)
    return app
