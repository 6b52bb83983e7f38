//! `/openapi.json`: OpenAPI 3.1, generated from the code.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::web::Bytes;
use serde_json::json;
use utoipa::OpenApi;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    AllOfBuilder, ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Required, Response, ResponseBuilder, Type,
};
use uuid::Uuid;

use crate::http::apply_response;
use crate::http::problem::{Code, EmailOwner, FieldError, PROBLEM_JSON, Problem, ProblemDocument};
use crate::operations::{apply, users};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "PBX control portal",
        description = "Keeps users in PostgreSQL and makes Asterisk run with exactly them.\n\n\
            Creating and deleting users touches the database alone; Asterisk learns of all of it with \
            `POST /apply`. Whatever is not a success is a problem of RFC 9457, whose `type` identifies it for scripts. \
            Every answer carries `X-Request-Id`, which is also in the log: the caller's, if it sent one of 1 to 64 of \
            `A-Z a-z 0-9 . _ -`, else a new one.",
    ),
    paths(users::create, users::list, users::delete, apply::apply),
    servers(
        (url = "/", description = "Where this document comes from"),
        (url = "http://127.0.0.1:8000", description = "The portal on its own host"),
    ),
    components(schemas(ProblemDocument)),
    tags((name = "users", description = "Who has an extension"), (name = "apply", description = "What Asterisk runs")),
)]
struct Document;

/// What any operation may answer besides its successes.
const ANY: &[Code] = &[
    Code::MalformedQuery,
    Code::MalformedRequest,
    Code::Unauthorized,
    Code::Forbidden,
    Code::MethodNotAllowed,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::HeadTooLarge,
    Code::Internal,
    Code::DatabaseUnavailable,
];
const CREATE: &[Code] = &[
    Code::MalformedJson,
    Code::NotFound,
    Code::EmailTaken,
    Code::ExtensionsExhausted,
    Code::UnsupportedMediaType,
    Code::InvalidUser,
];
const DELETE: &[Code] = &[Code::MalformedId, Code::NotFound];
const APPLY: &[Code] = &[
    Code::OtherDatabase,
    Code::PlanChanged,
    Code::InvalidBody,
    Code::InstallFailed,
    Code::ApplyRejected,
    Code::AsteriskUnavailable,
    Code::ApplyBusy,
    Code::AsteriskTimeout,
];

static JSON: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(json()));

/// The document, as it is served.
#[must_use]
pub fn json() -> String {
    let mut document = Document::openapi();
    // With an identifier, Swagger UI makes a link that leads nowhere where there is a choice; without, openapi-generator
    // refuses the document.
    document.info.license = None;
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token of the setting `auth.tokens`; its name is the actor in log and audit records."));
    if let Some(components) = &mut document.components {
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    }
    for (path, item) in &mut document.paths.paths {
        let own = [(&mut item.get, &[][..]), (&mut item.delete, DELETE)];
        let post = (&mut item.post, if path == "/apply" { APPLY } else { CREATE });
        for (operation, codes) in own.into_iter().chain([post]) {
            if let Some(operation) = operation {
                complete(operation, codes);
            }
        }
    }
    if let Some(list) = document.paths.paths.get_mut("/users").and_then(|users| users.get.as_mut()) {
        let known = condition("If-None-Match", "Entity tags of lists already known");
        list.parameters.get_or_insert_default().push(RefOr::T(known));
    }
    if let Some(apply) = document.paths.paths.get_mut("/apply").and_then(|apply| apply.post.as_mut()) {
        let reviewed = condition("If-Match", "The entity tag of a dry run: only that very plan is applied");
        apply.parameters.get_or_insert_default().push(RefOr::T(reviewed));
    }
    document.to_pretty_json().map(|json| json + "\n").unwrap_or_default()
}

