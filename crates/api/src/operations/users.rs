//! `/users`.

use actix_web::http::header::{CACHE_CONTROL, ContentType, ETAG, EntityTag, Header as _, IfNoneMatch, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use pbx_domain::{CreateRefusal, SipPassword, UserId};
use pbx_persistence::CreateUserError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::AppState;
use crate::http::auth::Actor;
use crate::http::problem::{Code, Problem};
use crate::http::{body, query};
use crate::operations::listing::{self, UserListResponse, UserResponse};
use crate::operations::new_user::{self, NewUserBody};

/// A user just created, with the password of its phone.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedUser)]
pub(crate) struct CreatedUserResponse<'a> {
    #[serde(flatten)]
    user: UserResponse<'a>,
    /// The password that the phone registers with. It is shown this once: only a digest is stored.
    #[schema(min_length = 24, example = "q7m2kfx4wz9ub5nhr3tc8vpdya6e")]
    sip_password: &'a str,
}

/// Creates a user with the lowest free extension, or in the place of another.
///
/// With `replaces`, that user is deleted and the new one gets its extension, at once: for a lost phone or password, or
/// another name or address. `404` when there is no such user.
///
/// Asterisk learns of it with the next `POST /apply`. After a `503` the user may have
/// been created nevertheless: try again; `409` `email-taken` then names the user with this address in `user`.
#[utoipa::path(
    post, path = "/users", operation_id = "createUser", tag = "users",
    request_body(
        content = NewUserBody,
        example = json!({"name": "Alice Example", "email": "alice@example.com"}),
    ),
    responses((
        status = 201, description = "The user, with the password of its phone, which is never shown again",
        body = CreatedUserResponse,
        headers(("Location" = String, description = "The path of the user")),
        links(("delete" = (operation_id = "deleteUser", parameters(("id" = "$response.body#/id"))))),
        example = json!({
            "id": "01a1f927-2fb9-702e-8462-40d9586e5694", "name": "Alice Example", "email": "alice@example.com",
            "extension": 1000, "applied": false, "created_at": "2026-11-20T12:45:00.123456Z",
            "sip_password": "q7m2kfx4wz9ub5nhr3tc8vpdya6e",
        }),
    )),
)]
pub(crate) async fn create(
    _actor: Actor,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Problem> {
    query::none(&request)?;
    body::must_be_json(&request)?;
    let new = new_user::parse(&body::read(payload).await?)?;
    let realm = state.settings.asterisk.realm.clone();
    let created = state.with_database(move |database| {
        let password = SipPassword::generate().map_err(Problem::internal)?;
        let user = database.users().create(&new, &realm, &password)?;
        // Here, as the client may be gone by now.
        log::info!("created user {} with extension {}", user.id, user.extension);
        Ok::<_, Problem>((user, password))
    });
    let (user, password) = created.await??;
    // No apply can have had a user that is only being answered for.
    let created = CreatedUserResponse { user: UserResponse::of(&user, false), sip_password: password.reveal() };
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/users/{}", user.id)))
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type(ContentType::json())
        .body(body::json(&created)))
}

impl From<CreateUserError> for Problem {
    fn from(error: CreateUserError) -> Self {
        match error {
            CreateUserError::Refused(CreateRefusal::EmailTaken { id, extension }) => {
                Self::new(Code::EmailTaken, "Another user has this email; upper and lower case make no difference.")
                    .with_user(id, extension)
            }
            CreateUserError::Refused(CreateRefusal::NoSuchUser) => {
                Self::new(Code::NotFound, "There is no user with the id in replaces; nothing was changed.")
            }
            CreateUserError::Refused(CreateRefusal::Exhausted) => Self::new(
                Code::ExtensionsExhausted,
                "Every extension from 1000 to 1999 has a user; delete one to free its extension.",
            ),
            CreateUserError::Database(error) => error.into(),
        }
    }
}

