//! Names that everybody who reads them reads alike.
//!
//! A server may strip, cut or normalize a name before it looks a tool up: what `get_*` matches as `get_secrets` with a
//! character behind it that nobody sees may be `get_secrets` there, and past its locks. And it may take one member of an
//! object for another whose name differs in case only.

use std::borrow::Cow;

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

/// Whether a lenient reader could take `key` for one of `known`, although it is not the same text: other case, the
/// characters that fold into ASCII letters, and invisible ones.
#[must_use]
pub fn resembles(key: &str, known: &[&str]) -> bool {
    if known.contains(&key) {
        return false;
    }
    let folded = if is_visible(key) { Cow::Borrowed(key) } else { key.chars().filter_map(seen).collect() };
    known.iter().any(|known| known.eq_ignore_ascii_case(&folded))
}

/// Whether every character of `text` that is not ASCII stands for itself where [`resembles`] looks.
#[must_use]
pub fn is_literal(text: &str) -> bool {
    text.is_ascii() || text.chars().all(|c| c.is_ascii() || seen(c) == Some(c))
}

/// Whether a lenient reader of arguments could take `key` for the argument `name`, although it is not the same text: as
/// [`resembles`], whatever the letters, and `tenantId` for `tenant_id`.
pub(crate) fn is_respelled(key: &str, name: &str) -> bool {
    let joint = |c: &char| !matches!(c, '_' | '-');
    let folded = |text| str::chars(text).filter_map(seen).filter(joint).flat_map(char::to_lowercase);
    if key == name {
        return false;
    }
    if is_visible(key) && is_visible(name) {
        let plain = |text| str::bytes(text).filter(|b| !matches!(b, b'_' | b'-')).map(|b| b.to_ascii_lowercase());
        return plain(key).eq(plain(name));
    }
    folded(key).eq(folded(name))
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What a character is read as; nothing where it is not seen.
fn seen(c: char) -> Option<char> {
    match c {
        c if c.is_control() || c.is_whitespace() || is_ignorable(c) => None,
        '\u{17f}' => Some('s'),
        '\u{212a}' => Some('k'),
        '\u{130}' | '\u{131}' => Some('i'),
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0),
        c => Some(c),
    }
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

    #[test]
    fn names_that_fold_into_known_ones_resemble_them() {
        let known = ["method", "params", "_meta"];
        for key in [
            "Method",
            "PARAMS",
            "param\u{17f}",
            "me\u{200b}thod",
            "method\u{0}",
            " method",
            "\u{ff4d}ethod",
            "method\u{fe0f}",
            "me\u{3164}thod",
            "METHOD\u{e0020}",
        ] {
            assert!(resembles(key, &known), "{key:?}");
        }
        for key in ["method", "methods", "name"] {
            assert!(!resembles(key, &known), "{key:?}");
        }
    }

    #[test]
    fn an_argument_is_respelled_in_another_case_or_without_its_joints() {
        for (key, name) in [
            ("TENANT_ID", "tenant_id"),
            ("tenantId", "tenant_id"),
            ("tenant-id", "tenant_id"),
            ("tenant_id", "tenantId"),
            ("tenant id", "tenant_id"),
            ("tenant\u{200b}_id", "tenant_id"),
            ("tenant\u{ff3f}\u{ff49}d", "tenant_id"),
            ("tenant_\u{131}d", "tenant_id"),
            ("\u{17f}ize", "size"),
            ("GR\u{d6}SSE", "gr\u{f6}sse"),
            ("env_", "env"),
        ] {
            assert!(is_respelled(key, name), "{key:?} {name:?}");
        }
        for (key, name) in
            [("env", "env"), ("envs", "env"), ("tenant", "tenant_id"), ("x/y", "xy"), ("\u{435}nv", "env")]
        {
            assert!(!is_respelled(key, name), "{key:?} {name:?}");
        }
    }
}
