//! What a backend's server may ask of clients: taken out of what the client says it can do, so that the server does
//! not ask (MCP: servers must not use what was not declared), and refused when it asks all the same.

use super::edit::{Edit, Uneditable, edit, text};
use super::jsonrpc::members;

/// Extensions that bring no method of their own.
pub(super) const PLAIN_EXTENSIONS: [&str; 1] = ["io.modelcontextprotocol/ui"];
/// The tasks of 2026-07-28.
pub(super) const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";

macro_rules! features {
    ($($name:ident $word:literal $default:literal $doc:literal;)*) => {
        /// The features that pass between one backend and its clients.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Features {
            $(#[doc = $doc] pub $name: bool,)*
        }

        impl Features {
            /// The words of the configuration.
            pub const WORDS: &'static [&'static str] = &[$($word,)*];

            /// No feature at all.
            #[must_use]
            pub fn none() -> Self {
                Self { $($name: false,)* }
            }

            /// With the feature of this word; `None` when there is no such word.
            #[must_use]
            pub fn with(mut self, word: &str) -> Option<Self> {
                match word {
                    $($word => self.$name = true,)*
                    _ => return None,
                }
                Some(self)
            }
        }

        impl Default for Features {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }
    };
}

features! {
    elicitation "elicitation" true "Forms that the user fills in (`elicitation/create`, mode `form`).";
    url_elicitation "url_elicitation" false "Addresses that the user is sent to (`elicitation/create`, mode `url`).";
    sampling "sampling" true "Answers of the client's model (`sampling/createMessage`).";
    roots "roots" true "The client's directories (`roots/list`).";
    logging "logging" true "Log messages (`notifications/message`, `logging/setLevel`).";
    progress "progress" true "Progress notes (`notifications/progress`).";
    tasks "tasks" false "Work that outlives its request (`tasks/*`).";
}

impl Features {
    /// Whether a server may ask this of the client; `params` as JSON.
    pub(super) fn may_ask(self, method: &str, params: Option<&str>) -> bool {
        match method {
            "ping" => true,
            "sampling/createMessage" => self.sampling,
            "roots/list" => self.roots,
            "elicitation/create" => match mode(params) {
                Some(Mode::Form) => self.elicitation,
                Some(Mode::Url) => self.url_elicitation,
                None => false,
            },
            _ => false,
        }
    }

    /// Whether a server may tell this to the client, so far as a feature governs it.
    pub(super) fn may_tell(self, method: &str) -> bool {
        match method {
            "notifications/message" => self.logging,
            "notifications/progress" => self.progress,
            "notifications/elicitation/complete" => self.url_elicitation,
            _ => true,
        }
    }

    /// A client's capabilities without what does not pass; `None` when all of it does.
    pub(super) fn restrict(self, capabilities: &str) -> Result<Option<String>, Uneditable> {
        edit(capabilities, &mut |name, value| match name {
            "roots" => Ok(Edit::keep_if(self.roots)),
            "sampling" => Ok(Edit::keep_if(self.sampling)),
            "elicitation" => self.restrict_elicitation(value),
            "extensions" => edit(value, &mut |name, _| Ok(Edit::keep_if(self.has_extension(name)))).map(Edit::to),
            // Tasks that a server would give to a client are not passed, and nobody knows what an experimental capability lets a server ask.
            _ => Ok(Edit::Drop),
        })
    }

    pub(super) fn has_extension(self, name: &str) -> bool {
        PLAIN_EXTENSIONS.contains(&name) || (self.tasks && name == TASKS_EXTENSION)
    }

    /// Without a mode named, it means forms (2025-11-25, client/elicitation).
    fn restrict_elicitation(self, value: &str) -> Result<Edit, Uneditable> {
        let modes = members(value).ok_or(Uneditable)?;
        let has = |mode: &str| modes.iter().any(|(name, _)| name == mode);
        let form = self.elicitation && (modes.is_empty() || has("form"));
        let url = self.url_elicitation && has("url");
        Ok(match (form, url) {
            (false, false) => Edit::Drop,
            (true, _) if modes.is_empty() => Edit::Keep,
            _ => Edit::to(edit(value, &mut |name, _| {
                Ok(Edit::keep_if((name == "form" && form) || (name == "url" && url)))
            })?),
        })
    }
}

