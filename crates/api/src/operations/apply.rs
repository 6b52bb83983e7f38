//! `POST /apply`: one attempt after the other. Each is recorded, and each response says what Asterisk runs. The steps of one
//! are in [`attempt`].

mod attempt;
mod audit;
mod claim;
mod last;
mod option_fix;
mod plan;
mod verdict;
mod waiting_records;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, ContentType, ETAG},
    web,
};
use anyhow::Context as _;
use pbx_asterisk::{Cli, Deployment, IncludeFiles, LockError, LockedDeployment, Pair};
use pbx_confgen::{EndpointOptions, Prefix, RenderError, Renderer};
use pbx_domain::User;
use pbx_persistence::Database;
use tokio::sync::Mutex;

use self::{attempt::Attempt, audit::Audit, claim::ClaimCache, plan::Review};
pub(crate) use self::{
    claim::{Claim, Standing, losses_to_another_database},
    last::LastApplyResponse,
    verdict::warnings,
};
use crate::{
    AppState, Settings,
    http::{
        apply_response::{self, ApplyResponse},
        auth::Actor,
        body,
        problem::Problem,
        query,
        request_id::RequestId,
    },
};

/// Makes applies, one at a time.
#[derive(Clone)]
pub(crate) struct Applier(Arc<Inner>);

struct Inner {
    deployment: Deployment,
    files: IncludeFiles,
    renderer: Renderer,
    endpoint_options: EndpointOptions,
    node: String,
    audit: Audit,
    claims: ClaimCache,
    apply_timeout: Duration,
    command_timeout: Duration,
    /// The order in which the callers of this process take the lock; the host's lock orders
    /// processes.
    queue: Arc<Mutex<()>>,
}

impl Applier {
    /// An applier for this node. It recovers from an apply whose process was killed: one whole pair of files is on disk.
    /// Neither Asterisk nor the database is asked for anything.
    ///
    /// # Errors
    ///
    /// The state directory or an include file cannot be used.
    pub(crate) fn new(settings: &Settings, database: &Database) -> anyhow::Result<Self> {
        let deployment = deployment(settings)?;
        let audit = Audit::new(database.clone(), deployment.clone(), settings.node.clone());
        let applier = Self(Arc::new(Inner {
            claims: ClaimCache::default(),
            files: files(settings),
            endpoint_options: settings.asterisk.endpoint_options.clone(),
            renderer: renderer(settings),
            node: settings.node.clone(),
            apply_timeout: settings.asterisk.apply_timeout,
            command_timeout: settings.asterisk.command_timeout,
            queue: Arc::default(),
            deployment,
            audit,
        }));
        applier.recover(|_| {
            applier.0.audit.note_interrupted();
            Ok(())
        })?;
        Ok(applier)
    }

    /// Closes the audit records that a killed process left open.
    ///
    /// # Errors
    ///
    /// The database or the state directory cannot be used.
    pub(crate) fn close_open_records(&self) -> anyhow::Result<()> {
        self.recover(|locked| Ok(self.0.audit.close_open_records(&locked)?))
    }

    /// What this node claims that its Asterisk runs.
    pub(crate) fn claim(&self) -> Arc<Claim> {
        self.0.claims.claim(&self.0.deployment)
    }

    /// The apply that ended last here.
    pub(crate) fn last(&self) -> Option<LastApplyResponse> {
        self.0.audit.last()
    }

    /// How these users stand against `claim`.
    pub(crate) fn standing(&self, users: &[User], claim: &Claim) -> Standing {
        claim.standing(users, &self.0.renderer).unwrap_or_else(|error| {
            log::error!("nothing counts as applied: {error}");
            Standing::UNKNOWN
        })
    }

    /// Both files as these users make them.
    fn render(&self, users: &[User]) -> Result<Pair, RenderError> {
        rendered(&self.0.renderer, users)
    }

