//! Input from people who mean harm: callers' names and URIs, and files that are too much.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use portcullis_policy::{
    Act, Action, BackendName, Catalogue, Document, Explanation, Kind, Policy, Subject, ToolDefinition, View,
};

fn weather() -> BackendName {
    BackendName::try_from("weather").unwrap()
}

fn load(text: &str) -> Policy {
    Policy::from_yaml(text, &[weather()]).unwrap_or_else(|faults| panic!("{faults}"))
}

fn holder(role: &str) -> Subject {
    Subject::new(Kind::User, "tenant", "object").with_roles(vec![role.to_owned()])
}

/// Ten seconds on a busy machine is still far from what a quadratic step would take.
#[expect(clippy::disallowed_methods, reason = "how long it takes is what is asserted")]
fn soon<T>(act: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = act();
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
    value
}

#[test]
fn no_spelling_of_a_name_gets_around_its_lock() {
    let names = r#"{ weather: { read: ["get_*", "add  x"], admin: ["get_secrets", "add*"] } }"#;
    let policy = load(&format!(
        "roles: {{ reader: {{ opens: [read] }}, both: {{ opens: [read, admin] }} }}\ntools: {names}\nprompts: {names}"
    ));
    let sees = |role: &str, name: &str| {
        let view = policy.view(&holder(role), &weather());
        assert_eq!(view.tool(name), view.prompt(name), "{name:?}");
        view.tool(name)
    };
    for unseen in ["\0", "\u{200b}", "\u{feff}", "\u{202e}", "\u{ad}", "\n", " ", "\u{a0}", "\u{e0041}", "\ndelete_y"] {
        for name in [format!("get_secrets{unseen}"), format!("{unseen}get_secrets"), format!("get{unseen}_x")] {
            for role in ["reader", "both"] {
                assert!(!sees(role, &name), "{name:?}");
            }
        }
    }
    for (role, name, opens) in [
        ("reader", "get_x", true),
        ("reader", "get_secrets", false),
        ("both", "get_secrets", true),
        ("reader", "add  x", false),
        ("both", "add  x", true),
        ("both", "add  y", false),
        ("reader", "get_a b", true),
    ] {
        assert_eq!(sees(role, name), opens, "{role} {name:?}");
    }
}

const RESOURCES: &str = r#"
roles:
  reader: { opens: [read] }
  owner:  { opens: [read, private] }
tools: { weather: { read: ["get_*", "*a*a*a*a*a*a*b"] } }
resources:
  weather:
    read:    ["weather://stations/**", "weather://docs/*"]
    private: ["weather://stations/home", "weather://stations/*/owner"]
"#;

#[test]
fn no_spelling_of_a_locked_resource_gets_around_its_lock() {
    let policy = load(RESOURCES);
    let view = policy.view(&holder("reader"), &weather());
    for uri in [
        "weather://stations/home",
        "weather://stations/hom%65",
        "weather://stations/%68%6F%6d%65",
        "weather://stations/hom%2565",
        "WEATHER://stations/home",
        "weather://STATIONS/home",
        "weather://stations//home",
        "weather://stations/./home",
        "weather://stations/x/../home",
        "weather://stations/x/%2e%2e/home",
        "weather://stations/x/.%2E/home",
        "weather://stations/x%2f..%2fhome",
        "weather://stations/x/..;/home",
        "weather://stations/x\\..\\home",
        "weather://stations/home#top",
        "weather://stations/ho\tme",
        "weather://stations/home\n",
        " weather://stations/home",
        "weather://stations/oslo/owner",
        "weather://stations/oslo/%6fwner",
        "weather://stations/{id}/owner",
        "weather:stations/home",
        "",
    ] {
        assert!(!view.resource(uri), "{uri:?}");
    }
    // The control: what is open is open, and the owner holds the key.
    assert!(view.resource("weather://stations/oslo") && view.resource("weather://stations/oslo/now"));
    assert!(policy.view(&holder("owner"), &weather()).resource("weather://stations/hom%65"));
    assert!(view.resource("weather://docs/a") && !view.resource("weather://docs/a/b"));
}

