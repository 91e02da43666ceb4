"""Which link a client gets for the address it attaches to: a queue, a queue's `$management`, or `$cbs`.

Source for `$cbs`: https://docs.oasis-open.org/amqp/amqp-cbs/v1.0/amqp-cbs-v1.0.html
"""

from collections.abc import Callable

from servicebus_sandbox.access import LISTEN, SEND, Grant, covers, path_of
from servicebus_sandbox.amqp import Int, Timestamp
from servicebus_sandbox.errors import InvalidArgument, NotAllowed, NotImplementedHere, Refused, Unauthorized
from servicebus_sandbox.exchange import Exchange
from servicebus_sandbox.frames import RECEIVER, SENDER, Attach
from servicebus_sandbox.links import Carrier, Link
from servicebus_sandbox.management import Management
from servicebus_sandbox.queue_links import ConsumerLink, PublisherLink
from servicebus_sandbox.request_links import Reply, ReplyLink, Request, RequestLink

_CBS = "$cbs"
_MANAGEMENT = "/$management"
_SOURCE, _TARGET = 0x28, 0x29
_FILTERS = 7
_SESSION_FILTER = "com.microsoft:session-filter"
_ACCEPTED = 202


class Grants:
    """What the tokens that a connection has shown allow it."""

    def __init__(self, exchange: Exchange, on_change: Callable[[], None]) -> None:
        self._exchange = exchange
        self._on_change = on_change
        self._grants: dict[str, Grant] = {}

    @property
    def next_expiry(self) -> float | None:
        """In how many seconds the next token expires; None when none will."""
        now = self._exchange.access.now()
        ends = [grant.expires_at - now for grant in self._grants.values() if grant.expires_at is not None]
        return min((end for end in ends if end > 0), default=None)

    def require(self, path: str, claim: str | None = None) -> None:
        """Check that a path may be used at all, or for what `claim` names.

        Raises:
            Unauthorized: No token of this connection says so.
        """
        now = self._exchange.access.now()
        allowed = [
            grant
            for grant in self._grants.values()
            if covers(grant.path, path) and (grant.expires_at is None or grant.expires_at > now)
        ]
        if not any(claim is None or claim in grant.claims for grant in allowed):
            wanted = f"'{claim}' claim" if claim else "A token"
            raise Unauthorized(f"unauthorized access: {wanted} is required to perform this operation on {path}")

    def add(self, grant: Grant) -> None:
        """Allow what a grant says from now on."""
        self._grants[grant.path] = grant
        self._on_change()

    def put_token(self, request: Request) -> Reply:
        """Answer a request to `$cbs`."""
        fields = request.properties
        try:
            if fields.get("operation") != "put-token":
                raise NotImplementedHere("$cbs knows the operation put-token only")
            if not isinstance(request.body, str):
                raise InvalidArgument("the body of put-token must be a string")
            expires = fields.get("expiration")
            grant = self._exchange.access.check(
                request.body, str(fields.get("name")), expires / 1000 if isinstance(expires, Timestamp) else None
            )
            if grant.path not in ("", _CBS):
                self._exchange.queue(grant.path.removesuffix(_MANAGEMENT))
        except Refused as refused:
            return Reply({"status-code": Int(refused.status), "status-description": str(refused)})
        self.add(grant)
        return Reply({"status-code": Int(_ACCEPTED), "status-description": "Accepted"})


def make_link(carrier: Carrier, attach: Attach, grants: Grants) -> Link:
    """Make the broker's end of a link.

    Raises:
        Refused: There is no such node, or the client may not use it so.
    """
    node = path_of(_address(attach))
    link = _link_to(node, carrier, attach, grants)
    link.needs_token_for = None if node == _CBS else node
    return link


def _link_to(node: str, carrier: Carrier, attach: Attach, grants: Grants) -> Link:
    if node == _CBS:
        return _node_link(carrier, attach, node, grants.put_token)
    if node.endswith(_MANAGEMENT):
        # A token for the queue covers it. One for the node is enough: it is all that .NET and JavaScript show here.
        grants.require(node)
        queue = carrier.exchange.queue(node.removesuffix(_MANAGEMENT))
        management = Management(carrier.exchange, queue, lambda claim: grants.require(node, claim))
        return _node_link(carrier, attach, node, management.answer)
    if attach.role is SENDER:
        grants.require(node, SEND)
        queue = carrier.exchange.queue(node)
        queue.check_send()
        return PublisherLink(carrier, attach, queue)
    grants.require(node, LISTEN)
    queue = carrier.exchange.queue(node)
    queue.check_receive()
    return ConsumerLink(carrier, attach, queue)


def _node_link(carrier: Carrier, attach: Attach, node: str, answer: Callable[[Request], Reply]) -> Link:
    if attach.role is SENDER:
        return RequestLink(carrier, attach, node, answer)
    return ReplyLink(carrier, attach, node)


def _address(attach: Attach) -> str:
    """Return the address of the node, which is at the broker's end of the link.

    Raises:
        Refused: There is none, or what it needs is not there.
    """
    end = attach.source if attach.role is RECEIVER else attach.target
    if end is None or end.descriptor not in (_SOURCE, _TARGET) or not isinstance(end.value, list):
        raise NotImplementedHere("the sandbox has queues only, and no transactions")
    address, filters = (*end.value, *[None] * (_FILTERS + 1))[0 : _FILTERS + 1 : _FILTERS]
    if end.descriptor == _SOURCE and isinstance(filters, dict) and _SESSION_FILTER in filters:
        raise NotAllowed("it is not possible for an entity that has no sessions to create a session receiver")
    if not isinstance(address, str):
        raise InvalidArgument("the link names no address")
    return address
