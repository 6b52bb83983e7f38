//! What the end of a deployment means for the caller and for the record.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pbx_asterisk::{Aftermath, Cause, CliError, Deployment, Failure, Foreign, ReloadError, Unread};
use pbx_confgen::EndpointOptions;
use pbx_domain::{ApplyOutcome, Extension, User};

use crate::http::problem::Code;

/// The outcome for the record, the code for the caller, and the words for both.
///
/// An apply that `waited` for the lock may have had less than `command_timeout` left for Asterisk. That Asterisk did not
/// answer in so little time says nothing of Asterisk. `fix` is added to those of the failure.
pub(super) fn of_failure(
    failure: &Failure,
    fix: Option<&str>,
    waited: Duration,
    command_timeout: Duration,
) -> (ApplyOutcome, Code, String) {
    let code = match &failure.cause {
        Cause::Unavailable(ReloadError::Cli(CliError::TimedOut { after, .. }))
            if *after < command_timeout.min(waited) =>
        {
            Code::ApplyBusy
        }
        Cause::Unavailable(_) => Code::AsteriskUnavailable,
        // A question of the preflight.
        Cause::Unread(_) if failure.aftermath == Aftermath::Untouched => Code::AsteriskUnavailable,
        Cause::File(_) => Code::InstallFailed,
        Cause::Reload(ReloadError::Busy) => Code::ApplyBusy,
        Cause::Reload(ReloadError::Cli(CliError::TimedOut { .. }))
        | Cause::Unread(Unread::Cli(CliError::TimedOut { .. })) => Code::AsteriskTimeout,
        Cause::Unprovable(_) | Cause::Uncovered(_) => Code::Internal,
        Cause::Unread(_) | Cause::Reload(_) | Cause::NotProven(_) | Cause::NotTaken | Cause::Panicked => {
            Code::ApplyRejected
        }
    };
    let (outcome, state) = match &failure.aftermath {
        Aftermath::Untouched => (ApplyOutcome::Refused, "Nothing was changed, on disk or live.".to_owned()),
        Aftermath::RolledBack => {
            (ApplyOutcome::RolledBack, "The old files are back, and Asterisk was proven to run them.".to_owned())
        }
        Aftermath::NotProven { reason } => (
            ApplyOutcome::RollbackFailed,
            format!("The old files are back on disk; that Asterisk runs them could not be proven: {reason}."),
        ),
        Aftermath::NotRestored { reason } => (
            ApplyOutcome::RollbackFailed,
            format!("The old files could not be restored; the next apply or start tries again: {reason}."),
        ),
    };
    let mut detail = match (&failure.cause, code) {
        (Cause::Unavailable(_), Code::ApplyBusy) => format!(
            "Other applies took {:.1} s of the time that this one had, and in the rest {}. {state}",
            waited.as_secs_f64(),
            failure.cause
        ),
        _ => format!("{}. {state}", failure.cause),
    };
    for fix in failure.fixes.iter().map(String::as_str).chain(fix) {
        detail.push_str(" To fix: ");
        detail.push_str(fix);
        detail.push('.');
    }
    (outcome, code, detail)
}

/// How long Asterisk has to say which options it knows.
const OPTIONS_LIMIT: Duration = Duration::from_secs(5);

/// A sentence of what to fix, where the options of endpoints may be to blame: Asterisk refuses an endpoint for each option
/// that it does not know, and for each value.
pub(super) fn options_fix(deployment: &Deployment, options: &EndpointOptions, failure: &Failure) -> Option<String> {
    if options.is_empty() || !failure.fixes.is_empty() || !matches!(failure.cause, Cause::NotProven(_)) {
        return None;
    }
    let options: Vec<_> = options.iter().collect();
    let unfit = deployment.unfit_endpoint_options(&options, Instant::now() + OPTIONS_LIMIT);
    if unfit.is_empty() {
        let all: Vec<_> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        return Some(format!(
            "if Asterisk's log says \"Error parsing\", it names the value of asterisk.endpoint_options ({}) that it refused",
            all.join(" ")
        ));
    }
    let unfit: Vec<_> = unfit.iter().map(|(name, why)| format!("{name}, {why}")).collect();
    Some(format!("correct asterisk.endpoint_options: {}", unfit.join("; ")))
}