/// Tags and a pin that reach over the authority, and what is locked and pinned more narrowly.
const ACROSS: &str = r#"
roles:
  reader: { opens: [read] }
  owner:  { opens: [read, admin] }
tools: {}
resources:
  weather:
    read:  ["**"]
    admin: ["weather://keys/**", "file:///etc/**", "https://keys.example/**", "https://one.example/"]
pins:
  - { id: own, resources: ["weather/crm://tenants/{tenant}/invoice"], argument: tenant, to: caller.tid, how: require }
"#;

/// What URL parsers read as another URI, or as none.
const UNSETTLED: [&str; 20] = [
    "weather://keys:/master",
    "weather://@keys/master",
    "weather://:@keys/master",
    "weather://u:@keys/master",
    "weather://keys:01/master",
    "crm://tenants:/other/invoice",
    "crm://@tenants/other/invoice",
    "crm://tenants:/tenant/invoice",
    "file://localhost/etc/x",
    "file:/etc/x",
    "file:etc/x",
    "https://keys.example:443/x",
    "https:keys.example/x",
    "https:/keys.example/x",
    "https:///keys.example/x",
    "https://@keys.example/x",
    "https://\u{ff4b}eys.example/x",
    "https://keys\u{3002}example/x",
    "https://keys.exam\u{ad}ple/x",
    "http://127.1/x",
];

/// What some server reads as a resource that is locked.
const LOCKED: [&str; 14] = [
    "weather://keys/master",
    "weather://KEYS/master",
    "weather://k%65ys/master",
    "weather://u@keys/master",
    "weather://keys:1/master",
    "weather://u:p@keys:1/master?x",
    "weather://keys%3A/master",
    "file:///etc/x",
    "file://host/etc/x",
    "https://keys.example/x",
    "https://KEYS.example:8443/x",
    "https://%6beys.example/x",
    "https://one.example",
    "https://one.example?x",
];

/// URIs as servers list them.
const ORDINARY: [&str; 16] = [
    "weather://stations/home",
    "weather://stations",
    "weather://stations:8080/home",
    "postgres://reader@db/table/schema",
    "crm://tenants/tenant/invoice",
    "crm://u@tenants/tenant/invoice",
    "file:///home/a%20b",
    "file:///home/a\u{e9}",
    "file://share/home/x",
    "https://open.example",
    "https://open.example:8443/%C3%A9?q=%26",
    "https://xn--kln-sna.example/",
    "urn:isbn:1",
    "note:///a",
    "data:text/plain,a",
    "db://rows/a|b",
];

#[test]
fn no_spelling_of_an_authority_gets_around_a_lock_or_a_pin() {
    let policy = load(ACROSS);
    let (reader, owner) = (holder("reader"), holder("owner"));
    let (view, all) = (policy.view(&reader, &weather()), policy.view(&owner, &weather()));
    for uri in UNSETTLED {
        let read = policy.explain(&owner, &weather(), &Action::ReadResource { uri });
        assert!(!all.resource(uri) && !read.is_allowed(), "{uri}: has more than one reading");
    }
    for uri in LOCKED {
        let read = policy.explain(&reader, &weather(), &Action::ReadResource { uri });
        assert!(!view.resource(uri) && !read.is_allowed(), "{uri}: is locked");
        assert!(all.resource(uri), "{uri}: and has a key");
    }
    for uri in [
        "crm://tenants/other/invoice",
        "crm://u@tenants/other/invoice",
        "crm://tenants:1/other/invoice",
        "crm://tenants:1/other/invoice?x",
    ] {
        assert!(!all.resource(uri), "{uri}: is pinned");
    }
    for uri in ORDINARY {
        assert!(view.resource(uri), "{uri}: the control");
    }
    for (template, open) in [
        ("weather://stations/{id}", true),
        ("weather://{area}/home", true),
        ("weather://{host}:{port}/home", true),
        ("weather://u@keys/{id}", false),
        ("weather://keys:1/{id}", false),
        ("weather://keys:/{id}", false),
        ("https:{id}", false),
        ("crm://u@tenants/{t}/invoice", false),
        ("crm://u@tenants/{t}/orders", true),
    ] {
        let completed = policy.explain(&reader, &weather(), &Action::UseTemplate { template });
        assert_eq!(completed.is_allowed(), open, "{template}");
    }
}