enum Mode {
    Form,
    Url,
}

/// The mode of an elicitation; `None` when it can be read in more than one way, or is neither.
fn mode(params: Option<&str>) -> Option<Mode> {
    let params = members(params?)?;
    if params.iter().any(|(name, _)| crate::json::resembles(name, &["mode", "url"])) {
        return None;
    }
    let get = |name: &str| params.iter().find(|(known, _)| known == name).map(|(_, value)| value.get());
    match get("mode").map(text) {
        None if get("url").is_none() => Some(Mode::Form),
        Some(Some(mode)) if mode == "form" && get("url").is_none() => Some(Mode::Form),
        Some(Some(mode)) if mode == "url" => Some(Mode::Url),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_names_a_feature() {
        let all = Features::WORDS.iter().try_fold(Features::none(), |features, word| features.with(word)).unwrap();
        assert!(all.tasks && all.url_elicitation && all.roots);
        assert_eq!(Features::none().with("Tasks"), None);
    }

    #[test]
    fn a_client_declares_what_passes() {
        let all = r#"{"roots":{"listChanged":true},"sampling":{"tools":{}},"elicitation":{"form":{},"url":{}},"tasks":{"list":{}},"experimental":{"x":{}},"extensions":{"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/ui":{}}}"#;
        let usual = r#"{"roots":{"listChanged":true},"sampling":{"tools":{}},"elicitation":{"form":{}},"extensions":{"io.modelcontextprotocol/ui":{}}}"#;
        assert_eq!(Features::default().restrict(all), Ok(Some(usual.to_owned())));
        assert_eq!(Features::default().restrict(usual), Ok(None));
        assert_eq!(Features::default().restrict(r#"{"elicitation":{}}"#), Ok(None));
        assert_eq!(Features::default().restrict(r#"{"elicitation":{"url":{}}}"#), Ok(Some("{}".to_owned())));
        let nothing = Features::none().restrict(all);
        assert_eq!(nothing, Ok(Some(r#"{"extensions":{"io.modelcontextprotocol/ui":{}}}"#.to_owned())));
        let url = Features { url_elicitation: true, ..Features::none() };
        assert_eq!(url.restrict(r#"{"elicitation":{}}"#), Ok(Some("{}".to_owned())));
        assert_eq!(
            url.restrict(r#"{"elicitation":{"url":{},"form":{}}}"#),
            Ok(Some(r#"{"elicitation":{"url":{}}}"#.to_owned()))
        );
        assert_eq!(url.restrict("[]"), Err(Uneditable));
    }

    #[test]
    fn a_server_asks_what_passes() {
        let usual = Features::default();
        assert!(usual.may_ask("ping", None) && usual.may_ask("roots/list", None));
        assert!(usual.may_ask("sampling/createMessage", Some("{}")));
        assert!(usual.may_ask("elicitation/create", Some(r#"{"message":"m","requestedSchema":{}}"#)));
        assert!(usual.may_ask("elicitation/create", Some(r#"{"mode":"form"}"#)));
        for params in [
            r#"{"mode":"url","url":"https://x"}"#,
            r#"{"url":"https://x"}"#,
            r#"{"Mode":"url"}"#,
            r#"{"mode":1}"#,
            "[]",
        ] {
            assert!(!usual.may_ask("elicitation/create", Some(params)), "{params}");
        }
        let url = Features { url_elicitation: true, ..usual };
        assert!(url.may_ask("elicitation/create", Some(r#"{"mode":"url","url":"https://x"}"#)));
        assert!(!usual.may_ask("tools/list", None) && !usual.may_ask("tasks/get", None));
        for method in ["ping", "roots/list", "sampling/createMessage", "elicitation/create"] {
            assert_eq!(Features::none().may_ask(method, Some("{}")), method == "ping");
        }
    }
}
