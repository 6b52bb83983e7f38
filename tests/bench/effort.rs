//! How much is measured.

/// How often each thing is measured.
pub(crate) struct Effort {
    /// Fillings of an empty tenant.
    pub(crate) rounds: usize,
    /// Requests whose median is taken.
    pub(crate) requests: usize,
    /// Applies of a series, and of one size in the chart.
    pub(crate) applies: usize,
    pub(crate) applies_of_a_size: usize,
    /// Seconds of load, and how often.
    pub(crate) load: u32,
    pub(crate) loads: usize,
    /// Starts of the program.
    pub(crate) starts: usize,
}

impl Effort {
    pub(crate) const FULL: Self =
        Self { rounds: 3, requests: 200, applies: 15, applies_of_a_size: 7, load: 4, loads: 3, starts: 11 };
    /// To see that all of it works; the figures are worth little.
    pub(crate) const QUICK: Self =
        Self { rounds: 1, requests: 10, applies: 3, applies_of_a_size: 2, load: 1, loads: 1, starts: 3 };
}
