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
    /// Open, and what it listens for is narrowed to what the caller may see.
    Subscription,
    /// Decided like the tool that works on the task; where the backend's features have tasks.
    Task,
    /// Open where the backend's features have logging.
    Logging,
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
    SubscriptionsListen "subscriptions/listen" Modern Request Subscription;
    TasksGet "tasks/get" Both Request Task;
    TasksResult "tasks/result" Legacy Request Task;
    TasksUpdate "tasks/update" Modern Request Task;
    TasksCancel "tasks/cancel" Both Request Task;
    SetLevel "logging/setLevel" Legacy Request Logging;
    Cancelled "notifications/cancelled" Legacy Notification Protocol;
    Progress "notifications/progress" Legacy Notification Protocol;
    RootsListChanged "notifications/roots/list_changed" Legacy Notification Protocol;
}

/// What clients could send and the gateway never passes on, each with its reason.
#[cfg(test)]
const REFUSED: [(&str, &str); 6] = [
    ("tasks/list", "a backend without a login cannot know whose tasks these are"),
    ("notifications/tasks/status", "tells of tasks that a server gave to a client, which are not declared"),
    ("notifications/elicitation/complete", "servers tell clients"),
    ("skills/list", "the text of a skill names tools"),
    ("skills/get", "the text of a skill names tools"),
    ("resources/directory/read", "part of the skills extension, which is not declared"),
];

impl Method {
    /// Whether it is about one task.
    #[must_use]
    pub fn is_of_tasks(self) -> bool {
        self.governance() == Governance::Task
    }

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

    /// What clients send to servers, by the published schemas (`ClientRequest` and `ClientNotification`) and the
    /// extension of tasks; a revision has what the one before it had, but for the last, which begins anew.
    const PUBLISHED: [(Era, &[&str]); 4] = [
        (
            // 2025-03-26
            Era::Legacy,
            &[
                "initialize",
                "ping",
                "resources/list",
                "resources/templates/list",
                "resources/read",
                "resources/subscribe",
                "resources/unsubscribe",
                "prompts/list",
                "prompts/get",
                "tools/list",
                "tools/call",
                "logging/setLevel",
                "completion/complete",
                "notifications/initialized",
                "notifications/cancelled",
                "notifications/progress",
                "notifications/roots/list_changed",
            ],
        ),
        // 2025-06-18 added none; 2025-11-25:
        (Era::Legacy, &["tasks/get", "tasks/result", "tasks/cancel", "tasks/list", "notifications/tasks/status"]),
        (
            // 2026-07-28
            Era::Modern,
            &[
                "server/discover",
                "resources/list",
                "resources/templates/list",
                "resources/read",
                "subscriptions/listen",
                "prompts/list",
                "prompts/get",
                "tools/list",
                "tools/call",
                "completion/complete",
            ],
        ),
        (Era::Modern, &["tasks/get", "tasks/update", "tasks/cancel"]),
    ];

    #[test]
    fn no_published_method_is_missing() {
        for (era, names) in PUBLISHED {
            for name in names {
                let known = Method::find(name, era, true).or_else(|| Method::find(name, era, false)).is_some();
                let refused = REFUSED.iter().any(|(refused, why)| refused == name && !why.is_empty());
                assert!(known != refused, "{name}: known {known}, refused {refused}");
            }
        }
        for method in Method::ALL {
            let is_published = PUBLISHED.iter().any(|(_, names)| names.contains(&method.as_str()));
            assert!(is_published, "{method:?} is in no published schema");
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_unknown() {
        for name in ["", "Tools/call", "tools/call ", "tools%2Fcall", "tools/list/", "ui/open"]
            .into_iter()
            .chain(REFUSED.map(|(name, _)| name))
        {
            assert_eq!(Method::find(name, Era::Legacy, true), None, "{name}");
            assert_eq!(Method::find(name, Era::Modern, true), None, "{name}");
        }
    }
}
