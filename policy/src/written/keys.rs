//! Every key of the language, once. Longer than other files here because it is one list.
//!
//! The reader knows no other key, and the JSON Schema for editors is made of the same table (`schema`): a key that is
//! added here is read, completed and checked, and one that is not is refused by both.

/// A mapping whose keys are known.
#[derive(Debug)]
pub(crate) struct Shape {
    /// What messages call it.
    pub(crate) what: &'static str,
    pub(crate) keys: &'static [Key],
    /// Of each group at least one key is there.
    pub(crate) some_of: &'static [&'static [&'static str]],
    /// Of each group exactly one key is there.
    pub(crate) one_of: &'static [&'static [&'static str]],
}

/// A key: what belongs there, and what it says.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    pub(crate) needed: bool,
    pub(crate) about: &'static str,
}

/// What belongs to a key.
#[derive(Debug)]
pub(crate) enum Form {
    /// The number of the language's version.
    Version,
    Text,
    /// A text, a number or a boolean.
    Scalar,
    Boolean,
    /// A whole number within these bounds.
    Count(u64, u64),
    /// `30s`, `10m` or `1h`.
    Duration,
    Words(&'static [&'static str]),
    /// A role, or an app-role value.
    Role,
    Tag,
    Backend,
    /// A backend's name, or `*`.
    Place,
    /// An object ID of the directory.
    Guid,
    /// A directory: its ID, or the URL of another issuer.
    Directory,
    /// `backend/name`.
    Qualified,
    /// A CEL expression.
    Condition,
    /// A mapping whose keys are nobody's business here.
    Object,
    List(&'static Form),
    /// A mapping from names of one kind.
    Map(&'static Form, &'static Form),
    Fields(&'static Shape),
    Either(&'static Form, &'static Form),
}

impl Shape {
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }
}

const fn shape(what: &'static str, keys: &'static [Key]) -> Shape {
    Shape { what, keys, some_of: &[], one_of: &[] }
}

const fn key(name: &'static str, form: Form, about: &'static str) -> Key {
    Key { name, form, needed: false, about }
}

const fn needed(name: &'static str, form: Form, about: &'static str) -> Key {
    Key { name, form, needed: true, about }
}

const ROLES: Form = Form::List(&Form::Role);
const TAGS: Form = Form::List(&Form::Tag);
const PLACES: Form = Form::List(&Form::Place);
const QUALIFIED: Form = Form::List(&Form::Qualified);
const TEXTS: Form = Form::List(&Form::Text);
const MODE: Form = Form::Words(&["enforce", "shadow"]);
const TAGGED: Form = Form::Map(&Form::Backend, &Form::Map(&Form::Tag, &TEXTS));
const MANY: u64 = 1_000_000;

pub(crate) static POLICY: Shape = Shape {
    some_of: &[&["tools", "prompts", "resources"]],
    ..shape(
        "a policy",
        &[
            key("version", Form::Version, "The version of the policy language: 1."),
            key(
                "denials",
                Form::Words(&["conceal", "explain"]),
                "`conceal` (the default): what is not open is answered like what does not exist. `explain`: callers are told what is missing, and so which tools exist.",
            ),
            key(
                "mode",
                MODE,
                "`shadow`: the whole policy only records what it would refuse. The server has to allow it.",
            ),
            key(
                "tags",
                Form::Map(&Form::Tag, &Form::Fields(&TAG)),
                "The vocabulary. Once it is there, a tag that is not in it is an error. Tags are OAuth scopes, too.",
            ),
            key(
                "tenants",
                Form::Map(&Form::Directory, &Form::Fields(&TENANT)),
                "The directories whose callers reach something, by tenant ID, or by issuer for those who come by identity assertions. Once it is there, all others reach nothing, the home tenant included.",
            ),
            needed(
                "roles",
                Form::Map(&Form::Role, &Form::Fields(&ROLE)),
                "Rings of keys, by name; often an Entra app-role value.",
            ),
            key(
                "tools",
                TAGGED,
                "By backend and tag: the tools that carry the tag, as names or `*` globs. A tool without a tag opens to nobody.",
            ),
            key("imports", Form::Map(&Form::Backend, &Form::Fields(&IMPORT)), "Tags that a backend declares itself."),
            key("prompts", TAGGED, "By backend and tag: the prompts that carry the tag."),
            key(
                "resources",
                TAGGED,
                "By backend and tag: the URIs that carry the tag; `*` stays within a segment, `**` crosses slashes.",
            ),
            key("deny", Form::List(&Form::Fields(&DENY)), "Rules that beat every key."),
            key("pins", Form::List(&Form::Fields(&PIN)), "Arguments that the caller does not get to choose."),
            key("tests", Form::Fields(&TESTS), "What the file promises. It does not load when one of them fails."),
        ],
    )
};

pub(crate) static TAG: Shape = shape(
    "a tag",
    &[
        key("title", Form::Text, "What the consent page calls it."),
        key("step_up", Form::Fields(&STEP_UP), "What it wants of the sign-in, beside the key."),
        key(
            "mode",
            MODE,
            "`shadow`: it does not shut yet for who holds another tag of the tool; what it would refuse is recorded.",
        ),
    ],
);

pub(crate) static STEP_UP: Shape = Shape {
    some_of: &[&["acr", "max_age"]],
    ..shape(
        "`step_up`",
        &[
            key("acr", Form::Text, "The authentication context that the sign-in has to satisfy, such as `c1`."),
            key("max_age", Form::Duration, "How old the sign-in may be: `30s`, `10m` or `1h`."),
        ],
    )
};

pub(crate) static TENANT: Shape = shape(
    "a tenant",
    &[key(
        "roles",
        ROLES,
        "A ceiling: the tenant's callers never hold more than these policy roles do. No ceiling without it.",
    )],
);

pub(crate) static ROLE: Shape = shape(
    "a role",
    &[
        key("inherits", ROLES, "Policy roles whose keys and tools this one holds, too."),
        key(
            "members",
            Form::Fields(&MEMBERS),
            "Who holds the role. Without it: users whose token carries the role's own name.",
        ),
        key(
            "on",
            PLACES,
            "The backends where the role's own keys count; `[\"*\"]` for every one. Needed once there are two.",
        ),
        key(
            "opens",
            Form::List(&Form::Either(&Form::Tag, &Form::Fields(&OPEN))),
            "The keys: tags that the role opens.",
        ),
        key("tools", Form::List(&Form::Fields(&GRANT)), "Tools that need fewer keys for this role."),
        key(
            "rate",
            Form::Fields(&RATE),
            "How often a holder may call, per backend. The most generous of a caller's roles counts.",
        ),
        key("mode", MODE, "`shadow`: it opens nothing, and what it would have opened is recorded."),
    ],
);

pub(crate) static MEMBERS: Shape = shape(
    "members",
    &[
        key("roles", ROLES, "App-role values of users."),
        key("apps", ROLES, "App-role values of applications that act on their own behalf."),
        key("groups", Form::List(&Form::Guid), "Groups of users, by object ID."),
        key("public", Form::Boolean, "Whether callers without a token hold it, on backends with `access: public`."),
    ],
);

pub(crate) static OPEN: Shape = shape(
    "a key",
    &[
        needed("tag", Form::Tag, "The tag that it opens."),
        key("on", PLACES, "The backends where it does, of those of the role."),
        key("when", Form::Condition, "It opens only when this is true."),
    ],
);

pub(crate) static GRANT: Shape = shape(
    "a tool grant",
    &[
        needed("name", Form::Qualified, "The tool, as `backend/tool`."),
        key("ignoring", TAGS, "Tags of the tool that need no key here."),
    ],
);

pub(crate) static RATE: Shape = shape(
    "`rate`",
    &[
        needed("calls", Form::Count(1, MANY), "Calls in a period."),
        needed("per", Form::Words(&["second", "minute", "hour"]), "The period."),
        key("burst", Form::Count(1, MANY), "How many may come at once; as many as `calls` without it."),
    ],
);

pub(crate) static IMPORT: Shape = Shape {
    some_of: &[&["meta", "annotations"]],
    ..shape(
        "an import",
        &[
            key("meta", Form::Boolean, "Tags of FastMCP: `_meta.fastmcp.tags`, or the older `_meta._fastmcp.tags`."),
            key(
                "annotations",
                Form::Boolean,
                "`read` for tools with `readOnlyHint`, `destructive` unless `destructiveHint` is false.",
            ),
            needed(
                "trust",
                Form::Words(&["narrow", "full"]),
                "`narrow`: imported tags are further locks only. `full`: a tool may open by them alone.",
            ),
            key(
                "unknown",
                Form::Words(&["shut", "drop"]),
                "Tags outside the vocabulary: the tool stays shut (the default), or the tag is left out.",
            ),
        ],
    )
};

pub(crate) static DENY: Shape = shape(
    "a deny rule",
    &[
        needed("id", Form::Text, "Its name in log, audit and tests."),
        needed("tags", TAGS, "It shuts what carries any of these."),
        key("on", PLACES, "The backends where it does; every one without it."),
        key("when", Form::Condition, "It shuts when this is true, and when it cannot be answered."),
        key("unless", ROLES, "Policy roles whose members it does not bind."),
        key("reason", Form::Text, "What the caller is told when arguments are refused."),
        key("mode", MODE, "`shadow`: it only records what it would refuse."),
    ],
);

pub(crate) static PIN: Shape = Shape {
    one_of: &[&["tools", "prompts", "resources"], &["to", "value"]],
    ..shape(
        "a pin",
        &[
            needed("id", Form::Text, "Its name in log, audit and tests."),
            key("tools", QUALIFIED, "The tools that have the argument, as `backend/name`, globs included."),
            key("prompts", QUALIFIED, "The prompts that have the argument."),
            key("resources", QUALIFIED, "The resource templates that have the variable, as `backend/template`."),
            needed(
                "argument",
                Form::Text,
                "A JSON Pointer to the argument, such as `/filter/owner`; for resources the variable's name.",
            ),
            key("to", Form::Text, "`caller.tid`, `caller.oid`, `caller.client`, `caller.kind` or `caller.claims.X`."),
            key("value", Form::Scalar, "A constant instead."),
            needed(
                "how",
                Form::Words(&["set", "require"]),
                "`set`: it is overwritten, and not in the schema that callers see. `require`: any other value is refused.",
            ),
            key("except", QUALIFIED, "What it does not count for; for tools whose schema lacks the argument, too."),
        ],
    )
};

pub(crate) static TESTS: Shape = shape(
    "tests",
    &[
        key(
            "catalogue",
            Form::Map(&Form::Backend, &Form::List(&Form::Either(&Form::Text, &Form::Fields(&ENTRY)))),
            "The tools that the tests speak of, by backend.",
        ),
        key("cases", Form::List(&Form::Fields(&CASE)), "Callers, and what is expected of what they do."),
        key(
            "never",
            Form::List(&Form::Fields(&NEVER)),
            "Callers, and what they must not reach in the whole catalogue.",
        ),
    ],
);

pub(crate) static ENTRY: Shape = shape(
    "a catalogue entry",
    &[
        needed("name", Form::Text, "The tool's name."),
        key("schema", Form::Object, "Its `inputSchema`."),
        key("meta", Form::Object, "Its `_meta`."),
        key("annotations", Form::Object, "Its `annotations`."),
    ],
);

pub(crate) static CASE: Shape = Shape {
    some_of: &[&["sees", "call", "prompt", "resource"]],
    ..shape(
        "a test case",
        &[
            needed("name", Form::Text, "What it says, in a sentence."),
            needed(
                "as",
                Form::Fields(&CALLER),
                "Who calls: a user of the home tenant with every scope, where nothing else is said.",
            ),
            key("sees", Form::Map(&Form::Backend, &TEXTS), "Exactly the tools that the caller sees, by backend."),
            key("call", Form::Qualified, "A tool that is called."),
            key("prompt", Form::Qualified, "A prompt that is asked for."),
            key("resource", Form::Qualified, "A resource that is read, as `backend/uri`."),
            key("with", Form::Object, "The arguments."),
            key("expect", Form::Words(&["allow", "deny", "challenge"]), "What comes of it."),
            key("because", Form::Text, "Words of the reason, such as `tag delete` or `deny rule no-pii`."),
            key("sends", Form::Object, "The arguments that leave."),
        ],
    )
};

/// Who calls, and what stands beside it.
macro_rules! caller {
    ($what:literal $(, $more:expr)*) => {
        shape(
            $what,
            &[
                key("roles", TEXTS, "App-role values."),
                key("groups", TEXTS, "Groups, by object ID."),
                key("kind", Form::Words(&["user", "app", "public"]), "A person, an application that acts on its own behalf, or anybody without a token."),
                key("tid", Form::Directory, "The tenant."),
                key("oid", Form::Text, "The object in the tenant."),
                key("client", Form::Text, "The OAuth client."),
                key("scopes", TEXTS, "Granted scopes; every one without it."),
                key("guest", Form::Boolean, "Whether the account is another directory's."),
                key("acrs", TEXTS, "Authentication contexts that the sign-in satisfied."),
                key("auth_time", Form::Count(0, u64::MAX), "When the person signed in, in seconds since the Unix epoch; in tests a sign-in with a time is a fresh one."),
                key("claims", Form::Object, "Further claims of the token."),
                $($more),*
            ],
        )
    };
}

pub(crate) static CALLER: Shape = caller!("`as`");
pub(crate) static NEVER: Shape =
    caller!("a `never`", needed("reach", Form::Fields(&REACH), "What they must not reach."));

pub(crate) static REACH: Shape = Shape {
    some_of: &[&["tags", "tools"]],
    ..shape(
        "`reach`",
        &[
            key("tags", TAGS, "Tools that carry one of these tags."),
            key("tools", QUALIFIED, "These tools, as `backend/tool`."),
        ],
    )
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use crate::written::Written;

    /// Every mapping with known keys, and an example around it.
    fn shapes() -> Vec<(&'static Shape, &'static str)> {
        vec![
            (&POLICY, "{}"),
            (&TAG, "{ tags: { a: {} } }"),
            (&STEP_UP, "{ tags: { a: { step_up: {} } } }"),
            (&TENANT, "{ tenants: { 11111111-1111-4111-8111-111111111111: {} } }"),
            (&ROLE, "{ roles: { a: {} } }"),
            (&MEMBERS, "{ roles: { a: { members: {} } } }"),
            (&OPEN, "{ roles: { a: { opens: [{}] } } }"),
            (&GRANT, "{ roles: { a: { tools: [{}] } } }"),
            (&RATE, "{ roles: { a: { rate: {} } } }"),
            (&IMPORT, "{ imports: { a: {} } }"),
            (&DENY, "{ deny: [{}] }"),
            (&PIN, "{ pins: [{}] }"),
            (&TESTS, "{ tests: {} }"),
            (&ENTRY, "{ tests: { catalogue: { a: [{}] } } }"),
            (&CASE, "{ tests: { cases: [{}] } }"),
            (&CALLER, "{ tests: { cases: [{ name: x, as: {} }] } }"),
            (&NEVER, "{ tests: { never: [{}] } }"),
            (&REACH, "{ tests: { never: [{ reach: {} }] } }"),
        ]
    }

    fn faults(text: &str) -> String {
        let (_, faults) = Written::read(&Document::from_yaml(text).unwrap());
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_the_table_needs_the_reader_needs() {
        for (shape, around) in shapes() {
            let said = faults(around);
            for key in shape.keys {
                let asked = said.contains(&format!("{} needs `{}`", shape.what, key.name));
                // A reader may stop at the first that is missing; and what has the items is one of several.
                let another =
                    shape.keys.iter().any(|key| key.needed && said.contains(&format!("needs `{}`", key.name)));
                let items = ["tools", "prompts", "resources"].contains(&key.name) && shape.what == "a policy";
                let stopped = key.needed && (another || shape.what == "a pin");
                let told = if items { key.needed } else { asked || stopped };
                assert_eq!(told, key.needed, "{} `{}` in {around}: {said}", shape.what, key.name);
            }
        }
    }

    #[test]
    fn a_key_that_is_not_in_the_table_is_refused_where_it_stands() {
        for (shape, around) in shapes() {
            let empty = around.rfind("{}").unwrap();
            let said =
                faults(&format!("{}{{ novel: 1 }}{}", around.get(..empty).unwrap(), around.get(empty + 2..).unwrap()));
            assert!(said.contains(&format!("`novel` is not a key of {}", shape.what)), "{around}: {said}");
        }
    }
}