/// The header of conditional requests. The macro would make an optional header nullable.
fn condition(name: &str, description: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

/// Adds what every operation has: who may use it, its problems, and the headers of all answers.
fn complete(operation: &mut Operation, codes: &[Code]) {
    operation.security = Some(vec![SecurityRequirement::new::<_, [String; 0], String>("bearer", [])]);
    let mut by_status = BTreeMap::<StatusCode, Vec<Code>>::new();
    for code in ANY.iter().chain(codes) {
        by_status.entry(code.status()).or_default().push(*code);
    }
    for (status, codes) in by_status {
        operation.responses.responses.insert(status.as_str().to_owned(), RefOr::T(problem(&codes)));
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.headers.insert("X-Request-Id".to_owned(), header(Type::String, "The id of the request"));
        }
    }
}

/// The problems of one status, with an example of each.
fn problem(codes: &[Code]) -> Response {
    let examples = codes.iter().map(|code| {
        let mut value = json!(example(*code));
        if *code == Code::ApplyRejected {
            value["apply"] = apply_response::example();
            value["apply"]["outcome"] = json!("rolled_back");
        }
        let example = ExampleBuilder::new().summary(code.title()).value(Some(value));
        (code.as_str(), RefOr::T(example.build()))
    });
    let urns =
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes.iter().map(|code| example(*code).kind)));
    let kinds = ObjectBuilder::new().property("type", urns).required("type");
    let content = ContentBuilder::new()
        .schema(Some(AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(kinds)))
        .examples_from_iter(examples.collect::<Vec<_>>())
        .build();
    let description: Vec<_> = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect();
    let mut response = ResponseBuilder::new().description(description.join("; ")).content(PROBLEM_JSON, content);
    if codes.iter().any(|code| code.retry_after().is_some()) {
        response = response.header("Retry-After", header(Type::Integer, "In how many seconds to try again"));
    }
    if codes.contains(&Code::Unauthorized) {
        response = response.header("WWW-Authenticate", header(Type::String, "The scheme, Bearer"));
    }
    if codes.contains(&Code::MethodNotAllowed) {
        response = response.header("Allow", header(Type::String, "The methods that there are"));
    }
    response.build()
}

fn header<T: From<utoipa::openapi::Header>>(kind: Type, description: &str) -> T {
    let value = ObjectBuilder::new().schema_type(kind);
    HeaderBuilder::new().schema(Some(value)).description(Some(description)).build().into()
}

/// The user of the examples.
const EXAMPLE_ID: Uuid = Uuid::from_u128(0x01a1_f927_2fb9_702e_8462_40d9_586e_5694);

fn example(code: Code) -> ProblemDocument {
    let problem = match code {
        Code::InvalidUser => Problem::invalid_user(vec![
            FieldError::new("name", "must not be empty or blank"),
            FieldError::new("email", "is missing"),
        ]),
        Code::InvalidBody => {
            Problem::invalid_body(vec![FieldError::new("dry_run", "belongs in the query: POST /apply?dry_run=true")])
        }
        Code::ApplyRejected => Problem::new(
            code,
            "Asterisk does not run what was installed: not live: aor 1001 of endpoint 1001. The old files are back, and \
             Asterisk was proven to run them. To fix: the administrator's own configuration defines the endpoint 1001 \
             (/etc/asterisk/pjsip.conf, line 40) too: remove it there.",
        ),
        _ => Problem::new(code, format!("{}.", code.title())),
    };
    let user = (code == Code::EmailTaken).then_some(EmailOwner { id: EXAMPLE_ID, extension: 1000 });
    ProblemDocument { request_id: "01a1f927-2fb9-702e-8462-40d886da1a87".to_owned(), user, ..*problem.document }
}

