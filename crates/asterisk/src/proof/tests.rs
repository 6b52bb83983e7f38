//! Listings that are not the truth: cut, doctored, repeated, of another pair. None of them is a proof.

use std::fmt::Write as _;

use proptest::prelude::*;

use crate::proof::live::Live;
use crate::text::expected::{Expected, Step, tests};

/// What Asterisk answers when it is asked what it runs.
#[derive(Debug, Clone, PartialEq)]
struct Answers {
    endpoints: String,
    markers: String,
    contexts: Vec<(String, String)>,
}

impl Answers {
    /// As Asterisk 22 lists them, beside what the administrator has.
    fn of(expected: &Expected) -> Self {
        let mut endpoints = format!(
            "\n Endpoint:  <Endpoint/CID>  <State.....>  <Channels.>\n    I/OAuth:  <AuthId/UserName>\n        \
             Aor:  <Aor>  <MaxContact>\n{}\n\n",
            "=".repeat(90)
        );
        for (name, endpoint) in &expected.endpoints {
            _ = writeln!(endpoints, " Endpoint:  {:<52} Not in use    0 of inf", format!("{name}/{name}"));
            for auth in &endpoint.auths {
                _ = writeln!(endpoints, "     InAuth:  {auth}/{name}");
            }
            for aor in &endpoint.aors {
                _ = writeln!(endpoints, "        Aor:  {aor:<50} 5");
                _ = writeln!(
                    endpoints,
                    "      Contact:  {aor}/sip:{aor}@127.0.0.1:5072         8d7e2d1b3e NonQual nan"
                );
            }
            endpoints.push('\n');
        }
        let trunk =
            " Endpoint:  trunk            Unavailable   0 of inf\n    OutAuth:  trunk/us\n        Aor:  trunk  0\n";
        _ = write!(endpoints, "{trunk}\n\nObjects found: {}\n\n", expected.endpoints.len() + 1);

        let mut markers = format!("\n      Aor:  <Aor..>  <MaxContact>\n{}\n\n", "=".repeat(90));
        for (_, name) in &expected.standalone {
            _ = writeln!(markers, "      Aor:  {name:<50} 0");
        }
        match expected.standalone.len() {
            0 => "No objects found.\n\n".clone_into(&mut markers),
            count => _ = write!(markers, "\nObjects found: {count}\n\n"),
        }

        let contexts = expected.contexts.iter().map(|(context, extens)| {
            let mut listed = format!("[ Context '{context}' created by 'pbx_config' ]\n");
            for (name, steps) in extens {
                let mut head = format!("'{name}' =>");
                for step in steps {
                    let (label, text) = match step {
                        Step::Hint(devices) => (None, format!("hint: {devices}")),
                        Step::Priority { number, label, application } => {
                            (label.as_ref(), format!("{number}. {application}"))
                        }
                    };
                    let label = label.map(|label| format!("   [{label}]"));
                    _ = writeln!(listed, "  {:<17} {text:<45} [ours.conf:1]", label.unwrap_or(head));
                    head = String::new();
                }
            }
            let steps: usize = extens.values().map(Vec::len).sum();
            let extensions = if extens.len() == 1 { "extension" } else { "extensions" };
            _ = write!(listed, "\n-= {} {extensions} ({steps} priorities) in 1 context. =-\n", extens.len());
            (context.clone(), listed)
        });
        let contexts = contexts.collect();
        Self { endpoints, markers, contexts }
    }

    fn prove(&self, wanted: &Expected, former: &Expected) -> bool {
        Live::of(&self.endpoints, &self.markers, &self.contexts)
            .is_ok_and(|live| live.compare(wanted, former, |_| false).is_ok())
    }

    fn all(&mut self) -> Vec<&mut String> {
        let contexts = self.contexts.iter_mut().map(|(_, answer)| answer);
        [&mut self.endpoints, &mut self.markers].into_iter().chain(contexts).collect()
    }
}

/// A pair with up to a dozen numbers, each with some setting of its own, and up to two markers.
fn expected() -> impl Strategy<Value = Expected> {
    let numbers = prop::collection::btree_map(1000_u16..1012, 0_u8..3, 1..12);
    (numbers, prop::collection::btree_set(0_u8..3, 0..2)).prop_map(|(numbers, markers)| {
        let (mut endpoints, mut dialplan) = (String::new(), String::new());
        for (number, setting) in numbers {
            _ = write!(
                endpoints,
                "[{number}]\ntype=endpoint\nauth={number}-{setting}\naors={number}\n[{number}-{setting}]\ntype=auth\n\
                 [{number}]\ntype=aor\n"
            );
            _ = write!(
                dialplan,
                "[c{setting}]\nexten => {number},hint,PJSIP/{number}\nexten => {number},1,Dial(PJSIP/{number})\n \
                 same => n(end),Hangup({setting})\n"
            );
        }
        for marker in markers {
            _ = write!(endpoints, "[m-{marker}]\ntype=aor\n");
        }
        tests::expected(&endpoints, &dialplan)
    })
}

/// The part of a line that says which object there is, where it says so of one of ours.
fn significant(line: &str) -> Option<&str> {
    let is_head = line.contains("<Endpoint/CID>") || line.contains("<Aor") || line.contains("trunk");
    let named = [" Endpoint:  ", "     InAuth:  ", "        Aor:  ", "      Aor:  "];
    let named =
        named.iter().find_map(|prefix| line.strip_prefix(prefix)).and_then(|rest| rest.split(['/', ' ']).next());
    let step = || line.strip_suffix("[ours.conf:1]").map(str::trim);
    let count = || line.strip_prefix("Objects found: ").or_else(|| line.strip_prefix("-= "));
    named.or_else(step).or_else(count).filter(|_| !is_head)
}

