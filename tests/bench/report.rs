//! The table: each row a figure against what it must reach.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// What a figure is held against.
#[derive(Clone, Copy)]
pub(crate) enum Must {
    /// At most so many times the floor.
    TimesFloor(f64),
    /// At least this part of the floor.
    PartOfFloor(f64),
    AtMost(f64),
    AtLeast(f64),
    /// That all of it is answered `201`; the run ends where it is not.
    Succeed,
}

/// One row.
pub(crate) struct Row {
    pub(crate) work: String,
    pub(crate) unit: &'static str,
    pub(crate) figure: f64,
    /// What it is and how much.
    pub(crate) floor: Option<(&'static str, f64)>,
    pub(crate) must: Must,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.floor.map(|(_, floor)| self.figure / floor)
    }

    fn is_reached(&self) -> bool {
        let ratio = self.ratio().unwrap_or(f64::NAN);
        match self.must {
            Must::TimesFloor(most) => ratio <= most,
            Must::PartOfFloor(least) => ratio >= least,
            Must::AtMost(most) => self.figure <= most,
            Must::AtLeast(least) => self.figure >= least,
            Must::Succeed => true,
        }
    }

    fn must(&self) -> String {
        match self.must {
            Must::TimesFloor(most) => format!("≤ {most} x"),
            Must::PartOfFloor(least) => format!("≥ {least} x"),
            Must::AtMost(most) => format!("≤ {most} {}", self.unit),
            Must::AtLeast(least) => format!("≥ {least} {}", self.unit),
            Must::Succeed => "no refusal".to_owned(),
        }
    }
}

/// All that was measured.
#[derive(Default)]
pub(crate) struct Report(Vec<Row>);

impl Report {
    /// Adds a row, and prints it.
    pub(crate) fn add(&mut self, row: Row) {
        println!("    {}", line(&row));
        self.0.push(row);
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.0.iter().all(Row::is_reached)
    }

    pub(crate) fn table(&self) -> String {
        let mut table =
            "| work | measured | floor in the same run | ratio | must reach | |\n|---|---|---|---|---|---|\n"
                .to_owned();
        for row in &self.0 {
            // Writing to a String cannot fail.
            _ = writeln!(table, "| {} |", line(row));
        }
        table
    }

    pub(crate) fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "work": row.work, "unit": row.unit, "measured": row.figure, "must": row.must(),
                "floor": row.floor.map(|(what, floor)| json!({"what": what, "measured": floor})),
                "ratio": row.ratio(), "reached": row.is_reached(),
            })
        };
        self.0.iter().map(row).collect()
    }
}

fn line(row: &Row) -> String {
    let unit = row.unit;
    let floor = row.floor.map(|(what, floor)| format!("{} {unit} ({what})", short(floor))).unwrap_or_default();
    let ratio = row.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
    let reached = if row.is_reached() { "reached" } else { "**not reached**" };
    format!("{} | {} {unit} | {floor} | {ratio} | {} | {reached}", row.work, short(row.figure), row.must())
}

/// Three digits are what a measurement is worth.
pub(crate) fn short(number: f64) -> String {
    match number.abs() {
        size if size < 10.0 => format!("{number:.2}"),
        size if size < 100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}
