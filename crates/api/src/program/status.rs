//! The line that `systemctl status` shows: how many users there are, whether any wait, and the last apply.

use std::time::Duration;

use actix_web::web;
use sd_notify::NotifyState;
use serde_json::Value;

use crate::AppState;
use crate::operations::listing;
use crate::program::systemd;

/// How often the line is made anew.
const INTERVAL: Duration = Duration::from_secs(10);

/// Keeps systemd informed for as long as the service runs. The list is served from memory while nothing changes.
pub(crate) async fn keep(state: web::Data<AppState>) {
    loop {
        let line = match listing::answer(&state).await {
            Ok(listing) => line(&listing.body),
            Err(_) => "The database does not answer".to_owned(),
        };
        systemd::notify(&[NotifyState::Status(&line)]);
        tokio::time::sleep(INTERVAL).await;
    }
}

/// What the list says, in one line.
fn line(list: &[u8]) -> String {
    let list: Value = serde_json::from_slice(list).unwrap_or_default();
    let users = list["users"].as_array().map_or(0, Vec::len);
    let waits = if list["apply_required"] == true { "changes wait for an apply" } else { "all applied" };
    let last = &list["last_apply"];
    match (last["outcome"].as_str(), last["finished_at"].as_str()) {
        (Some(outcome), Some(time)) => format!("{users} users, {waits}; last apply: {outcome} at {time}"),
        _ => format!("{users} users, {waits}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_many_users_there_are_and_what_waits() {
        assert_eq!(
            line(br#"{"users":[{},{}],"apply_required":true,"last_apply":null}"#),
            "2 users, changes wait for an apply"
        );
        let applied = br#"{"users":[],"apply_required":false,"last_apply":{"id":"x","outcome":"applied","finished_at":"2026-11-28T04:00:00Z"}}"#;
        assert_eq!(line(applied), "0 users, all applied; last apply: applied at 2026-11-28T04:00:00Z");
    }
}
