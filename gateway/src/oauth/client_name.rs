//! A client's name as the consent page shows it: what the client claims, without the characters that rearrange, hide or
//! break what stands around it. Nothing vouches for the name itself.

/// Longer names are cut on the page.
const MAX_SHOWN: usize = 80;

/// The name to show.
pub(super) fn shown(claimed: Option<&str>) -> String {
    let visible: String = claimed.unwrap_or_default().chars().map(plain).collect();
    let words = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() {
        return "An application".to_owned();
    }
    if words.chars().count() <= MAX_SHOWN {
        return words;
    }
    words.chars().take(MAX_SHOWN).chain(['…']).collect()
}

/// Whether there is nothing of a name to see.
#[must_use]
pub(super) fn is_blank(claimed: &str) -> bool {
    claimed.chars().map(plain).all(char::is_whitespace)
}

fn plain(c: char) -> char {
    let is_hidden = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffc}'
        | '\u{e0000}'..='\u{e0fff}');
    if is_hidden || c.is_control() { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_of_visible_text() {
        for (claimed, expected) in [
            ("Claude Code", "Claude Code"),
            ("  Two\n\twords ", "Two words"),
            ("\u{202e}edualC", "edualC"),
            ("Émile 🦀", "Émile 🦀"),
            ("", "An application"),
            ("\u{200b}\u{2066}\u{7}", "An application"),
        ] {
            assert_eq!(shown(Some(claimed)), expected);
        }
        assert_eq!(shown(None), "An application");
        assert_eq!(shown(Some(&"x".repeat(200))).chars().count(), MAX_SHOWN + 1);
    }
}