/// Serves the document.
pub(crate) async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).insert_header((CACHE_CONTROL, "no-cache")).body(JSON.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use serde_json::Value;

    use super::*;

    fn parsed() -> Value {
        serde_json::from_str(&json()).unwrap()
    }

    fn operations(document: &Value) -> Vec<(String, &Value)> {
        document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().unwrap().iter().map(move |(method, operation)| (format!("{method} {path}"), operation))
            })
            .collect()
    }

    #[test]
    fn the_committed_copy_is_what_the_code_says() {
        let committed = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json")).unwrap();
        assert!(
            committed == json(),
            "crates/api/openapi.json is not what the code says; bring it up to date with \
             `cargo run --bin pbx-portal -- openapi >crates/api/openapi.json`"
        );
    }

    #[test]
    fn there_are_exactly_four_operations_and_all_need_a_token() {
        let document = parsed();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
        let operations = operations(&document);
        let names: BTreeSet<_> = operations.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, BTreeSet::from(["get /users", "post /users", "delete /users/{id}", "post /apply"]));
        for (name, operation) in operations {
            assert_eq!(operation["security"], serde_json::json!([{"bearer": []}]), "{name}");
            assert!(operation["description"].is_string() && operation["summary"].is_string(), "{name}");
        }
        assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    }

    /// Asserts that an example has what its schema requires, and nothing that the schema does not know.
    fn check_example(document: &Value, schemas: &[&Value], example: &Value, at: &str) {
        let mut open: Vec<&Value> = schemas.to_vec();
        let (mut properties, mut required, mut items) = (BTreeMap::new(), BTreeSet::new(), None);
        while let Some(schema) = open.pop() {
            if let Some(name) = schema["$ref"].as_str() {
                open.push(document.pointer(name.trim_start_matches('#')).unwrap());
            }
            for several in ["allOf", "oneOf"] {
                open.extend(schema[several].as_array().into_iter().flatten());
            }
            properties.extend(schema["properties"].as_object().into_iter().flatten());
            required.extend(schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
            items = schema.get("items").or(items);
        }
        if let Some(members) = example.as_object() {
            for name in required {
                assert!(members.contains_key(name), "{at} lacks {name}");
            }
            for (name, member) in members {
                let schema =
                    properties.get(name).unwrap_or_else(|| panic!("{at} has {name}, which its schema has not"));
                check_example(document, &[schema], member, &format!("{at}.{name}"));
            }
        }
        for item in example.as_array().into_iter().flatten() {
            check_example(document, &[items.unwrap()], item, at);
        }
    }

    #[test]
    fn every_example_has_the_members_of_its_schema() {
        let document = parsed();
        let mut checked = 0;
        for (name, operation) in operations(&document) {
            let responses = operation["responses"].as_object().unwrap().values();
            for body in responses.chain([&operation["requestBody"]]) {
                for content in body["content"].as_object().into_iter().flat_map(|kinds| kinds.values()) {
                    let several = content["examples"].as_object().into_iter().flat_map(|examples| examples.values());
                    for example in content.get("example").into_iter().chain(several.map(|example| &example["value"])) {
                        check_example(&document, &[&content["schema"]], example, &name);
                        checked += 1;
                    }
                }
            }
        }
        assert!(checked > 20, "{checked} examples");
    }

    #[test]
    fn every_problem_is_documented_with_an_example() {
        let document = parsed();
        let mut shown = BTreeSet::new();
        for (name, operation) in operations(&document) {
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(response["headers"]["X-Request-Id"].is_object(), "{name} {status}");
                if status.starts_with(['4', '5']) {
                    let content = &response["content"][PROBLEM_JSON];
                    assert_eq!(content["schema"]["allOf"][0]["$ref"], "#/components/schemas/Problem");
                    let kinds = content["schema"]["allOf"][1]["properties"]["type"]["enum"].as_array().unwrap();
                    let kinds: BTreeSet<_> = kinds.iter().filter_map(Value::as_str).collect();
                    let examples = content["examples"].as_object().unwrap().values();
                    assert_eq!(kinds, examples.filter_map(|example| example["value"]["type"].as_str()).collect());
                    for (code, example) in content["examples"].as_object().unwrap() {
                        assert_eq!(example["value"]["type"], format!("urn:pbx-portal:{code}"));
                        assert_eq!(example["value"]["status"].to_string(), *status);
                        shown.insert(code.clone());
                    }
                } else if !matches!(status.as_str(), "204" | "304") {
                    assert!(response["content"]["application/json"]["example"].is_object(), "{name} {status}");
                }
            }
        }
        assert_eq!(shown, Code::ALL.iter().map(|code| code.as_str().to_owned()).collect());
    }
}
