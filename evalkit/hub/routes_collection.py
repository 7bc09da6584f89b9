"""Routes of collections."""

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from evalkit.hub.calls import Call, answer, route
from evalkit.hub.refused import RefusedError


def listing(call: Call) -> Response:
    """The collections that the asker may see, of some owner or with some item."""
    query = call.request.query_params
    owners, items = query.getlist("owner"), query.getlist("item")
    found = [
        value
        for value in call.store.collections.all()
        if may_see(call, value)
        and (not owners or value["owner"]["name"] in owners)
        and (not items or _lists(value, items))
    ]
    found = found[: int(query.get("limit", len(found)))]
    # As on the public Hub, the list shows four items of each and no position.
    rows = [{**value, "items": value["items"][:4]} for value in found]
    return answer([{k: v for k, v in row.items() if k != "position"} for row in rows])


def create(call: Call) -> Response:
    """A new collection; 409 with the slug of the one that has this title."""
    body = call.json()
    namespace = str(body.get("namespace") or call.need_user().name)
    call.need_namespace(namespace)
    title = str(body.get("title") or "")
    if not title:
        raise RefusedError(400, "a collection needs a title")
    private, description = bool(body.get("private")), str(body.get("description") or "")
    return answer(call.store.collections.create(namespace, title, private, description))


def get(call: Call) -> Response:
    """One collection."""
    return answer(visible(call))


def update(call: Call) -> Response:
    """Changes title, description, privacy, theme or position."""
    return answer({"data": call.store.collections.update(_own(call), call.json())})


def delete(call: Call) -> Response:
    """Removes a collection."""
    call.store.collections.delete(_own(call))
    return answer({})


def add_item(call: Call) -> Response:
    """Appends an item; 409 when it is listed."""
    body = call.json()
    item = body.get("item") or {}
    value = call.store.collections.add_item(
        _own(call), str(item.get("id")), str(item.get("type")), body.get("note")
    )
    return answer(value)


def update_item(call: Call) -> Response:
    """Changes an item's note or position."""
    value = call.store.collections.update_item(_own(call), call.param("item"), call.json())
    return answer(value)


def delete_item(call: Call) -> Response:
    """Takes an item off the list."""
    return answer(call.store.collections.delete_item(_own(call), call.param("item")))


def visible(call: Call) -> dict[str, Any]:
    """The collection named in the path; RefusedError (404) when the asker may not see one."""
    value = call.store.collections.get(_slug(call))
    if not may_see(call, value):
        raise RefusedError(404, f"Collection {value['slug']} not found")
    return value


def _own(call: Call) -> str:
    slug = str(visible(call)["slug"])
    call.need_namespace(slug.split("/")[0])
    return slug


def _slug(call: Call) -> str:
    return f"{call.param('namespace')}/{call.param('slug')}"


def may_see(call: Call, value: dict[str, Any]) -> bool:
    """Whether the asker may read a collection."""
    if not value["private"]:
        return True
    return call.user is not None and call.user.may_write(value["owner"]["name"])


def _lists(value: dict[str, Any], items: list[str]) -> bool:
    listed = {row["id"] for row in value["items"]}
    listed |= {f"{row['type']}s/{row['id']}" for row in value["items"]}
    return not listed.isdisjoint(items)


_ONE = "/api/collections/{namespace}/{slug}"

ROUTES: list[Route] = [
    route("/api/collections", listing),
    route("/api/collections", create, "POST"),
    route(_ONE, get),
    route(_ONE, update, "PATCH"),
    route(_ONE, delete, "DELETE"),
    route(f"{_ONE}/items", add_item, "POST"),
    route(f"{_ONE}/items/{{item}}", update_item, "PATCH"),
    route(f"{_ONE}/items/{{item}}", delete_item, "DELETE"),
]
