//! Work that blocks: calls of the database and of Asterisk, off the threads that answer requests.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use actix_web::web;

use crate::http::problem::Problem;
use crate::http::request_id::RequestId;

/// Knows how much is under way, so that a stopping service can wait for work whose client has gone: each piece of work
/// holds a share.
#[derive(Debug, Default)]
pub(crate) struct Work(Arc<()>);

impl Work {
    /// Runs `call` on a thread that may block. Its log lines carry the id of the current request.
    /// Once begun it runs to its end, even when the client goes away.
    ///
    /// # Errors
    ///
    /// [`Problem::internal`] when it panics.
    pub(crate) async fn run<T: Send + 'static>(&self, call: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let share = Arc::clone(&self.0);
        let id = RequestId::current();
        let call = move || {
            let result = match id {
                Some(id) => id.sync_scope(call),
                None => call(),
            };
            drop(share);
            result
        };
        web::block(call).await.map_err(|_| Problem::internal(anyhow::anyhow!("the work ended in a panic")))
    }

    /// Waits until nothing is under way, at most this long. Returns what is left.
    #[must_use]
    pub(crate) fn drain(&self, limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        while self.underway() > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        self.underway()
    }

    fn underway(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[actix_web::test]
    async fn work_whose_client_has_gone_is_waited_for() {
        let work = Work::default();
        let (go, gone) = mpsc::channel::<()>();
        let call = work.run(move || gone.recv());
        assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err(), "the client gives up");
        assert_eq!(work.drain(Duration::from_millis(50)), 1);
        go.send(()).unwrap();
        assert_eq!(work.drain(Duration::from_secs(5)), 0);
    }

    #[actix_web::test]
    async fn a_panic_is_an_internal_problem() {
        let work = Work::default();
        let problem = work.run(|| panic!("on purpose")).await.unwrap_err();
        assert_eq!(problem.code, crate::http::problem::Code::Internal);
        assert_eq!(work.drain(Duration::from_secs(5)), 0);
    }
}