/// What ought to be known of what the administrator defines besides, whose numbers may be these users'.
pub(crate) fn warnings(foreign: &Foreign, users: &[User]) -> Vec<String> {
    let is_ours = |name: &str| name.parse::<Extension>().is_ok();
    let is_users = |name: &str| users.iter().any(|user| Ok(user.extension) == name.parse());
    let whose = |name: &str, by: &str| {
        if is_users(name) {
            format!(
                "which the pair last applied does not have, and {name} is a user's: an apply fails if the administrator's own {by} \
                 defines it"
            )
        } else {
            format!("which is no user's: the administrator's own {by} defines it")
        }
    };
    let endpoints = foreign.endpoints.iter().filter(|name| is_ours(name));
    let endpoints = endpoints.map(|name| format!("Asterisk has an endpoint {name}, {}", whose(name, "configuration")));
    // Asterisk looks for an endpoint of the name and the domain first.
    let with_domain = foreign.endpoints.iter().filter_map(|name| Some((name, name.split_once('@')?)));
    let with_domain = with_domain.filter(|(_, (user, _))| is_users(user)).map(|(name, (user, domain))| {
        format!("Asterisk takes a phone that registers as {name} for the administrator's own endpoint of that name, and not for user {user}: phones may not use the domain {domain}")
    });
    let extens = foreign.extens.iter().filter(|(exten, _)| is_ours(exten));
    let extens = extens.map(|(exten, context)| {
        format!("Asterisk has an extension {exten} in {context}, {}", whose(exten, "dialplan"))
    });
    // The administrator may add to the context that his users call in, and to no other of ours.
    let is_closed = |context: &str| context.starts_with("synergycall-") && context != "synergycall-internal";
    let additions = foreign.extens.iter().filter(|(exten, context)| !is_ours(exten) && is_closed(context));
    let additions = additions.map(|(exten, context)| {
        format!("the administrator's own dialplan adds {exten} to {context}, where callers from outside may reach it: move it to synergycall-internal or a context of its own")
    });
    let sections = foreign.added.iter().map(|added| {
        format!(
            "the administrator's own configuration adds to [{}] ({}, line {}): what it changes there is not verified",
            added.name,
            added.path.display(),
            added.line
        )
    });
    let aors = foreign.aors.iter().filter(|aor| is_ours(&aor.name) && !foreign.endpoints.contains(&aor.name));
    let aors = aors.map(|aor| {
        let place = format!("{}, line {}", aor.path.display(), aor.line);
        let is_no = "which is no user's";
        let whose =
            if is_users(&aor.name) { "whose number is a user's: an apply fails until it is gone" } else { is_no };
        format!("the administrator's own configuration defines the aor {} ({place}), {whose}", aor.name)
    });
    let caches = foreign.caches.iter().map(|place| {
        format!(
            "{place}: for as long as this cache keeps an object, phones are let in by what was applied before; add \
             ,expire_on_reload=yes to the line and restart Asterisk"
        )
    });
    let contacts = foreign.contacts.iter().map(|place| {
        format!(
            "{place}: a former owner's phone stays registered, as Asterisk keeps contacts elsewhere than in \
             astdb,registrar; comment the line out and restart Asterisk"
        )
    });
    endpoints
        .chain(with_domain)
        .chain(aors)
        .chain(extens)
        .chain(additions)
        .chain(sections)
        .chain(caches)
        .chain(contacts)
        .collect()
}

/// The warning of contacts that could not be removed.
pub(crate) fn unpurged(aors: &BTreeSet<String>) -> Option<String> {
    let all: Vec<_> = aors.iter().map(String::as_str).collect();
    (!all.is_empty()).then(|| {
        format!(
            "a former owner's phone may still be registered at {}, until its registration expires: apply again to remove it",
            all.join(", ")
        )
    })
}