/// No zero and no plus: before a number they say nothing.
fn other_character() -> impl Strategy<Value = char> {
    any::<char>().prop_filter("says something", |c| !matches!(c, '0' | '+'))
}

/// Without blanks that say nothing: one for another, one of many.
fn squeezed(answers: &Answers) -> Vec<Vec<&str>> {
    let contexts = answers.contexts.iter().map(|(_, answer)| answer);
    [&answers.endpoints, &answers.markers]
        .into_iter()
        .chain(contexts)
        .map(|answer| answer.split_whitespace().collect())
        .collect()
}

/// The places of all significant lines: which answer, which line.
fn places(answers: &mut Answers) -> Vec<(usize, usize)> {
    let lines = |answer: &str| answer.lines().map(|line| significant(line).is_some()).collect::<Vec<_>>();
    let all = answers.all().into_iter().map(|answer| lines(answer)).enumerate();
    all.flat_map(|(of, lines)| (0..).zip(lines).filter(|(_, is_one)| *is_one).map(move |(at, _)| (of, at))).collect()
}

/// Makes other lines of one significant line.
fn doctor(answers: &mut Answers, at: prop::sample::Index, doctored: impl Fn(&str) -> Vec<String>) {
    let (of, at) = *at.get(&places(answers));
    let answer = &mut *answers.all()[of];
    let lines = answer.lines().enumerate();
    *answer = lines
        .flat_map(|(number, line)| if number == at { doctored(line) } else { vec![line.to_owned()] })
        .fold(String::new(), |text, line| text + &line + "\n");
}

proptest! {
    #[test]
    fn the_truth_is_a_proof(expected in expected(), former in expected()) {
        prop_assert!(Answers::of(&expected).prove(&expected, &Expected::default()));
        prop_assert!(Answers::of(&expected).prove(&expected, &former));
    }

    #[test]
    fn a_listing_of_another_pair_is_none(wanted in expected(), live in expected()) {
        let same = (&wanted.endpoints, &wanted.standalone, &wanted.contexts)
            == (&live.endpoints, &live.standalone, &live.contexts);
        prop_assert_eq!(Answers::of(&live).prove(&wanted, &live), same);
    }

    #[test]
    fn a_cut_listing_is_none(expected in expected(), of in any::<prop::sample::Index>(), at in any::<prop::sample::Index>()) {
        let mut answers = Answers::of(&expected);
        let truth = answers.clone();
        let answer = of.index(answers.all().len());
        let answer = &mut *answers.all()[answer];
        let whole = answer.trim_end().len();
        answer.truncate(at.index(whole));
        prop_assert!(!answers.prove(&expected, &Expected::default()), "{:?} of {:?}", answers, truth);
    }

    #[test]
    fn a_listing_without_one_of_its_lines_is_none(expected in expected(), at in any::<prop::sample::Index>()) {
        let mut answers = Answers::of(&expected);
        doctor(&mut answers, at, |_| Vec::new());
        prop_assert!(!answers.prove(&expected, &Expected::default()), "{:?}", answers);
    }

    #[test]
    fn a_listing_with_another_name_or_number_is_none(
        expected in expected(), at in any::<prop::sample::Index>(), character in any::<prop::sample::Index>(),
        other in prop_oneof![Just('9'), Just('x'), Just('\u{fffd}'), other_character()],
    ) {
        let mut answers = Answers::of(&expected);
        let truth = answers.clone();
        doctor(&mut answers, at, |line| {
            let part = significant(line).unwrap();
            let mut changed: Vec<char> = part.chars().collect();
            *character.get_mut(&mut changed) = other;
            vec![line.replacen(part, &String::from_iter(changed), 1)]
        });
        if squeezed(&answers) != squeezed(&truth) {
            prop_assert!(!answers.prove(&expected, &Expected::default()), "{:?}", answers);
        }
    }

    #[test]
    fn a_listing_that_repeats_a_line_is_none(expected in expected(), at in any::<prop::sample::Index>(), apart in any::<bool>()) {
        let mut answers = Answers::of(&expected);
        let truth = answers.clone();
        doctor(&mut answers, at, |line| {
            // An auth, an aor and the count say no more by being said twice.
            let is_idle = ["     InAuth:", "        Aor:", "Objects found:"].iter().any(|idle| line.starts_with(idle));
            let again = if apart { vec![line, "", line] } else { vec![line, line] };
            if is_idle { vec![line.to_owned()] } else { again.into_iter().map(str::to_owned).collect() }
        });
        if answers != truth {
            prop_assert!(!answers.prove(&expected, &Expected::default()), "{:?}", answers);
        }
    }

    #[test]
    fn two_listings_in_one_are_none(expected in expected(), of in any::<prop::sample::Index>()) {
        let mut answers = Answers::of(&expected);
        let answer = of.index(answers.all().len());
        let answer = &mut *answers.all()[answer];
        let twice = answer.repeat(2);
        if answer.starts_with("No objects found.") {
            return Ok(());
        }
        *answer = twice;
        prop_assert!(!answers.prove(&expected, &Expected::default()), "{:?}", answers);
    }

    #[test]
    fn answers_in_each_others_place_are_none(expected in expected(), one in any::<prop::sample::Index>(), other in any::<prop::sample::Index>()) {
        let mut answers = Answers::of(&expected);
        let texts: Vec<String> = answers.all().into_iter().map(|answer| answer.clone()).collect();
        let (one, other) = (one.index(texts.len()), other.index(texts.len()));
        texts[other].clone_into(answers.all()[one]);
        prop_assert_eq!(answers.prove(&expected, &Expected::default()), texts[one] == texts[other]);
    }
}
