//! Extensions of the dialplan, which may be patterns.

/// The number that an extension is dialled by, unless it is a pattern: to Asterisk, `10-00` is `1000`.
pub(crate) fn dialled(exten: &str) -> String {
    if exten.starts_with('_') { exten.to_owned() } else { exten.replace('-', "") }
}

/// Whether `exten`, such as `1000` or `_1[0-4]X.`, takes calls to `number`, as Asterisk documents it ("Pattern Matching").
pub(crate) fn takes(exten: &str, number: &str) -> bool {
    let Some(pattern) = exten.strip_prefix('_') else { return dialled(exten) == number };
    let (mut pattern, mut number) = (pattern.chars(), number.chars());
    while let Some(c) = pattern.next() {
        match c {
            '!' => return true,
            // It means nothing.
            '-' | ' ' => continue,
            _ => {}
        }
        let Some(digit) = number.next() else { return false };
        let is_taken = match c {
            '.' => return true,
            'X' | 'x' => digit.is_ascii_digit(),
            'Z' | 'z' => ('1'..='9').contains(&digit),
            'N' | 'n' => ('2'..='9').contains(&digit),
            '[' => {
                let set: Vec<char> = pattern.by_ref().take_while(|c| *c != ']').collect();
                let is_in_range = |range: &[char]| range[1] == '-' && (range[0]..=range[2]).contains(&digit);
                set.contains(&digit) || set.windows(3).any(is_in_range)
            }
            other => digit == other,
        };
        if !is_taken {
            return false;
        }
    }
    number.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_what_asterisk_says_they_take() {
        for exten in
            ["1000", "_1XXX", "_X.", "_1000", "_1!", "_.", "_[0-3]00[0]", "_[019]zx!", "_1-0 00", "_z000!", "10-00"]
        {
            assert_eq!(takes(exten, "1000"), !matches!(exten, "_[019]zx!"), "{exten}");
        }
        for exten in ["1001", "_1XX", "_NXXX", "_1XXXX", "_1000.", "_[2-9].", "1XXX", "_", "_Z"] {
            assert!(!takes(exten, "1000"), "{exten}");
        }
    }
}
