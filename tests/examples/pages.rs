//! The programs of the crates' pages.

use crate::examples::deploy::Site;
use crate::examples::{repository, run};

/// The arguments of a program that deploys the site's files.
fn arguments(site: &Site) -> Vec<String> {
    let files = ["etc/site/endpoints.inc", "etc/site/dialplan.inc", "state"];
    let paths = files.map(|path| site.0.home().join(path).to_string_lossy().into_owned());
    paths.into_iter().chain([site.0.command()]).collect()
}

fn deploys(example: &str, new: &str) -> Site {
    let site = Site::start();
    let arguments = arguments(&site);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = format!("Asterisk was proven to run it; new: [\"{new}\"]\n");
    assert_eq!(run(example, &arguments, &[], ""), Ok(said));
    site
}

#[test]
fn a_trunk_is_deployed_and_proven_to_its_last_option() {
    let site = deploys("trunk", "carrier");
    let endpoints = site.0.rx("pjsip show endpoints");
    assert!(endpoints.contains("    OutAuth:  us-") && endpoints.contains("   Identify:  carrier-"), "{endpoints}");
}

#[test]
fn phones_of_another_program_have_numbers_names_and_a_context_of_their_own() {
    let site = deploys("doors", "200");
    let endpoint = site.0.rx("pjsip show endpoint 200");
    assert!(endpoint.contains(": from-doors\n") && endpoint.contains(": de\n"), "{endpoint}");
    let dialplan = site.0.rx("dialplan show 200@from-doors");
    assert!(dialplan.contains("hint: PJSIP/200") && dialplan.contains("Goto(doors-ring,200,1)"), "{dialplan}");
    assert!(site.0.rx("dialplan show doors-ring").contains("'_2XX' =>"));
}

#[test]
fn each_page_shows_its_program_as_it_stands() {
    for (name, example) in [("asterisk", "trunk"), ("confgen", "doors"), ("persistence", "report")] {
        let program = repository(&format!("crates/{name}/examples/{example}.rs"));
        let program = &program[program.find("\nuse ").unwrap() + 1..];
        let page = repository(&format!("crates/{name}/README.md"));
        let shown = page.split("```rust,no_run\n").nth(1).unwrap_or_default().split("```").next().unwrap_or_default();
        assert_eq!(shown, program, "the first program of crates/{name}/README.md is not {example}.rs");
    }
}