/// Lists all users by extension, and whether Asterisk runs with them.
///
/// What the list says of Asterisk was verified, and is about the Asterisk of this host.
#[utoipa::path(
    get, path = "/users", operation_id = "listUsers", tag = "users",
    responses(
        (
            status = 200, description = "All users", body = UserListResponse,
            headers(("ETag" = String, description = "The entity tag of this list")),
            example = json!({
                "users": [{
                    "id": "01a1f927-2fb9-702e-8462-40d9586e5694", "name": "Alice Example", "email": "alice@example.com",
                    "extension": 1000, "applied": true, "created_at": "2026-11-20T12:45:00.123456Z",
                }],
                "revision": 42, "applied_revision": 41, "apply_required": true,
                "last_apply": {
                    "id": "01a1f927-2ff0-7467-8631-f8436b69a64f", "outcome": "applied",
                    "finished_at": "2026-11-20T12:45:00.254656Z",
                },
            }),
        ),
        (
            status = 304, description = "The list is the one already known",
            headers(("ETag" = String, description = "The entity tag of this list")),
        ),
    ),
)]
pub(crate) async fn list(
    _actor: Actor,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Problem> {
    query::none(&request)?;
    body::ignore(payload).await?;
    let listing = listing::answer(&state).await?;
    let known = is_known(&request, &listing.etag);
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((ETAG, listing.etag.as_str())).insert_header((CACHE_CONTROL, "private, no-cache"));
    if known {
        return Ok(response.finish());
    }
    Ok(response.content_type(ContentType::json()).body(listing.body.clone()))
}

/// Whether `If-None-Match` names this entity tag, by the weak comparison of
/// [RFC 9110, section 13.1.2](https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2).
fn is_known(request: &HttpRequest, etag: &str) -> bool {
    let (Ok(known), Ok(etag)) = (IfNoneMatch::parse(request), etag.parse::<EntityTag>()) else { return false };
    match known {
        IfNoneMatch::Any => true,
        IfNoneMatch::Items(known) => known.iter().any(|tag| tag.weak_eq(&etag)),
    }
}

/// Deletes a user; its extension is free at once.
///
/// Asterisk learns of it with the next `POST /apply`.
#[utoipa::path(
    delete, path = "/users/{id}", operation_id = "deleteUser", tag = "users",
    params(("id" = uuid::Uuid, Path, description = "The user's id")),
    responses((status = 204, description = "The user is deleted")),
)]
pub(crate) async fn delete(
    _actor: Actor,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Problem> {
    query::none(&request)?;
    let id = user_id(request.match_info().query("id"))?;
    body::ignore(payload).await?;
    let deleted = state.with_database(move |database| {
        // There, as the client may be gone when it is done.
        database.users().delete(id).inspect(|deleted| {
            if *deleted {
                log::info!("deleted user {id}");
            }
        })
    });
    if !deleted.await?? {
        return Err(Problem::new(Code::NotFound, "There is no user with this id."));
    }
    Ok(HttpResponse::NoContent().finish())
}

fn user_id(text: &str) -> Result<UserId, Problem> {
    new_user::id(text).map_err(|_| {
        Problem::new(Code::MalformedId, "The id of a user is a UUID such as 01939d5e-7a8b-7c3d-9e4f-5a6b7c8d9e0f.")
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::IF_NONE_MATCH;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn entity_tags_are_compared_as_http_says() {
        let known = |header: &str| {
            is_known(&TestRequest::get().insert_header((IF_NONE_MATCH, header)).to_http_request(), "\"abc\"")
        };
        for header in ["\"abc\"", "W/\"abc\"", "*", " * ", "\"x\", \"abc\"", "\"x\",W/\"abc\",\"y\""] {
            assert!(known(header), "{header}");
        }
        for header in ["", "abc", "\"ABC\"", "w/\"abc\"", "\"x\"", "\"abc", "\"*\""] {
            assert!(!known(header), "{header}");
        }
    }

    #[test]
    fn an_id_is_a_uuid_with_hyphens() {
        let id = UserId::generate();
        assert_eq!(user_id(&id.to_string()).unwrap(), id);
        assert_eq!(user_id(&id.to_string().to_uppercase()).unwrap(), id);
        let simple = id.as_uuid().simple().to_string();
        for wrong in ["", "1", &simple, &format!("{{{id}}}"), &format!("urn:uuid:{id}"), &"x".repeat(36)] {
            assert_eq!(user_id(wrong).unwrap_err().code, Code::MalformedId, "{wrong}");
        }
    }
}
