//! Every method that a client may send, in one table: in which era, and how it is governed. What is not in the table
//! is unknown, and refused.

use super::version::Era;

/// How a method is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Governance {
    /// Part of the protocol: open to every verified caller.
    Protocol,
    /// The answer is a list that is filtered.
    Filter,
    /// Decided by `params.name`.
    Tool,
    /// Decided by `params.name`.
    Prompt,
    /// Decided by `params.uri`.
    Resource,
    /// Decided by what `params.ref` speaks of.
    Reference,
}

/// Whether a method expects an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Request,
    Notification,
}

/// Where a method exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Eras {
    Legacy,
    Modern,
    Both,
}

macro_rules! methods {
    ($($variant:ident $name:literal $eras:ident $form:ident $governance:ident;)*) => {
        /// A method that the gateway knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Method {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Method {
            /// Every method.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How it is decided.
            #[must_use]
            pub fn governance(self) -> Governance {
                match self { $(Self::$variant => Governance::$governance,)* }
            }

            fn eras(self) -> Eras {
                match self { $(Self::$variant => Eras::$eras,)* }
            }

            fn form(self) -> Form {
                match self { $(Self::$variant => Form::$form,)* }
            }

            fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

methods! {
    Initialize "initialize" Legacy Request Protocol;
    Initialized "notifications/initialized" Legacy Notification Protocol;
    Ping "ping" Legacy Request Protocol;
    Discover "server/discover" Modern Request Protocol;
    ToolsList "tools/list" Both Request Filter;
    ToolsCall "tools/call" Both Request Tool;
    PromptsList "prompts/list" Both Request Filter;
    PromptsGet "prompts/get" Both Request Prompt;
    ResourcesList "resources/list" Both Request Filter;
    ResourceTemplatesList "resources/templates/list" Both Request Filter;
    ResourcesRead "resources/read" Both Request Resource;
    ResourcesSubscribe "resources/subscribe" Legacy Request Resource;
    ResourcesUnsubscribe "resources/unsubscribe" Legacy Request Resource;
    Complete "completion/complete" Both Request Reference;
    SetLevel "logging/setLevel" Legacy Request Protocol;
    Cancelled "notifications/cancelled" Legacy Notification Protocol;
    Progress "notifications/progress" Legacy Notification Protocol;
    RootsListChanged "notifications/roots/list_changed" Legacy Notification Protocol;
}

impl Method {
    /// The method of this name in this era, if the form (with or without an id) is its own.
    #[must_use]
    pub fn find(name: &str, era: Era, has_id: bool) -> Option<Self> {
        let method = Self::parse(name)?;
        let of_era = match method.eras() {
            Eras::Both => true,
            Eras::Legacy => era == Era::Legacy,
            Eras::Modern => era == Era::Modern,
        };
        (of_era && (method.form() == Form::Request) == has_id).then_some(method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_in_its_era_and_form_only() {
        for method in Method::ALL {
            let has_id = method.form() == Form::Request;
            let legacy = Method::find(method.as_str(), Era::Legacy, has_id);
            let modern = Method::find(method.as_str(), Era::Modern, has_id);
            assert_eq!(legacy.is_some(), method.eras() != Eras::Modern, "{method:?}");
            assert_eq!(modern.is_some(), method.eras() != Eras::Legacy, "{method:?}");
            assert_eq!(Method::find(method.as_str(), Era::Legacy, !has_id), None, "{method:?}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_unknown() {
        for name in [
            "",
            "Tools/call",
            "tools/call ",
            "tools%2Fcall",
            "tools/list/",
            "tasks/list",
            "tasks/get",
            "skills/list",
            "ui/open",
        ] {
            assert_eq!(Method::find(name, Era::Legacy, true), None, "{name}");
            assert_eq!(Method::find(name, Era::Modern, true), None, "{name}");
        }
    }
}
