"""The four operations and their errors, by the Python client of openapi-generator."""

import os
from datetime import datetime
from uuid import uuid4

from openapi_client import ApiClient, ApplyApi, ApplyOutcome, Configuration, NewUser, UsersApi
from openapi_client.exceptions import ApiException


def apis(url=os.environ["PORTAL_URL"], token=os.environ["PORTAL_TOKEN"]):
    client = ApiClient(Configuration(host=url, access_token=token))
    return UsersApi(client), ApplyApi(client)


def fails(status, code, call, *arguments, **named):
    """The problem of a call that is to fail, as the client has read it."""
    try:
        call(*arguments, **named)
    except ApiException as error:
        problem = error.data
        assert (error.status, problem.status, problem.type) == (status, status, f"urn:pbx-portal:{code}"), error
        assert problem.title and problem.detail and problem.request_id == error.headers["X-Request-Id"], error
        return problem, error.headers
    raise AssertionError(f"{code} was expected")


users, applies = apis()
# This client's headers of a success are a dictionary, with the names as they are sent; those of an exception are not.

# Who may do what.
strangers, _ = apis(token="x" * 32)
_, headers = fails(401, "unauthorized", strangers.list_users)
assert headers["WWW-Authenticate"].startswith("Bearer")
readers, reading = apis(token=os.environ["PORTAL_READ_ONLY_TOKEN"])
assert readers.list_users().users == []
fails(403, "forbidden", readers.create_user, NewUser(name="Alice", email="alice@example.com"))

# Create.
answer = users.create_user_with_http_info(NewUser(name="Alice Example", email="alice@example.com"))
alice = answer.data
assert (answer.status_code, answer.headers["location"]) == (201, f"/users/{alice.id}")
assert (alice.name, alice.email, alice.extension, alice.applied) == ("Alice Example", "alice@example.com", 1000, False)
assert len(alice.sip_password) >= 24 and isinstance(alice.created_at, datetime)
bob = users.create_user(NewUser(name='Bob "the Builder" 👷', email="bob@example.com"))
assert (bob.name, bob.extension) == ('Bob "the Builder" 👷', 1001)
problem, _ = fails(409, "email-taken", users.create_user, NewUser(name="Other", email="ALICE@example.com"))
assert (problem.user.id, problem.user.extension) == (alice.id, 1000)
# The document counts characters, the portal bytes. This client has another use for the name `field`.
problem, _ = fails(422, "invalid-user", users.create_user, NewUser(name="é" * 79, email="long@example.com"))
assert [error.var_field for error in problem.errors] == ["name"] and problem.errors[0].message

# Review, then apply what was reviewed.
answer = applies.apply_with_http_info(dry_run=True)
planned, stale = answer.data, answer.headers["etag"]
assert (planned.outcome, planned.id, planned.changes.added) == (ApplyOutcome.PLANNED, None, [1000, 1001])
assert planned.live.matches and planned.live.problems == []
carol = users.create_user(NewUser(name="Carol", email="carol@example.com"))
problem, _ = fails(412, "plan-changed", applies.apply, if_match=stale)
assert problem.apply.outcome == ApplyOutcome.REFUSED
reviewed = reading.apply_with_http_info(dry_run=True).headers["etag"]
applied = applies.apply(if_match=reviewed)
assert (applied.outcome, applied.users, applied.changes.added) == (ApplyOutcome.APPLIED, 3, [1000, 1001, 1002])
assert (applied.actor, applied.warnings, applied.live) == ("test", [], None)
assert [len(file.sha256) for file in applied.files] == [64, 64] and applied.timings_ms.reload > 0
assert applies.apply().outcome == ApplyOutcome.UNCHANGED

# List.
answer = users.list_users_with_http_info()
listed = answer.data
assert [(user.id, user.applied) for user in listed.users] == [(user.id, True) for user in (alice, bob, carol)]
assert (listed.apply_required, listed.revision) == (False, listed.applied_revision)
assert listed.last_apply.outcome == ApplyOutcome.UNCHANGED
try:
    users.list_users(if_none_match=answer.headers["etag"])
    raise AssertionError("304 was expected")
except ApiException as error:
    # To this client, whatever is not 2xx is an exception.
    assert error.status == 304, error

# In the place of another, and delete.
again = users.create_user(NewUser(name="Alice", email="alice@example.com", replaces=alice.id))
assert again.extension == 1000 and again.id != alice.id and again.sip_password != alice.sip_password
fails(404, "not-found", users.create_user, NewUser(name="Dan", email="dan@example.com", replaces=uuid4()))
assert users.delete_user_with_http_info(bob.id).status_code == 204
fails(404, "not-found", users.delete_user, bob.id)
planned = applies.apply(dry_run=True)
assert (planned.changes.changed, planned.changes.removed) == ([1000], [1001])

# An apply that Asterisk does not take, and one without any Asterisk.
_, rejected = apis(url=os.environ["REJECTED_PORTAL_URL"])
problem, _ = fails(502, "apply-rejected", rejected.apply)
assert problem.apply.outcome == ApplyOutcome.ROLLED_BACK and "no_such_option" in problem.detail, problem
_, alone = apis(url=os.environ["LONELY_PORTAL_URL"])
problem, headers = fails(503, "asterisk-unavailable", alone.apply)
assert problem.apply.outcome == ApplyOutcome.REFUSED and int(headers["Retry-After"]) > 0

assert applies.apply().outcome == ApplyOutcome.APPLIED
