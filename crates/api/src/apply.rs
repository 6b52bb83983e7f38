//! `POST /apply`: one attempt after the other, each recorded, each answered with the truth.

mod attempt;
mod audit;
mod note;
mod proven;
mod verdict;

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, ContentType},
    web,
};
use anyhow::Context as _;
use pbx_asterisk::{Cli, Deployment, IncludeFiles, LockError, LockedDeployment};
use pbx_persistence::Database;
use tokio::sync::Mutex;

pub use self::proven::Proven;
use self::{attempt::Attempt, audit::Audit, proven::ProvenCache};
use crate::{
    AppState, Settings, apply_response::ApplyResponse, auth::Actor, body, problem::Problem, query,
    request_id::RequestId,
};

/// What of the environment no child process may see.
const SECRETS: [&str; 3] = ["DATABASE_URL", "PBX_PORTAL__DATABASE__URL", "PBX_PORTAL__AUTH__TOKENS"];

/// Makes applies, one at a time.
#[derive(Clone)]
pub struct Applier(Arc<Inner>);

struct Inner {
    deployment: Deployment,
    files: IncludeFiles,
    node: String,
    audit: Audit,
    proven: ProvenCache,
    apply_timeout: std::time::Duration,
    /// In which order the callers of this process get their locked; the host's lock orders
    /// processes.
    queue: Arc<Mutex<()>>,
}

impl Applier {
    /// An applier for this node. What a process that is gone left on disk is put in order: one whole pair of files.
    /// Neither Asterisk nor the database is asked for anything.
    ///
    /// # Errors
    ///
    /// The state directory or an include file cannot be used.
    pub fn new(settings: &Settings, database: &Database) -> anyhow::Result<Self> {
        let deployment = deployment(settings)?;
        let audit = Audit::new(database.clone(), settings.database.timeout, settings.node.clone());
        let applier = Self(Arc::new(Inner {
            proven: ProvenCache::default(),
            files: files(settings),
            node: settings.node.clone(),
            apply_timeout: settings.asterisk.apply_timeout,
            queue: Arc::default(),
            deployment,
            audit,
        }));
        applier.recover(|_| Ok(()))?;
        Ok(applier)
    }

    /// Closes the audit records that a process that is gone left open.
    ///
    /// # Errors
    ///
    /// The database or the state directory cannot be used.
    pub fn close_open_records(&self) -> anyhow::Result<()> {
        self.recover(|locked| Ok(self.0.audit.close_open_records(&locked, &self.0.deployment)?))
    }

    /// What this node's Asterisk was last proven to run.
    #[must_use]
    pub fn proven(&self) -> Option<Proven> {
        self.0.proven.proven(&self.0.deployment)
    }

    /// A locked puts the files in order before it does anything else.
    fn recover(&self, and: impl FnOnce(LockedDeployment<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let result = match self.0.deployment.recover(Instant::now()) {
            Ok(locked) => and(locked),
            // Another process of this host applies right now, and has seen to it.
            Err(LockError::Busy) => Ok(()),
            Err(error) => Err(error.into()),
        };
        result.context("an earlier apply cannot be put in order")
    }
}

/// The deployment that the settings describe.
pub(crate) fn deployment(settings: &Settings) -> anyhow::Result<Deployment> {
    Ok(Deployment::new(cli(settings)?, files(settings), settings.state_dir.clone()))
}

/// The way to Asterisk that the settings describe.
pub(crate) fn cli(settings: &Settings) -> anyhow::Result<Cli> {
    let cli = Cli::new(&settings.asterisk.command, settings.asterisk.command_timeout).context("asterisk.command")?;
    Ok(cli.hiding(SECRETS))
}

fn files(settings: &Settings) -> IncludeFiles {
    IncludeFiles {
        endpoints: settings.asterisk.pjsip_include.clone(),
        dialplan: settings.asterisk.dialplan_include.clone(),
    }
}

/// Makes Asterisk run with exactly the users that there are now, and proves it.
///
/// Applies never overlap: a caller waits for its locked, so whatever was committed before the call
/// is live when the answer is `200`. With `dry_run=true` nothing is written, reloaded or recorded.
#[utoipa::path(
    post, path = "/apply", operation_id = "apply", tag = "apply",
    params(("dry_run" = Option<bool>, Query, description = "Only tell what would be done, and whether files and Asterisk are still as last applied")),
    responses((status = 200, description = "What was done, or would be done", body = ApplyResponse)),
)]
pub(crate) async fn apply(
    actor: Actor,
    request: HttpRequest,
    payload: web::Payload,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Problem> {
    let dry_run = query::dry_run(&request)?;
    body::read(payload).await?;
    let applier = state.applier.clone();
    let deadline = Instant::now() + applier.0.apply_timeout;
    let attempt = Attempt {
        applier: applier.clone(),
        actor: actor.0,
        request_id: RequestId::current().unwrap_or_else(RequestId::generate).to_string(),
        started_at: SystemTime::now(),
        deadline,
    };
    let locked = tokio::time::timeout_at(deadline.into(), Arc::clone(&applier.0.queue).lock_owned()).await;
    let answer = state.work.run(move || {
        // The place in the queue is kept until the attempt has ended, whether or not its caller
        // is still there.
        match (locked, dry_run) {
            (Ok(_place), true) => attempt.plan(),
            (Ok(_place), false) => attempt.apply(),
            (Err(_), true) => Err(attempt::no_lock(LockError::Busy)),
            (Err(_), false) => attempt.without_lock(LockError::Busy),
        }
    });
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type(ContentType::json())
        .body(body::json(&answer.await??)))
}
