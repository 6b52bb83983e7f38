//! The program `pbx-portal`: settings, the REST API, and the wiring of the other crates. The only
//! crate that knows HTTP and reads settings from the environment.
//!
//! Every request passes `http::access`, which gives it an id, a line in the log and an answer even if
//! its handler panics; then the URL table, `configure`; then the handler of its resource
//! (`operations::users`, `operations::apply`), which calls the crates below on a thread that may block (`http::work`).
//! Whatever is not a success is a problem (`http::problem`).

mod http;
mod operations;
mod program;
pub mod settings;

use actix_web::{Resource, Route, guard, web};
use pbx_persistence::Database;

pub use crate::http::logging;
use crate::http::problem::{Code, Problem};
use crate::http::work::Work;
use crate::operations::apply::{self, Applier};
use crate::operations::listing::ListingCache;
use crate::operations::users;
use crate::program::docs;
pub use crate::program::{check, openapi, server};
pub use crate::settings::Settings;

/// What the handlers share.
pub(crate) struct AppState {
    /// What the administrator decided.
    pub(crate) settings: Settings,
    /// The database.
    pub(crate) database: Database,
    /// The applies of this node.
    pub(crate) applier: Applier,
    /// Applies and calls of the database under way, each of which ends by itself.
    pub(crate) work: Work,
    /// The last answer to `GET /users`.
    pub(crate) listing: ListingCache,
}

impl AppState {
    /// Calls the database, which answers or fails within `database.timeout_seconds`.
    async fn with_database<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Database) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let database = self.database.clone();
        self.work.run(move || call(&database)).await
    }
}

/// The URL table: every path and method there is.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(
            resource("/users", "GET, HEAD, POST")
                .route(get_or_head().to(users::list))
                .route(web::post().to(users::create)),
        )
        .service(resource("/users/{id}", "DELETE").route(web::delete().to(users::delete)))
        .service(resource("/apply", "POST").route(web::post().to(apply::apply)))
        .service(resource("/openapi.json", "GET, HEAD").route(get_or_head().to(openapi::document)))
        .service(resource("/docs", "GET, HEAD").route(get_or_head().to(docs::redirect)))
        .service(resource("/docs/{file:.*}", "GET, HEAD").route(get_or_head().to(docs::file)))
        .default_service(web::to(|| async {
            Err::<&str, _>(Problem::new(Code::NotFound, "There is nothing at this path; /docs shows what there is."))
        }));
}

/// A resource that has only these methods, which each `405` names.
fn resource(path: &'static str, methods: &'static str) -> Resource {
    web::resource(path)
        .default_service(web::to(move || async move { Err::<&str, _>(Problem::method_not_allowed(methods)) }))
}

fn get_or_head() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}
