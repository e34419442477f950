//! Names that everybody who reads them reads alike.
//!
//! A server may strip, cut or normalize a name before it looks a tool up: what `get_*` matches as `get_secrets` with a
//! character behind it that nobody sees may be `get_secrets` there, and past its locks.

/// What Unicode calls default ignorable: drawn as nothing, and dropped by readers that normalize.
#[must_use]
pub fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether nothing in a name is unseen: no control or ignorable character, no white space but single blanks within.
pub(crate) fn is_plain(name: &str) -> bool {
    if name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return true;
    }
    let unseen = |c: char| c.is_control() || is_ignorable(c) || (c.is_whitespace() && c != ' ');
    name.trim() == name && !name.contains("  ") && !name.chars().any(unseen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_when_all_of_it_is_seen() {
        for plain in ["", "get_x", "a.b/c-d:e", "get x", "gät_ü", "天気", "\u{ff41}"] {
            assert!(is_plain(plain), "{plain:?}");
        }
        for not in [
            "get_x\0",
            "get_x ",
            " get_x",
            "get  x",
            "get_x\n",
            "get_x\ty",
            "get_x\u{200b}",
            "get\u{a0}x",
            "\u{feff}get_x",
            "get_x\u{202e}",
            "get_x\u{ad}",
            "get_x\u{2028}y",
            "get_x\u{7f}",
            "get_x\u{fe0f}",
            "get_x\u{e0041}",
            "get_x\u{3000}",
            "get_x\u{85}",
        ] {
            assert!(!is_plain(not), "{not:?}");
        }
    }
}
