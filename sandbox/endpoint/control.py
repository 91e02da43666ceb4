"""What ACS does not have: paths by which another process makes the endpoint misbehave. They need no signature.

- `GET`, `PUT` and `DELETE {url}/sandbox/faults`: the fault file in force, numbers in full.
- `POST {url}/sandbox/texts` with `{"from": person, "to": sender, "message": "STOP"}`: that person texts, and the list
  changes as ACS changes it. The answer is `{"isOptedOut": true}`: whether the person is on the list now.
"""

from typing import Protocol

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.endpoint.answers import JSON
from sandbox.endpoint.fault_file import dump_faults, parse_faults
from sandbox.endpoint.faults import Fault


class Controlled(Protocol):
    """What can be controlled."""

    faults: tuple[Fault, ...]

    def text(self, message: str, *, person: str, sender: str) -> bool:
        """Let a person text a message to a sender."""


class _Text(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    person: str = Field(alias="from", repr=False)
    sender: str = Field(alias="to", repr=False)
    message: str = Field(repr=False)


def add_routes(router: web.UrlDispatcher, endpoint: Controlled) -> None:
    """Add the paths that control `endpoint`."""

    async def get_faults(_request: web.Request) -> web.Response:
        return web.Response(body=dump_faults(endpoint.faults), headers={"Content-Type": JSON})

    async def put_faults(request: web.Request) -> web.Response:
        try:
            endpoint.faults = parse_faults(await request.read())
        except ValueError as refused:
            return _refuse(str(refused))
        return await get_faults(request)

    async def delete_faults(_request: web.Request) -> web.Response:
        endpoint.faults = ()
        return web.Response(status=204)

    async def post_text(request: web.Request) -> web.Response:
        try:
            text = _Text.model_validate_json(await request.read())
            listed = endpoint.text(text.message, person=text.person, sender=text.sender)
        except ValidationError:
            return _refuse('a text is {"from": person, "to": sender, "message": word}')
        except ValueError as refused:
            return _refuse(str(refused))
        return web.json_response({"isOptedOut": listed})

    router.add_get("/sandbox/faults", get_faults)
    router.add_put("/sandbox/faults", put_faults)
    router.add_delete("/sandbox/faults", delete_faults)
    router.add_post("/sandbox/texts", post_text)


def _refuse(why: str) -> web.Response:
    return web.Response(status=400, text=f"{why}. Nothing was changed.\n")
