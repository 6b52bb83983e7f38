//! Reading a page of commands.

/// A block of commands, with the block of output behind it.
pub(crate) struct Block {
    /// The heading that it stands under.
    pub(crate) heading: String,
    pub(crate) commands: String,
    /// What it prints, empty where the page does not say.
    pub(crate) output: String,
}

impl Block {
    /// What the page calls the file that the block is, if it is one.
    pub(crate) fn file(&self) -> Option<&str> {
        let usage = self.commands.lines().take(4).find_map(|line| line.strip_prefix("# usage: "))?;
        usage.split(' ').find(|word| matches!(word.rsplit_once('.'), Some((_, "sh" | "yml"))))
    }
}

/// Every block of commands of a page, in order.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut heading) = (Vec::<Block>::new(), "");
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text =
                lines.by_ref().take_while(|line| *line != "```").fold(String::new(), |text, line| text + line + "\n");
            match language {
                "sh" | "yaml" => {
                    blocks.push(Block { heading: heading.to_owned(), commands: text, output: String::new() });
                }
                "text" => blocks.last_mut().expect("output of a command").output = text,
                other => panic!("a block of {other:?}, which nothing checks"),
            }
        } else if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim();
        }
    }
    blocks
}

/// Whether a text is the pattern, in which `…` matches any text. Line breaks at their ends do not count, nor those
/// that are missing between two answers.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let text = text.replace("}{", "}\n{");
    let (mut rest, mut parts) = (text.trim_end(), pattern.trim_end().split('…'));
    let Some(after) = parts.next().and_then(|first| rest.strip_prefix(first)) else { return false };
    rest = after;
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.is_empty()
}

#[test]
fn a_pattern_matches_what_it_says_and_nothing_else() {
    for (pattern, text) in
        [("", "\n"), ("a\nb\n", "a\nb"), ("{\"id\":\"…\"}\n{…}", "{\"id\":\"7\"}{}"), ("…b…", "abab")]
    {
        assert!(matches(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [("", "x"), ("a", "ab"), ("a…c", "ab"), ("…b", "abc"), ("a…b…a", "aba…b"), ("a…a", "a")]
    {
        assert!(!matches(pattern, text), "{pattern} {text}");
    }
}
