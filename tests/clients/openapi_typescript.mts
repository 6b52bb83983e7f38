// The four operations and their errors, by openapi-fetch with the types of openapi-typescript. Half of the test is that
// this compiles: every member and every error type is looked up in the document.
import createClient from "openapi-fetch";
import type { components, paths } from "./portal.d.mts";

declare const process: { env: Record<string, string> };

type User = components["schemas"]["CreatedUser"];
type Problem = components["schemas"]["Problem"];
type Answer<T> = { data?: T; error?: unknown; response: Response };

function check(holds: boolean, what: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(what));
}

function same(found: unknown, expected: unknown) {
  const [left, right] = [found, expected].map((value) => JSON.stringify(value));
  check(left === right, { found, expected });
}

const portal = (url = process.env.PORTAL_URL, token = process.env.PORTAL_TOKEN) =>
  createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });

/** What a call gives that is to have this status. */
async function gives<T>(status: number, call: Promise<Answer<T>>): Promise<{ data: T; headers: Headers }> {
  const { data, error, response } = await call;
  check(response.status === status && error === undefined, { status: response.status, error });
  return { data: data as T, headers: response.headers };
}

/** The problem of a call that is to fail. `code` can only be one that the document has for the operation. */
async function fails<E extends Problem>(
  status: number,
  type: E["type"],
  call: Promise<{ data?: unknown; error?: E; response: Response }>,
): Promise<{ problem: E; headers: Headers }> {
  const { error, response } = await call;
  check(response.status === status && error !== undefined, { status: response.status, error });
  same([error.status, error.type, error.request_id], [status, type, response.headers.get("X-Request-Id")]);
  check(error.title !== "" && error.detail !== "", error);
  return { problem: error, headers: response.headers };
}

const { GET, POST, DELETE } = portal();
const create = async (name: string, email: string): Promise<User> =>
  (await gives(201, POST("/users", { body: { name, email } }))).data;

// Who may do what.
const stranger = await fails(401, "urn:pbx-portal:unauthorized", portal(undefined, "x".repeat(32)).GET("/users"));
check(stranger.headers.get("WWW-Authenticate")?.startsWith("Bearer") === true, "WWW-Authenticate");
const reader = portal(undefined, process.env.PORTAL_READ_ONLY_TOKEN);
same((await gives(200, reader.GET("/users"))).data.users, []);
const body = { name: "Alice Example", email: "alice@example.com" };
await fails(403, "urn:pbx-portal:forbidden", reader.POST("/users", { body }));

// Create.
const created = await gives(201, POST("/users", { body }));
const alice = created.data;
same(created.headers.get("Location"), `/users/${alice.id}`);
same([alice.name, alice.email, alice.extension, alice.applied], [body.name, body.email, 1000, false]);
check(alice.sip_password.length >= 24 && Date.parse(alice.created_at) > 0, alice);
const bob = await create('Bob "the Builder" 👷', "bob@example.com");
same([bob.name, bob.extension], ['Bob "the Builder" 👷', 1001]);
const taken = POST("/users", { body: { name: "Other", email: "ALICE@example.com" } });
const { problem: owned } = await fails(409, "urn:pbx-portal:email-taken", taken);
same([owned.user?.id, owned.user?.extension], [alice.id, 1000]);
const { problem: invalid } = await fails(
  422,
  "urn:pbx-portal:invalid-user",
  POST("/users", { body: { name: "", email: "nobody" } }),
);
same(invalid.errors?.map((error) => error.field), ["name", "email"]);

// Review, then apply what was reviewed.
const dryRun = { params: { query: { dry_run: true } } };
const matching = (tag: string | null) => ({ params: { header: { "If-Match": tag ?? "" } } });
const { data: planned, headers } = await gives(200, POST("/apply", dryRun));
same([planned.outcome, planned.id, planned.changes.added], ["planned", null, [1000, 1001]]);
same(planned.live, { matches: true, problems: [] });
const carol = await create("Carol", "carol@example.com");
const stale = await fails(412, "urn:pbx-portal:plan-changed", POST("/apply", matching(headers.get("ETag"))));
same(stale.problem.apply?.outcome, "refused");
const reviewed = await gives(200, reader.POST("/apply", dryRun));
const { data: applied } = await gives(200, POST("/apply", matching(reviewed.headers.get("ETag"))));
same([applied.outcome, applied.users, applied.changes.added], ["applied", 3, [1000, 1001, 1002]]);
same([applied.actor, applied.warnings, applied.live], ["test", [], undefined]);
check(applied.files.every((file) => file.sha256.length === 64) && applied.timings_ms.reload > 0, applied);
same((await gives(200, POST("/apply"))).data.outcome, "unchanged");

// List.
const { data: listed, headers: ofList } = await gives(200, GET("/users"));
same(listed.users.map((user) => [user.id, user.applied]), [alice, bob, carol].map((user) => [user.id, true]));
same([listed.apply_required, listed.revision], [false, listed.applied_revision]);
same(listed.last_apply?.outcome, "unchanged");
const known = await GET("/users", { params: { header: { "If-None-Match": ofList.get("ETag") ?? "" } } });
same(known.response.status, 304);

// In the place of another, and delete.
const { data: again } = await gives(201, POST("/users", { body: { ...body, replaces: alice.id } }));
same(again.extension, 1000);
check(again.id !== alice.id && again.sip_password !== alice.sip_password, again);
const unknown = { name: "Dan", email: "dan@example.com", replaces: "00000000-0000-4000-8000-000000000000" };
await fails(404, "urn:pbx-portal:not-found", POST("/users", { body: unknown }));
const former = { params: { path: { id: bob.id } } };
await gives(204, DELETE("/users/{id}", former));
await fails(404, "urn:pbx-portal:not-found", DELETE("/users/{id}", former));
const { changes } = (await gives(200, POST("/apply", dryRun))).data;
same([changes.changed, changes.removed], [[1000], [1001]]);

// An apply that Asterisk does not take, and one without any Asterisk.
const rejecting = portal(process.env.REJECTED_PORTAL_URL);
const { problem: rejected } = await fails(502, "urn:pbx-portal:apply-rejected", rejecting.POST("/apply"));
check(rejected.apply?.outcome === "rolled_back" && rejected.detail.includes("no_such_option"), rejected);
const lonely = await fails(
  503,
  "urn:pbx-portal:asterisk-unavailable",
  portal(process.env.LONELY_PORTAL_URL).POST("/apply"),
);
same(lonely.problem.apply?.outcome, "refused");
check(Number(lonely.headers.get("Retry-After")) > 0, "Retry-After");

same((await gives(200, POST("/apply"))).data.outcome, "applied");