#[test]
fn a_pattern_or_a_pin_that_a_parser_writes_otherwise_does_not_load() {
    for (from, to) in [
        ("weather://keys/**", "weather://keys:/**"),
        ("https://one.example/", "https://one.example:443/"),
        ("file:///etc/**", "file://localhost/etc/**"),
        ("crm://tenants/{tenant}", "crm://tenants:/{tenant}"),
        ("crm://tenants/{tenant}", "https:tenants/{tenant}"),
    ] {
        let refused = Policy::from_yaml(&ACROSS.replace(from, to), &[weather()]);
        assert!(refused.is_err_and(|faults| faults.to_string().contains("URL parsers")), "{to}");
    }
    load(&ACROSS.replace("crm://tenants/{tenant}", "https://{tenant}.example"));
}

#[test]
fn a_template_is_shown_when_every_expansion_is_inside_the_pattern() {
    let policy = load(RESOURCES);
    let subject = holder("reader");
    let view: View<'_> = policy.view(&subject, &weather());
    for (template, shown) in [
        ("weather://stations/{id}", true),
        ("weather://stations/{id}/now", true),
        ("weather://stations/{+path}", true),
        ("weather://stations/{id}/owner", false),
        ("weather://docs/{page}", true),
        ("weather://docs/{+page}", false),
        ("weather://docs/{page*}", false),
        ("weather://docs{/page}", false),
        ("weather://{area}/home", false),
        ("{+all}", false),
        ("weather://stations/{id", false),
        ("weather://stations/../{id}", false),
    ] {
        assert_eq!(view.resource_template(template), shown, "{template}");
        let explained = policy.explain(&subject, &weather(), &Action::UseTemplate { template });
        assert_eq!(explained.is_allowed(), shown, "{template}");
    }
}

#[test]
fn a_query_or_a_slash_behind_a_resource_takes_no_lock_off_and_opens_nothing() {
    let policy = load(
        r#"
roles:
  reader: { opens: [read] }
  owner:  { opens: [read, private] }
tools: {}
resources:
  weather:
    read:    ["weather://stations/**", "weather://one"]
    private: ["weather://stations/home"]
"#,
    );
    let (reader, owner) = (holder("reader"), holder("owner"));
    let (view, all) = (policy.view(&reader, &weather()), policy.view(&owner, &weather()));
    for uri in ["weather://stations/home?x", "weather://stations/home/", "weather://stations/home/?x=1&y"] {
        assert!(!view.resource(uri) && all.resource(uri), "{uri}");
    }
    for uri in ["weather://one?x", "weather://one/"] {
        assert!(!view.resource(uri), "{uri}: what no pattern matches opens to nobody");
    }
    for uri in ["weather://stations/oslo?x", "weather://stations/oslo/", "weather://one"] {
        assert!(view.resource(uri), "{uri}: the control");
    }
}

const PINNED: &str = r#"
roles: { reader: { opens: [read] } }
tools: { weather: { read: ["get_*"] } }
prompts: { weather: { read: ["*"] } }
resources: { weather: { read: ["crm://**"] } }
pins:
  - { id: notes, resources: ["weather/CRM://Data/{tenant}/n%6Ftes"], argument: tenant, to: caller.tid, how: require, except: ["weather/CRM://data/all/notes"] }
  - { id: who, prompts: [weather/brief], argument: /who, to: caller.claims.area, how: set }
"#;

#[test]
fn no_spelling_of_a_resource_gets_around_its_pin() {
    let policy = load(PINNED);
    let subject = holder("reader");
    let view = policy.view(&subject, &weather());
    for (uri, open) in [
        ("crm://data/tenant/notes", true),
        ("CRM://DATA/tenant/notes", true),
        ("crm://data/tenant/notes?x", true),
        ("crm://data/all/notes", true),
        ("crm://data/tenant/other", true),
        ("crm://data/theirs/notes", false),
        ("CRM://DATA/theirs/notes", false),
        ("crm://data/theirs/note%73", false),
        ("crm://data/theirs/notes?x", false),
        ("crm://data/theirs/notes/", false),
        ("crm://data/tenant/../theirs/notes", false),
    ] {
        assert_eq!(view.resource(uri), open, "{uri}");
        assert_eq!(policy.explain(&subject, &weather(), &Action::ReadResource { uri }).is_allowed(), open, "{uri}");
    }
}