    /// Takes the lock, which restores one whole pair of files before anything else, and runs `and` under it.
    fn recover(&self, and: impl FnOnce(LockedDeployment<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let result = match self.0.deployment.recover(Instant::now()) {
            Ok(locked) => and(locked),
            // Another process of this host applies right now, and has seen to it.
            Err(LockError::Busy) => Ok(()),
            Err(error) => Err(error.into()),
        };
        result.context("cannot recover from an interrupted apply")
    }
}

/// Both files as `renderer` makes them of these users.
pub(crate) fn rendered(renderer: &Renderer, users: &[User]) -> Result<Pair, RenderError> {
    let rendering = renderer.render(users)?;
    Ok(Pair { endpoints: rendering.endpoints.into(), dialplan: rendering.routing.into() })
}

/// What makes the files of users as the settings describe them.
pub(crate) fn renderer(settings: &Settings) -> Renderer {
    Renderer::new(&Prefix::default(), &settings.asterisk.endpoint_options)
}

/// The deployment that the settings describe.
pub(crate) fn deployment(settings: &Settings) -> anyhow::Result<Deployment> {
    Ok(Deployment::new(cli(settings)?, files(settings), settings.state_dir.clone()))
}

/// The way to Asterisk that the settings describe.
pub(crate) fn cli(settings: &Settings) -> anyhow::Result<Cli> {
    Cli::new(&settings.asterisk.command, settings.asterisk.command_timeout).context("asterisk.command")
}

fn files(settings: &Settings) -> IncludeFiles {
    IncludeFiles {
        endpoints: settings.asterisk.pjsip_include.clone(),
        dialplan: settings.asterisk.dialplan_include.clone(),
    }
}

/// Makes Asterisk run with exactly the users that there are now, and proves it.
///
/// Applies never overlap: a caller waits for the lock, so whatever was committed before the call
/// is live when the answer is `200`. With `dry_run=true` nothing is written, reloaded or recorded; its `ETag` names the
/// plan, and with `If-Match` of it exactly that plan is applied, or nothing. The body is empty or `{}`.
#[utoipa::path(
    post, path = "/apply", operation_id = "apply", tag = "apply",
    params(("dry_run" = Option<bool>, Query, description = "Only report what would be done, and whether files and Asterisk are still as last applied")),
    responses((
        status = 200, description = "What was done, or would be done", body = ApplyResponse,
        headers(("ETag" = String, description = "The entity tag of the plan, of a dry run")),
        example = json!(apply_response::example()),
    )),
)]
pub(crate) async fn apply(
    actor: Actor,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Problem> {
    let dry_run = query::dry_run(&request)?;
    body::read_nothing(payload).await?;
    let applier = state.applier.clone();
    let deadline = Instant::now() + applier.0.apply_timeout;
    let attempt = Attempt {
        applier: applier.clone(),
        actor: actor.0,
        request_id: RequestId::current().unwrap_or_else(RequestId::generate).to_string(),
        review: Review::of(&request),
        started_at: SystemTime::now(),
        began: Instant::now(),
        deadline,
    };
    let locked = tokio::time::timeout_at(deadline.into(), Arc::clone(&applier.0.queue).lock_owned()).await;
    let answer = state.work.run(move || {
        // The place in the queue is kept until the attempt has ended, whether or not its caller
        // is still there.
        match (locked, dry_run) {
            (Ok(_place), true) => attempt.plan().map(|(answer, plan)| (answer, Some(plan))),
            (Ok(_place), false) => attempt.apply().map(|answer| (answer, None)),
            (Err(_), true) => Err(attempt::no_lock(LockError::Busy)),
            (Err(_), false) => attempt.without_lock(LockError::Busy).map(|answer| (answer, None)),
        }
    });
    let (answer, plan) = answer.await??;
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store"));
    if let Some(plan) = plan {
        response.insert_header((ETAG, plan));
    }
    Ok(response.content_type(ContentType::json()).body(body::json(&answer)))
}
