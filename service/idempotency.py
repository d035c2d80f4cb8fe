"""Answers once and for all: a POST with an `Idempotency-Key` that was answered before gets that answer again.

So a caller whose connection broke can ask again without anything being done twice. What a key stands for is known by
the request's method, path, query and body; a form's boundary, which libraries make up anew each time, does not count.
What another try might change (overload, a stop, a bug, a caller who hung up) is not kept.
"""

import hashlib
import json
import logging
import re
import time
from dataclasses import dataclass, field

import sqlalchemy as sa
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.authentication import get_owner, is_behind
from service.database import Database
from service.errors import ClientGoneError, RefusalError, StorageError
from service.request_record import RequestRecord
from service.tables import remembered

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
KEPT_SECONDS = 48 * 3600
_MAX_KEY_CHARACTERS = 255
_MAX_ANSWER_BYTES = 4 * 2**20
_KEPT_STATUSES = frozenset({200, 201, 202, 413, 415, 422})
"""Successes, unless a stream ended badly, and what the request itself is at fault for."""
_NOT_KEPT_HEADERS = frozenset({"x-request-id", "date", "connection"})
_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_BOUNDARY = re.compile(r'boundary="?([^";,\s]+)', re.IGNORECASE)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer that is kept."""

    fingerprint: bytes
    route: str | None
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Fingerprint:
    """Of a request, built up while its body comes in; a form's boundary is left out of it."""

    def __init__(self, scope: Scope) -> None:
        content_type = Headers(scope=scope).get("content-type", "")
        boundary = _BOUNDARY.search(content_type)
        self._boundary = boundary.group(1).encode("latin-1", "replace") if boundary else b""
        kind = content_type.partition(";")[0].strip().lower()
        query = scope["query_string"].decode("latin-1")
        target = f"{scope['path']}?{query}" if query else scope["path"]
        self._hash = hashlib.sha256(f"{scope['method']} {target} {kind}\n".encode("utf-8", "replace"))
        self._held = b""

    def add(self, body: bytes) -> None:
        """The next bytes of the body."""
        if not self._boundary:
            self._hash.update(body)
            return
        text = (self._held + body).replace(self._boundary, b"")
        kept = min(len(text), len(self._boundary) - 1)  # a boundary may begin here and end in what comes next
        self._held = text[len(text) - kept :]
        self._hash.update(text[: len(text) - kept])

    def digest(self) -> bytes:
        """The fingerprint of what was added."""
        whole = self._hash.copy()
        whole.update(self._held)
        return whole.digest()


@dataclass
class _Passing:
    """A request on its way through, and what is seen of its answer."""

    fingerprint: Fingerprint
    is_read: bool = False
    is_answered: bool = False
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray | None = field(default_factory=bytearray)
    """None once it is too long to be kept."""


class Idempotency:
    """ASGI middleware, inside of `Authentication`: a key belongs to its caller.

    database: None refuses the header, because a caller who relies on it must not be deceived. replica_id: this process.
    own_door: as of `Authentication`; below it the header means nothing, because whose request it is is not known here.
    """

    def __init__(self, app: ASGIApp, database: Database | None, replica_id: str, own_door: str | None = None) -> None:
        self._app = app
        self._database = database
        self._replica_id = replica_id
        self._own_door = own_door
        self._running: set[tuple[str, str]] = set()
        """Owner and key of what this process is at."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it as before. Raises RefusalError."""
        key = Headers(scope=scope).get(HEADER) if scope["type"] == "http" and scope["method"] == "POST" else None
        if key is None or is_behind(self._own_door, scope["path"]):
            await self._app(scope, receive, send)
            return
        if len(key) > _MAX_KEY_CHARACTERS or not _KEY.fullmatch(key):
            raise RefusalError(
                "invalid_value",
                f"The header {HEADER} has {len(key):,} characters; 1 to {_MAX_KEY_CHARACTERS} printable ones of ASCII "
                "are allowed. Use a UUID, for instance.",
                param=HEADER,
            )
        database = self._database
        if database is None:
            raise RefusalError(
                "no_database",
                f"This service keeps nothing, so it cannot honour {HEADER}. Leave it out, or have GENRM_DATABASE_URL "
                "set.",
                param=HEADER,
            )
        record: RequestRecord = scope["state"]["record"]
        owner = get_owner(record) or ""
        if (owner, key) in self._running:
            raise _refuse_running()
        self._running.add((owner, key))
        try:
            found = await database.run(
                lambda connection: _claim(connection, owner, key, self._replica_id, is_exclusive=database.is_exclusive)
            )
            if found is None:
                await self._answer_first(scope, receive, send, database, owner, key)
        finally:
            self._running.discard((owner, key))
        if found is not None:
            await _answer_again(found, scope, receive, send, record)

    async def _answer_first(
        self, scope: Scope, receive: Receive, send: Send, database: Database, owner: str, key: str
    ) -> None:
        passing = _Passing(Fingerprint(scope))

        async def receive_noted() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                passing.fingerprint.add(message.get("body", b""))
                passing.is_read = not message.get("more_body", False)
            return message

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                passing.status = message["status"]
                passing.headers = [
                    (name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]
                ]
            elif message["type"] == "http.response.body" and passing.body is not None:
                passing.body += message.get("body", b"")
                if len(passing.body) > _MAX_ANSWER_BYTES:
                    passing.body = None
                passing.is_answered = not message.get("more_body", False)
                if passing.is_answered:
                    await self._keep(passing, scope, database, owner, key)  # before the caller knows of it
            await send(message)

        try:
            await self._app(scope, receive_noted, send_noted)
        finally:
            if not passing.is_answered:
                await database.run(lambda connection: _release(connection, owner, key))

    async def _keep(self, passing: _Passing, scope: Scope, database: Database, owner: str, key: str) -> None:
        """Keep a final answer; let go of the key for any other."""
        record: RequestRecord = scope["state"]["record"]
        is_final = passing.status in _KEPT_STATUSES and (passing.status > 299 or record.error_code is None)
        is_final = is_final and record.error_code != "remote_image_failed"  # the other host may do better
        try:
            if not is_final or not passing.is_read or passing.body is None:
                await database.run(lambda connection: _release(connection, owner, key))
                return
            answer = Answer(
                fingerprint=passing.fingerprint.digest(),
                route=getattr(scope.get("route"), "path", None),
                status=passing.status,
                headers=[pair for pair in passing.headers if pair[0].lower() not in _NOT_KEPT_HEADERS],
                body=bytes(passing.body),
            )
            await database.run(lambda connection: _remember(connection, owner, key, answer))
        except StorageError:
            _logger.exception("Request %s was answered, and its answer could not be kept.", record.request_id)


