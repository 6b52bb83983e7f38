"""The four operations and their errors, by the client of openapi-python-client."""

import os
from datetime import datetime
from uuid import uuid4

from pbx_control_portal_client import AuthenticatedClient
from pbx_control_portal_client.api.apply import apply
from pbx_control_portal_client.api.users import create_user, delete_user, list_users
from pbx_control_portal_client.models import ApplyOutcome, NewUser
from pbx_control_portal_client.types import UNSET


def client(url=os.environ["PORTAL_URL"], token=os.environ["PORTAL_TOKEN"]):
    return AuthenticatedClient(base_url=url, token=token, timeout=100, raise_on_unexpected_status=True)


def gives(status, operation, *arguments, of=client(), **named):
    """The answer of a call, which is to have this status, and what the client has read of it."""
    answer = operation.sync_detailed(*arguments, client=of, **named)
    assert answer.status_code == status, answer
    return answer, answer.parsed


def fails(status, code, operation, *arguments, **named):
    """The problem of a call that is to fail, as the client has read it."""
    answer, problem = gives(status, operation, *arguments, **named)
    assert (problem.status, problem.type_) == (status, f"urn:pbx-portal:{code}"), problem
    assert problem.title and problem.detail and problem.request_id == answer.headers["X-Request-Id"], problem
    return problem, answer.headers


# Who may do what.
_, headers = fails(401, "unauthorized", list_users, of=client(token="x" * 32))
assert headers["WWW-Authenticate"].startswith("Bearer")
reader = client(token=os.environ["PORTAL_READ_ONLY_TOKEN"])
assert gives(200, list_users, of=reader)[1].users == []
fails(403, "forbidden", create_user, of=reader, body=NewUser(name="Alice", email="alice@example.com"))

# Create.
answer, alice = gives(201, create_user, body=NewUser(name="Alice Example", email="alice@example.com"))
assert answer.headers["Location"] == f"/users/{alice.id}"
assert (alice.name, alice.email, alice.extension, alice.applied) == ("Alice Example", "alice@example.com", 1000, False)
assert len(alice.sip_password) >= 24 and isinstance(alice.created_at, datetime)
_, bob = gives(201, create_user, body=NewUser(name='Bob "the Builder" 👷', email="bob@example.com"))
assert (bob.name, bob.extension) == ('Bob "the Builder" 👷', 1001)
problem, _ = fails(409, "email-taken", create_user, body=NewUser(name="Other", email="ALICE@example.com"))
assert (problem.user.id, problem.user.extension) == (alice.id, 1000)
problem, _ = fails(422, "invalid-user", create_user, body=NewUser(name="", email="nobody"))
assert [error.field for error in problem.errors] == ["name", "email"] and problem.errors[0].message

# Review, then apply what was reviewed.
answer, planned = gives(200, apply, dry_run=True)
stale = answer.headers["ETag"]
assert (planned.outcome, planned.id, planned.changes.added) == (ApplyOutcome.PLANNED, None, [1000, 1001])
assert planned.live.matches and planned.live.problems == []
_, carol = gives(201, create_user, body=NewUser(name="Carol", email="carol@example.com"))
problem, _ = fails(412, "plan-changed", apply, if_match=stale)
assert problem.apply.outcome == ApplyOutcome.REFUSED
reviewed = gives(200, apply, of=reader, dry_run=True)[0].headers["ETag"]
_, applied = gives(200, apply, if_match=reviewed)
assert (applied.outcome, applied.users, applied.changes.added) == (ApplyOutcome.APPLIED, 3, [1000, 1001, 1002])
assert (applied.actor, applied.warnings, applied.live) == ("test", [], UNSET)
assert [len(file.sha256) for file in applied.files] == [64, 64] and applied.timings_ms.reload > 0
assert gives(200, apply)[1].outcome == ApplyOutcome.UNCHANGED

# List.
answer, listed = gives(200, list_users)
assert [(user.id, user.applied) for user in listed.users] == [(user.id, True) for user in (alice, bob, carol)]
assert (listed.apply_required, listed.revision) == (False, listed.applied_revision)
assert listed.last_apply.outcome == ApplyOutcome.UNCHANGED
gives(304, list_users, if_none_match=answer.headers["ETag"])

# In the place of another, and delete.
_, again = gives(201, create_user, body=NewUser(name="Alice", email="alice@example.com", replaces=alice.id))
assert again.extension == 1000 and again.id != alice.id and again.sip_password != alice.sip_password
fails(404, "not-found", create_user, body=NewUser(name="Dan", email="dan@example.com", replaces=uuid4()))
gives(204, delete_user, bob.id)
fails(404, "not-found", delete_user, bob.id)
_, planned = gives(200, apply, dry_run=True)
assert (planned.changes.changed, planned.changes.removed) == ([1000], [1001])

# An apply that Asterisk does not take, and one without any Asterisk.
problem, _ = fails(502, "apply-rejected", apply, of=client(url=os.environ["REJECTED_PORTAL_URL"]))
assert problem.apply.outcome == ApplyOutcome.ROLLED_BACK and "no_such_option" in problem.detail, problem
problem, headers = fails(503, "asterisk-unavailable", apply, of=client(url=os.environ["LONELY_PORTAL_URL"]))
assert problem.apply.outcome == ApplyOutcome.REFUSED and int(headers["Retry-After"]) > 0

assert gives(200, apply)[1].outcome == ApplyOutcome.APPLIED