const DECIDED_BY: &str = r#"
roles:
  reader: { opens: [read, { tag: run, when: 'args.env in ["dev"]' }, { tag: list, when: 'args.rows.all(r, r["owner"] == "me")' }] }
tools: { weather: { read: [set, require, guarded], run: [build], list: [rows] } }
prompts: { weather: { read: ["*"] } }
deny:
  - { id: path, tags: [read], when: 'has(args.path) && args.path != "/tmp"' }
  - { id: flags, tags: [read], when: 'has(args.flags) && "force" in args.flags' }
pins:
  - { id: tenant, tools: [weather/set], argument: /tenant_id, to: caller.tid, how: set }
  - { id: owner, tools: [weather/require], argument: /filter/owner, to: caller.oid, how: require }
  - { id: who, prompts: [weather/brief], argument: /who, to: caller.oid, how: set }
"#;

/// What the policy says of arguments that it goes by, with a catalogue that has them.
fn decided_by(action: &Action<'_>, arguments: &str) -> Explanation {
    let tool = |name: &str, properties: &str| ToolDefinition {
        input_schema: Some(serde_json::from_str(&format!(r#"{{"properties":{properties}}}"#)).unwrap()),
        ..ToolDefinition::named(name)
    };
    let tools = vec![
        tool("set", r#"{"tenant_id":{}}"#),
        tool("require", r#"{"filter":{"properties":{"owner":{}}}}"#),
        tool("guarded", r#"{"path":{},"flags":{}}"#),
        tool("build", r#"{"env":{}}"#),
        tool("rows", r#"{"rows":{}}"#),
    ];
    let policy = load(DECIDED_BY).with_catalogue(&weather(), &Catalogue { tools, ..Catalogue::default() });
    policy.explain_call(&holder("reader"), &weather(), action, Some(arguments), 0)
}

#[test]
fn an_argument_in_another_spelling_beside_one_that_is_decided_by_is_refused() {
    let call = |name| Action::CallTool { name };
    let brief = Action::GetPrompt { name: "brief" };
    for (action, arguments) in [
        (call("set"), r#"{"tenant_id":"x","TENANT_ID":"victim"}"#),
        (call("set"), r#"{"TENANT_ID":"victim","tenant_id":"x"}"#),
        (call("set"), r#"{"TENANT_ID":"victim"}"#),
        (call("set"), r#"{"tenantId":"victim"}"#),
        (call("set"), r#"{"tenant-id":"victim"}"#),
        (call("set"), r#"{"tenant_\u0131d":"victim"}"#),
        (call("set"), r#"{"tenant\u200b_id":"victim"}"#),
        (call("require"), r#"{"filter":{"owner":"object","Owner":"victim"}}"#),
        (call("require"), r#"{"filter":{"owner":"object"},"Filter":{"owner":"victim"}}"#),
        (brief, r#"{"who":"x","Who":"victim"}"#),
        (call("guarded"), r#"{"path":"/tmp","Path":"/etc/shadow"}"#),
        (call("guarded"), r#"{"PATH":"/etc/shadow"}"#),
        (call("guarded"), r#"{"flags":{"Force":true}}"#),
        (call("build"), r#"{"env":"dev","Env":"prod"}"#),
        (call("build"), r#"{"env":"dev","e\u200bnv":"prod"}"#),
        (call("rows"), r#"{"rows":[{"owner":"me"},{"owner":"me","OWNER":"you"}]}"#),
        (call("rows"), r#"{"rows":[],"Rows":[{"owner":"you"}]}"#),
    ] {
        let explained = decided_by(&action, arguments);
        assert!(explained.to_string().contains("in another spelling"), "{arguments}: {explained}");
        assert!(!explained.is_allowed(), "{arguments}");
    }
    for (action, arguments) in [
        (call("set"), r#"{"tenant_id":"x","region":"y","Region":"z","tenant":"t"}"#),
        (call("set"), r#"{"inner":{"TENANT_ID":"x"}}"#),
        (call("require"), r#"{"filter":{"owner":"object","text":"x"},"Owner":"x"}"#),
        (brief, r#"{"who":"x","topic":"y"}"#),
        (call("guarded"), r#"{"path":"/tmp","flags":{"dry":true,"Dry":true}}"#),
        (call("guarded"), r#"{"inner":{"Path":"/etc/shadow"}}"#),
        (call("build"), r#"{"env":"dev","environment":"x"}"#),
        (call("rows"), r#"{"rows":[{"owner":"me","Name":"x","name":"y"}]}"#),
    ] {
        let explained = decided_by(&action, arguments);
        assert!(explained.is_allowed(), "{arguments}: {explained}");
    }
}

#[test]
fn what_is_pinned_is_not_completed() {
    let policy = load(PINNED);
    let subject = holder("reader").with_claims([("area".to_owned(), "north".into())].into());
    let allowed = |action: &Action<'_>| policy.explain(&subject, &weather(), action).is_allowed();
    for (template, open) in [
        ("crm://data/{t}/notes", false),
        ("CRM://data/{t}/{what}", false),
        ("crm://{+all}", false),
        ("crm://data/theirs/notes", false),
        ("crm://data/{t}/orders", true),
        ("crm://other/{t}", true),
    ] {
        assert_eq!(allowed(&Action::UseTemplate { template }), open, "{template}");
    }
    assert!(allowed(&Action::GetPrompt { name: "brief" }) && !allowed(&Action::CompletePrompt { name: "brief" }));
    assert!(allowed(&Action::CompletePrompt { name: "greet" }), "the control");
}

#[test]
fn a_task_is_followed_by_who_could_begin_it_whatever_arguments_it_was_begun_with() {
    let policy = load(
        r#"
roles:
  dev: { opens: [{ tag: run, when: 'args.env == "dev"' }] }
  app: { opens: [{ tag: run, when: 'caller.kind == "app"' }] }
tools: { weather: { run: [build] } }
deny: [{ id: small, tags: [run], when: 'args.count > 9' }]
"#,
    );
    let allowed = |role: &str, action: &Action<'_>| policy.explain(&holder(role), &weather(), action).is_allowed();
    let follow = |role: &str| allowed(role, &Action::FollowTask { tool: "build" });
    assert!(follow("dev") && !follow("app") && !follow("nobody"));
    assert!(!allowed("dev", &Action::CallTool { name: "build" }), "a call without arguments is another matter");
    assert!(!allowed("dev", &Action::FollowTask { tool: "other" }));
}

/// An act for which its caller has written arguments.
struct Written<'a>(BackendName, Action<'a>, &'a str);

impl Act for Written<'_> {
    fn backend(&self) -> &BackendName {
        &self.0
    }

    fn action(&self) -> Action<'_> {
        self.1
    }

    fn arguments(&self) -> Option<&str> {
        Some(self.2)
    }
}

#[test]
fn arguments_that_an_act_does_not_have_meet_no_condition() {
    let policy = load(
        r#"
roles:
  dev:  { opens: [{ tag: run, when: 'args.env in ["dev"]' }] }
  none: { opens: [{ tag: run, when: '!has(args.env)' }] }
  all:  { opens: [run] }
tools:     { weather: { run: [build] } }
prompts:   { weather: { run: [brief] } }
resources: { weather: { run: ["weather://**"] } }
deny: [{ id: limit, tags: [run], unless: [none, dev], when: '!(args.env in ["dev"])' }]
"#,
    );
    let (uri, name) = ("weather://stations/home", "brief");
    for (action, has) in [
        (Action::CallTool { name: "build" }, true),
        (Action::GetPrompt { name }, true),
        (Action::CompletePrompt { name }, false),
        (Action::ReadResource { uri }, false),
        (Action::UseTemplate { template: uri }, false),
        (Action::UseTemplate { template: "weather://stations/{id}" }, false),
    ] {
        let opens = |role: &str, arguments: &str| {
            policy.authorize(&holder(role), Written(weather(), action, arguments)).is_ok()
        };
        for role in ["dev", "all"] {
            assert_eq!(opens(role, r#"{"env":"dev"}"#), has, "{role} {action:?}");
            assert!(!opens(role, r#"{"env":"prod"}"#) && !opens(role, "{}"), "{role} {action:?}");
        }
        assert!(opens("none", "{}"), "{action:?}: the control");
        assert_eq!(opens("none", r#"{"env":"dev"}"#), !has, "{action:?}");
    }
}

#[test]
fn a_claim_that_is_null_is_no_claim() {
    let policy = load(PINNED);
    let with = |area: serde_json::Value| holder("reader").with_claims([("area".to_owned(), area)].into());
    let gets = |subject: &Subject| policy.view(subject, &weather()).prompt("brief");
    assert!(gets(&with("north".into())), "the control");
    assert!(!gets(&with(serde_json::Value::Null)) && !gets(&holder("reader")));
}

#[test]
fn a_json_pointer_that_can_be_read_in_two_ways_does_not_load() {
    let with = |pointer: &str| {
        let text = PINNED.replace("argument: /who", &format!("argument: '{pointer}'"));
        Policy::from_yaml(&text, &[weather()]).map(|_| ()).map_err(|faults| faults.to_string())
    };
    for (pointer, words) in [
        ("/a~", "`~0`"),
        ("/a~2b", "`~0`"),
        ("", "a JSON Pointer"),
        ("/", "a JSON Pointer"),
        ("/a//b", "a JSON Pointer"),
        ("who", "write `/who`"),
    ] {
        assert!(with(pointer).is_err_and(|faults| faults.contains(words)), "{pointer}: {:?}", with(pointer));
    }
    assert_eq!((with("/a~1b"), with("/a~0b")), (Ok(()), Ok(())), "the control");
}

#[test]
fn long_names_and_uris_cost_little_and_open_nothing() {
    let policy = load(RESOURCES);
    let view = policy.view(&holder("owner"), &weather());
    for size in [100_000, 4 << 20] {
        let (name, prefixed) = ("a".repeat(size), "get_".to_owned() + &"a".repeat(size));
        let (uri, template) = ("weather://stations/".to_owned() + &"%61".repeat(size), "{a}".repeat(size));
        soon(|| assert!(!view.tool(&name) && !view.tool(&prefixed)));
        soon(|| assert!(!view.resource(&uri) && !view.resource_template(&template)));
    }
    assert!(view.tool("get_forecast") && view.tool(&("get_".to_owned() + &"a".repeat(400))));
}

#[test]
fn odd_names_open_nothing() {
    let policy = load("roles: { R: { opens: [read] } }\ntools: { weather: { read: [get, \"put_*\"] } }");
    let view = policy.view(&holder("R"), &weather());
    for name in ["", "*", "Get", "get ", " get", "get\0", "gеt", "weather/get", "put", "PUT_x"] {
        assert!(!view.tool(name), "{name:?}");
    }
    assert!(view.tool("get") && view.tool("put_x"));
}

#[test]
fn more_tags_than_a_word_has_bits_keep_apart() {
    let tags: Vec<String> = (0..200).map(|n| format!("t{n}")).collect();
    let tools: Vec<String> = tags.iter().map(|tag| format!("{tag}: [tool_{tag}]")).collect();
    let policy =
        load(&format!("roles: {{ R: {{ opens: [t3, t70, t199] }} }}\ntools:\n  weather: {{ {} }}\n", tools.join(", ")));
    let view = policy.view(&holder("R"), &weather());
    let open: Vec<&String> = tags.iter().filter(|tag| view.tool(&format!("tool_{tag}"))).collect();
    assert_eq!(open, ["t3", "t70", "t199"]);
}

#[test]
fn a_policy_for_thousands_of_tools_loads_and_decides_soon() {
    let tools: Vec<String> = (0..5000).map(|n| format!("tool_{n}")).collect();
    let text = format!("roles: {{ R: {{ opens: [read] }} }}\ntools: {{ weather: {{ read: [{}] }} }}", tools.join(", "));
    let policy = soon(|| load(&text));
    let view = policy.view(&holder("R"), &weather());
    assert!(soon(|| tools.iter().all(|tool| view.tool(tool))) && !view.tool("tool_5000"));
}

#[test]
fn files_that_are_too_much_are_refused_soon() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let _ = writeln!(bomb, "a{n}: &a{n} [{}]", vec![format!("*a{}", n - 1); 9].join(", "));
    }
    for (what, text) in [
        ("an alias bomb", bomb),
        ("deep nesting", "[".repeat(20_000)),
        ("deep block nesting", (0..2_000).map(|n| " ".repeat(n) + "a:\n").collect()),
        ("ten megabytes", "# ".to_owned() + &"x".repeat(10 << 20)),
        ("a self-reference", "a: &a [*a]".to_owned()),
        ("two documents", "roles: {}\ntools: {}\n---\nroles: {}\n".to_owned()),
        ("a byte order mark", "\u{feff}roles: {}\ntools: {}\n".to_owned()),
        ("a NUL", "roles: {}\ntools: { \0: {} }\n".to_owned()),
        ("tabs", "roles:\n\tR: {}\n".to_owned()),
        ("nothing", String::new()),
        ("a comment", "# roles to come\n".to_owned()),
        ("a list", "[roles, tools]".to_owned()),
        ("a text", "allow everything".to_owned()),
    ] {
        assert!(soon(|| Policy::from_yaml(&text, &[weather()])).is_err(), "{what}");
    }
    // The control: aliases as such are fine.
    load("roles: { R: { opens: &tags [read] }, S: { opens: *tags } }\ntools: { weather: { read: [get] } }");
}

#[test]
fn layout_does_not_count_for_the_hash_and_meaning_does() {
    let hash = |text: &str| load(text).hash().to_string();
    let base = hash("roles: { R: { opens: [read] } }\ntools: { weather: { read: [get] } }");
    assert_eq!(
        base,
        hash("# said twice\nroles:\n  R:\n    opens:\n    - read\ntools: { weather: { \"read\": [ get ] } }")
    );
    assert_ne!(base, hash("roles: { R: { opens: [read] } }\ntools: { weather: { read: [put] } }"));
    assert_ne!(base, hash("roles: { S: { opens: [read] } }\ntools: { weather: { read: [get] } }"));
}

#[test]
fn the_lint_says_what_was_probably_not_meant() {
    let text = r#"
tags: { read: {}, write: {}, spare: {} }
roles:
  reader: { opens: [read, spare] }
  orphan: { members: {}, opens: [read] }
  empty:  { members: { roles: [X] } }
tools:
  weather: { read: ["get_*", "fetch_*"], write: [put] }
tests:
  catalogue: { weather: [get_x, put, echo] }
"#;
    let document = Document::from_yaml(text).unwrap();
    let policy = Policy::compile(&document, &[weather(), BackendName::try_from("crm").unwrap()]);
    assert!(policy.is_err(), "two backends want `on`");
    let policy = Policy::compile(&document, &[weather()]).unwrap();
    let warnings: Vec<String> = policy.lint(&document).iter().map(ToString::to_string).collect();
    for expected in [
        "2:30: warning: the tag `spare` is declared and nothing carries it",
        "4:27: warning: nothing carries the tag `spare`",
        "5:3: warning: nobody can hold the role `orphan`",
        "6:3: warning: the role `empty` opens nothing",
        "8:30: warning: `fetch_*` matches no tool of `weather`",
        "8:42: warning: no role opens the tag `write`",
        "10:33: warning: nobody can reach the tool `put`",
        "10:38: warning: the tool `echo` carries no tag",
    ] {
        assert!(warnings.iter().any(|warning| warning.starts_with(expected)), "{expected}\n{}", warnings.join("\n"));
    }
    assert_eq!(warnings.len(), 8, "{}", warnings.join("\n"));
}