def forget_answers_of(connection: sa.Connection, replica_id: str) -> None:
    """Let go of the keys that a dead replica had not answered."""
    connection.execute(remembered.delete().where(remembered.c.replica == replica_id, remembered.c.status.is_(None)))


def forget_old_answers(connection: sa.Connection, now: int) -> None:
    """Delete answers whose time is over."""
    connection.execute(remembered.delete().where(remembered.c.created_at < now - KEPT_SECONDS))


def _claim(connection: sa.Connection, owner: str, key: str, replica_id: str, *, is_exclusive: bool) -> Answer | None:
    """The answer that was given to a key; None if there is none, and the key is now taken.

    is_exclusive: no other process uses the database, so one that holds the key has died; callers come back at once, and
    housekeeping may be some seconds away. Raises RefusalError while another request with it runs.
    """
    here = _at(owner, key)
    now = int(time.time())
    is_old = remembered.c.created_at < now - KEPT_SECONDS
    # This process is at nothing with this key: a row of its own without an answer is one that could not be deleted.
    is_ours = sa.true() if is_exclusive else remembered.c.replica == replica_id
    is_left_over = sa.and_(is_ours, remembered.c.status.is_(None))
    connection.execute(remembered.delete().where(here, sa.or_(is_old, is_left_over)))
    try:
        with connection.begin_nested():
            connection.execute(remembered.insert().values(owner=owner, key=key, replica=replica_id, created_at=now))
    except sa.exc.IntegrityError:
        row = connection.execute(remembered.select().where(here)).one_or_none()
    else:
        return None
    if row is None or row.status is None:
        raise _refuse_running()
    return Answer(
        fingerprint=row.fingerprint, route=row.route, status=row.status, headers=json.loads(row.headers), body=row.body
    )


def _refuse_running() -> RefusalError:
    return RefusalError(
        "idempotency_key_in_use",
        f"A request with this {HEADER} is running. Ask again when it is over, or use a new key for another request.",
        param=HEADER,
        retry_after_seconds=1,
    )


def _remember(connection: sa.Connection, owner: str, key: str, answer: Answer) -> None:
    values = {**vars(answer), "headers": json.dumps(answer.headers)}
    connection.execute(remembered.update().where(_at(owner, key)).values(values))


def _release(connection: sa.Connection, owner: str, key: str) -> None:
    connection.execute(remembered.delete().where(_at(owner, key), remembered.c.status.is_(None)))


def _at(owner: str, key: str) -> sa.ColumnElement[bool]:
    return sa.and_(remembered.c.owner == owner, remembered.c.key == key)


async def _answer_again(found: Answer, scope: Scope, receive: Receive, send: Send, record: RequestRecord) -> None:
    """Give the answer that is kept, if it was to the same request. Raises RefusalError if it was not."""
    fingerprint = Fingerprint(scope)
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("The client disconnected before its answer was ready.")
        fingerprint.add(message.get("body", b""))
        if not message.get("more_body", False):
            break
    if fingerprint.digest() != found.fingerprint:
        raise RefusalError(
            "idempotency_key_reused",
            f"This {HEADER} was used before, with another method, path, query or body. Use a new key for a new "
            "request.",
            param=HEADER,
        )
    record.route = found.route
    record.facts["replayed"] = True
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in found.headers]
    headers.append((REPLAYED.encode(), b"true"))
    await send({"type": "http.response.start", "status": found.status, "headers": headers})
    await send({"type": "http.response.body", "body": found.body})
