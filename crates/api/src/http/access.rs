//! The middleware around every request: its id, its line in the log, and a response even after a panic.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpResponse};
use futures_util::FutureExt as _;

use crate::http::auth::CallerSlot;
use crate::http::body::{self, MAX_BYTES};
use crate::http::clients::Client;
use crate::http::logging::OneLine;
use crate::http::problem::{Code, PROBLEM_JSON, Problem};
use crate::http::request_id::{RequestId, X_REQUEST_ID};

/// The outermost layer of the application.
pub(crate) async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = RequestId::of(request.headers());
    let _work = request.conn_data::<Rc<Client>>().map(Client::work_for);
    id.clone().scope(answer(id, request, next)).await
}

async fn answer(
    id: RequestId,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let mut line = AccessLine {
        method: format!("{:.20}", request.method().as_str()),
        // Without the query, which could hold a token by mistake, and neither at any length.
        path: format!("{:.200}", request.path()),
        started,
        actor: CallerSlot::default(),
        status: None,
        peer: request.peer_addr().map(|peer| peer.ip().to_canonical()),
    };

    request.extensions_mut().insert(line.actor.clone());
    if announces_too_much(request.headers()) {
        let response = request.error_response(Problem::new(Code::BodyTooLarge, body::TOO_LARGE));
        line.status = Some(response.status());
        return Ok(response);
    }
    // The panic itself is in the log already, with its place.
    let panicked = |_| Err(Problem::internal(anyhow::anyhow!("a panic")).into());
    let mut response = match AssertUnwindSafe(next.call(request)).catch_unwind().await.unwrap_or_else(panicked) {
        Ok(response) => as_problem_if_failed(response.map_into_boxed_body()),
        Err(error) => {
            log_cause(&error);
            line.status = Some(error.as_response_error().status_code());
            return Err(error);
        }
    };
    if let Some(error) = response.response().error() {
        log_cause(error);
    }
    line.status = Some(response.status());

    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(X_REQUEST_ID, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response.map_body(|_, body| body::in_pieces(body)))
}

/// A failure that the framework answered by itself, in its own words or in none, becomes a problem.
fn as_problem_if_failed(response: ServiceResponse) -> ServiceResponse {
    let status = response.status();
    let is_failure = status.is_client_error() || status.is_server_error();
    let is_problem =
        response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == PROBLEM_JSON.as_bytes());
    if !is_failure || is_problem {
        return response;
    }
    let problem = match Code::ALL.iter().find(|code| code.status() == status) {
        Some(code) if status.is_client_error() => Problem::new(*code, format!("{}.", code.title())),
        _ => Problem::internal(anyhow::anyhow!("the framework answered {status}")),
    };
    let (request, _) = response.into_parts();
    ServiceResponse::new(request, HttpResponse::from_error(problem))
}

/// Whether the announced body is too large, whatever the handler would read of it.
fn announces_too_much(headers: &HeaderMap) -> bool {
    let length =
        headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()).and_then(|n| n.parse::<u64>().ok());
    length.is_some_and(|length| length > MAX_BYTES as u64)
}

fn log_cause(error: &Error) {
    if let Some(problem) = error.as_error::<Problem>()
        && let Some(cause) = &problem.cause
    {
        log::error!("{}: {cause:#}", problem.code.as_str());
    }
}

struct AccessLine {
    method: String,
    path: String,
    started: Instant,
    actor: CallerSlot,
    status: Option<StatusCode>,
    /// The client's address, or that of a proxy in front.
    peer: Option<IpAddr>,
}

/// Who goes away before the answer has a line all the same: what was asked for may be done.
impl Drop for AccessLine {
    fn drop(&mut self) {
        let end = match (self.status, self.peer) {
            (None, _) => ": the client went away before its answer".to_owned(),
            // For fail2ban, which reads this line.
            (Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), Some(peer)) => format!(" peer={peer}"),
            _ => String::new(),
        };
        log::info!(
            "{} {} {} {:.1} ms actor={}{end}",
            OneLine(&self.method),
            OneLine(&self.path),
            self.status.as_ref().map_or("-", StatusCode::as_str),
            self.started.elapsed().as_secs_f64() * 1000.0,
            self.actor.name(),
        );
    }
}

#[cfg(test)]
mod tests {
    use actix_web::middleware::from_fn;
    use actix_web::{App, test, web};

    use super::*;

    async fn answer_of(handler: fn() -> HttpResponse) -> ServiceResponse {
        let app = App::new().wrap(from_fn(observe)).route("/", web::get().to(move || async move { handler() }));
        let app = test::init_service(app).await;
        test::try_call_service(&app, test::TestRequest::get().uri("/").to_request())
            .await
            .unwrap_or_else(|error| ServiceResponse::new(test::TestRequest::get().to_http_request(), error.into()))
    }

    #[actix_web::test]
    async fn a_panic_in_a_handler_is_an_internal_problem_with_a_request_id() {
        let response = answer_of(|| panic!("on purpose")).await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers().get(CONTENT_TYPE).unwrap(), PROBLEM_JSON);
        let header = response.headers().get(X_REQUEST_ID).unwrap().to_str().unwrap().to_owned();
        let body: serde_json::Value = test::read_body_json(response).await;
        assert_eq!(body["type"], "urn:pbx-portal:internal");
        assert_eq!(body["request_id"], header);
        assert!(!body.to_string().contains("on purpose"));
    }

    #[actix_web::test]
    async fn what_the_framework_answers_becomes_a_problem() {
        for (handler, status, code) in [
            ((|| HttpResponse::NotFound().body("in its own words")) as fn() -> HttpResponse, 404, "not-found"),
            (|| HttpResponse::ImATeapot().finish(), 500, "internal"),
            (|| HttpResponse::BadGateway().finish(), 500, "internal"),
        ] {
            let response = answer_of(handler).await;
            assert_eq!(response.status(), status);
            let body: serde_json::Value = test::read_body_json(response).await;
            assert_eq!(body["type"], format!("urn:pbx-portal:{code}"));
        }
    }
}
