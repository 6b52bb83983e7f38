//! `POST /apply`: one attempt after the other. Each is recorded, and each response says what Asterisk runs. The steps of one
//! are in [`attempt`].

mod attempt;
mod audit;
mod claim;
mod last;
mod not_ours;
mod plan;
mod verdict;
mod waiting_records;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix_web::http::header::{CACHE_CONTROL, ContentType, ETAG};
use actix_web::{HttpRequest, HttpResponse, web};
use anyhow::Context as _;
use pbx_asterisk::{Deployment, IncludeFiles, LockError, Pair};
use pbx_confgen::{Prefix, RenderError, Renderer};
use pbx_domain::User;
use pbx_persistence::Database;
use tokio::sync::Mutex;

use self::attempt::Attempt;
use self::audit::Audit;
use self::claim::ClaimCache;
pub(crate) use self::claim::{AppliedUsers, Claim, Tag};
pub(crate) use self::last::LastApplyResponse;
pub(crate) use self::not_ours::{NotOurs, not_ours};
use self::plan::Review;
pub(crate) use self::plan::expected;
pub(crate) use self::verdict::{unpurged, warnings};
use crate::http::apply_response::{self, ApplyResponse};
use crate::http::auth::Actor;
use crate::http::problem::Problem;
use crate::http::request_id::RequestId;
use crate::http::{body, query};
use crate::settings::AsteriskSettings;
use crate::{AppState, Settings};

/// For how long `check` may hold the lock.
const FOR_A_MOMENT: Duration = Duration::from_secs(1);

/// Makes applies, one at a time.
pub(crate) struct Applier {
    deployment: Deployment,
    renderer: Renderer,
    audit: Audit,
    claims: ClaimCache,
    /// The order in which the callers of this process take the lock; the host's lock orders
    /// processes.
    queue: Arc<Mutex<()>>,
}

impl Applier {
    /// An applier for this node. It recovers from an apply whose process was killed: one whole pair of files is on disk.
    /// Neither Asterisk nor the database is asked for anything. Where a file cannot be read, users can be managed all the
    /// same, and each apply says what to fix.
    ///
    /// # Errors
    ///
    /// A pair is still to be restored, the state directory cannot be written, or no thread can be made.
    pub(crate) fn new(settings: &Settings, database: &Database) -> anyhow::Result<Self> {
        let deployment = deployment(settings);
        let applier = Self {
            audit: Audit::new(database.clone(), deployment.clone(), settings.node.clone())
                .context("the thread that closes audit records cannot be started")?,
            claims: ClaimCache::new(settings.node.clone()),
            renderer: renderer(settings),
            queue: Arc::default(),
            deployment,
        };
        // The pair to restore is of the files that the settings named then.
        if let Some(file) = not_ours(settings, &applier.deployment).first()
            && applier.deployment.has_pair_to_restore()
        {
            anyhow::bail!("cannot recover from an interrupted apply: {file}; to fix: {}", file.fix());
        }
        match applier.deployment.recover(Instant::now() + FOR_A_MOMENT) {
            Ok(_locked) => applier.audit.note_interrupted(),
            // Another process of this host applies right now, and has seen to it.
            Err(LockError::Busy) => {}
            Err(error) => applier.serve_unrecovered(error)?,
        }
        Ok(applier)
    }

    /// Closes the audit records that a killed process left open.
    ///
    /// # Errors
    ///
    /// A pair is still to be restored.
    pub(crate) fn close_open_records(&self) -> anyhow::Result<()> {
        match self.deployment.lock(Instant::now() + FOR_A_MOMENT) {
            Ok(locked) => self.audit.close_open_records(&locked),
            // Another process applies right now.
            Err(LockError::Busy) => {}
            Err(error) => {
                self.serve_unrecovered(error)?;
                self.audit.close_later();
            }
        }
        Ok(())
    }

    /// Users can be managed although a file cannot be read, unless a pair is still to be restored, or what is claimed may not
    /// be true: what cannot be read now may be readable later, and only the mark keeps it from being claimed then.
    fn serve_unrecovered(&self, error: LockError) -> anyhow::Result<()> {
        let is_safe = self.deployment.is_in_doubt() && !self.deployment.has_pair_to_restore();
        let error = anyhow::Error::new(error).context("cannot recover from an interrupted apply");
        if !is_safe {
            return Err(error);
        }
        log::error!("{error:#}: nothing counts as applied until the next apply");
        Ok(())
    }

    /// What this node claims that its Asterisk runs.
    pub(crate) fn claim(&self) -> Arc<Claim> {
        self.claims.claim(&self.deployment)
    }

    /// The apply that ended last here.
    pub(crate) fn last(&self) -> Option<LastApplyResponse> {
        self.audit.last()
    }

    /// These users compared with `claim`.
    pub(crate) fn compare(&self, users: &[User], claim: &Claim) -> AppliedUsers {
        claim.compare(users, &self.renderer).unwrap_or_else(|error| {
            log::error!("nothing counts as applied: {error}");
            AppliedUsers::UNKNOWN
        })
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
pub(crate) fn deployment(settings: &Settings) -> Deployment {
    let AsteriskSettings { cli, pjsip_include, dialplan_include, .. } = &settings.asterisk;
    let files = IncludeFiles { endpoints: pjsip_include.clone(), dialplan: dialplan_include.clone() };
    Deployment::new(cli.clone(), files, settings.state_dir.clone())
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
    let deadline = Instant::now() + state.settings.asterisk.apply_timeout;
    let attempt = Attempt {
        state: state.clone(),
        actor: actor.0,
        request_id: RequestId::current().unwrap_or_else(RequestId::generate).to_string(),
        review: Review::of(&request),
        started_at: SystemTime::now(),
        began: Instant::now(),
        deadline,
    };
    let locked = tokio::time::timeout_at(deadline.into(), Arc::clone(&state.applier.queue).lock_owned()).await;
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
