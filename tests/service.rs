//! A portal whose Asterisk does not run: all of the API but a successful apply.

use pbx_tests::{Asterisk, Cluster, Database, Portal, Settings};

pub(crate) struct Service {
    pub(crate) portal: Portal,
    pub(crate) database: Database,
    _asterisk: Asterisk,
}

impl Service {
    pub(crate) fn start() -> Self {
        Self::start_with(|settings| settings)
    }

    pub(crate) fn start_with(change: impl FnOnce(Settings) -> Settings) -> Self {
        Self::on(Database::create(), change)
    }

    /// With a PostgreSQL of its own, to stop and to freeze.
    pub(crate) fn start_in(cluster: &Cluster) -> Self {
        let impatient = |settings: Settings| settings.with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "3");
        Self::on(Database::create_in(&cluster.url()), impatient)
    }

    fn on(database: Database, change: impl FnOnce(Settings) -> Settings) -> Self {
        let asterisk = Asterisk::configured();
        let portal = change(Settings::new(&database.url(), &asterisk)).start();
        Self { portal, database, _asterisk: asterisk }
    }
}
