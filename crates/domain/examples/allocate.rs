//! Completes a spreadsheet: rows of CSV on standard input, of which the last column is the extension. The first row is
//! the heading; where the number is missing, the row gets the lowest one that no other row has.
#![expect(clippy::print_stdout, reason = "a program reports to its user")]

use std::collections::BTreeSet;
use std::error::Error;
use std::io;

use pbx_domain::{Extension, ExtensionRange};

fn main() -> Result<(), Box<dyn Error>> {
    let sheet = io::read_to_string(io::stdin())?;
    let (heading, rows) = sheet.split_once('\n').ok_or("there is no row below the heading")?;
    let rows: Vec<(&str, &str)> = rows
        .lines()
        .map(|row| row.rsplit_once(',').ok_or(format!("{row:?} has one column")))
        .collect::<Result<_, _>>()?;

    let mut taken = BTreeSet::new();
    for (who, number) in rows.iter().filter(|(_, number)| !number.is_empty()) {
        let extension: Extension = number.parse().map_err(|error| format!("the extension of {who} {error}"))?;
        if !taken.insert(extension) {
            return Err(format!("{extension} is there twice").into());
        }
    }
    println!("{heading}");
    for (who, number) in rows {
        let extension = if number.is_empty() {
            ExtensionRange::PORTAL.lowest_free(taken.iter().copied()).ok_or("no extension is free")?
        } else {
            number.parse()?
        };
        taken.insert(extension);
        println!("{who},{extension}");
    }
    Ok(())
}
