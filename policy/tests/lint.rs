//! Mistakes that people make, each planted into a policy that has none, and each found: by an error that keeps the file from
//! loading, by a warning, or by a test of the file's own; and the traps of the language.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use portcullis_policy::{Document, Policy};

const GOOD: &str = r#"tags:
  read:   { title: "Read" }
  write:  { title: "Change" }
  delete: { title: "Delete", step_up: { acr: c1, max_age: 10m } }
  pii:    {}
tenants:
  11111111-1111-4111-8111-111111111111: {}
roles:
  reader:
    members: { roles: [Task.Read], groups: [6f0c0000-0000-4000-8000-000000000000] }
    opens: [read]
  writer:
    inherits: [reader]
    members: { roles: [Task.Write] }
    opens: [write, { tag: delete, when: 'args.env == "dev"' }]
    tools: [{ name: crm/get_owner, ignoring: [pii] }]
    rate: { calls: 60, per: minute }
  nightly:
    members: { apps: [Task.Read] }
    opens: [read, pii]
tools:
  crm:
    read:   ["get_*", "list_*"]
    write:  ["add_*"]
    delete: [delete_invoice]
    pii:    [get_owner]
deny:
  - { id: no-prod, tags: [delete], when: 'args.env == "prod"', unless: [reader], reason: "Not in production" }
pins:
  - { id: tenant, tools: ["crm/*_invoice"], argument: /tenant_id, to: caller.tid, how: set, except: [crm/get_invoice] }
tests:
  catalogue:
    crm:
      - get_invoice
      - get_owner
      - list_invoices
      - add_invoice
      - { name: delete_invoice, schema: { type: object, properties: { env: { type: string }, tenant_id: { type: string } } } }
  cases:
    - { name: readers read, as: { roles: [Task.Read] }, sees: { crm: [get_invoice, list_invoices] } }
    - { name: readers do not write, as: { roles: [Task.Read] }, call: crm/add_invoice, expect: deny, because: tag write }
  never:
    - { roles: [Task.Read], reach: { tags: [write, delete, pii] } }
"#;

/// What is planted, in place of what, and what is said of it.
const PLANTED: [(&str, &str, &str); 44] = [
    ("  reader:\n", "  raeder:\n", "the role `reader` is not declared; did you mean `raeder`?"),
    ("opens: [read]\n", "opens: [reed]\n", "the tag `reed` is not declared; did you mean `read`?"),
    ("    opens: [read]\n", "    open: [read]\n", "`open` is not a key of a role; did you mean `opens`?"),
    ("inherits: [reader]", "inherits: [writer]", "inherits from itself"),
    ("  nightly:\n", "  reader:\n", "is already on line"),
    ("[6f0c0000-0000-4000-8000-000000000000]", "[Readers]", "`Readers` is not an ID"),
    ("opens: [read]\n", "opens: read\n", "write `[read]`"),
    ("11111111-1111-4111-8111-111111111111: {}", "contoso.com: {}", "`contoso.com` is not an ID"),
    ("args.env == \"dev\"'", "arg.env == \"dev\"'", "`when` cannot be used"),
    ("args.env == \"dev\"'", "args.env = \"dev\"'", "`when` cannot be used"),
    ("args.env == \"dev\"'", "caller.roles == []'", "`when` cannot be used"),
    ("{ calls: 60, per: minute }", "{ calls: 0, per: minute }", "a whole number from 1"),
    ("max_age: 10m", "max_age: 10", "put it in quotes"),
    ("to: caller.tid", "to: caller.tenant", "is nothing that can be pinned to"),
    ("/tenant_id", "tenant_id", "a JSON Pointer; write `/tenant_id`"),
    ("id: no-prod, tags: [delete]", "id: no-prod, tags: []", "denies nothing"),
    ("[read, pii]", "[read, email]", "a scope of OpenID Connect"),
    ("  crm:\n    read:", "  cmr:\n    read:", "did you mean"),
    ("name: crm/get_owner", "name: get_owner", "names no backend; write `backend/get_owner`"),
    (
        "sees: { crm: [get_invoice,",
        "sees: { crm: [get_invoce,",
        "not in the tests' catalogue; did you mean `crm/get_invoice`?",
    ),
    // From here on the file loads, and what it says is probably not what was meant.
    ("    pii:    [get_owner]\n", "    pii:    [get_ownr]\n", "`get_ownr` matches no tool"),
    ("    write:  [\"add_*\"]\n", "", "the tag `write` is declared and nothing carries it"),
    ("    write:  [\"add_*\"]\n", "", "the tool `add_invoice` carries no tag and opens to nobody"),
    ("opens: [read, pii]", "opens: [read]", "no role opens the tag `pii`"),
    ("roles: [Task.Write]", "roles: []", "nobody can hold the role `writer`"),
    ("opens: [read, pii]\n", "opens: []\n", "the role `nightly` opens nothing"),
    ("opens: [write, {", "opens: [read, write, {", "the role `writer` inherits the key for `read`"),
    ("opens: [read, pii]", "opens: [read, pii, pii]", "opens `pii` twice"),
    ("[\"get_*\", \"list_*\"]", "[\"get_*\", \"list_*\", get_invoice]", "`get_invoice` is in `get_*` already"),
    ("[\"add_*\"]", "[\"^add_.+\"]", "looks like a regular expression"),
    ("[\"add_*\"]", "[\"add_**\"]", "which is for URIs"),
    ("roles: [Task.Write]", "roles: [6f0c0000-0000-4000-8000-000000000000]", "a group goes under `groups`"),
    ("args.env == \"dev\"'", "caller.kind == \"person\"'", "is never true"),
    ("args.env == \"dev\"'", "1 < 2'", "is always true"),
    ("args.env == \"dev\"'", "args.stage == \"dev\"'", "the tool `delete_invoice` has no argument `stage`"),
    ("unless: [reader]", "unless: [reader, writer, nightly]", "spares every role"),
    ("ignoring: [pii]", "ignoring: [pii, write]", "does not carry the tag `write` that is ignored"),
    ("[\"crm/*_invoice\"]", "[\"crm/*_invoce\"]", "the pin `tenant` is for no tool"),
    ("except: [crm/get_invoice]", "except: [crm/get_owner]", "is not for `get_owner` anyway"),
    ("/tenant_id", "/tenant", "in the tests' catalogue of `crm`"),
    (
        "as: { roles: [Task.Read] }, call",
        "as: { roles: [Task.Raed] }, call",
        "no role is given by `Task.Raed`; did you mean `Task.Read`?",
    ),
    ("name: readers do not write", "name: readers read", "two tests are named `readers read`"),
    ("tags:\n", "mode: shadow\ntags:\n", "the whole policy is in shadow"),
    ("opens: [read]\n", "opens: [read, write]\n", "the test `readers do not write` fails: expected deny, found allow"),
];

/// What `portcullis check` would say.
fn said(text: &str) -> Vec<String> {
    let document = match Document::from_yaml(text) {
        Ok(document) => document,
        Err(faults) => return faults.iter().map(ToString::to_string).collect(),
    };
    // A misspelt backend is one that is not configured.
    let mut backends = document.backends();
    backends.retain(|backend| backend.as_ref() != "cmr");
    match Policy::compile(&document, &backends) {
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
        Ok(policy) => {
            let warnings = policy.lint(&document).into_iter().map(|fault| fault.to_string());
            let report = policy.run_cases(&document);
            warnings.chain(report.failures().iter().map(ToString::to_string)).collect()
        }
    }
}

/// Whether it begins with line and column, and says what to write behind a semicolon.
fn says_where_and_what_to_do(line: &str) -> bool {
    let mut parts = line.splitn(3, ':');
    let mut number = || parts.next().is_some_and(|part| part.parse::<u64>().is_ok_and(|number| number > 0));
    number() && number() && parts.next().is_some_and(|message| message.contains("; "))
}

#[test]
fn a_policy_without_a_mistake_is_found_to_have_none() {
    assert_eq!(said(GOOD), Vec::<String>::new());
}

#[test]
fn every_planted_mistake_is_found() {
    let mut missed = Vec::new();
    for (instead_of, planted, expected) in PLANTED {
        let text = GOOD.replacen(instead_of, planted, 1);
        assert_ne!(text, GOOD, "{instead_of} is not there");
        let said = said(&text);
        if !said.iter().any(|line| line.contains(expected) && says_where_and_what_to_do(line)) {
            missed.push(format!("{planted:?} should say {expected:?} and says {said:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// What the language reads otherwise than people do, each in a policy of its own, and what is said of it.
const TRAPS: [(&str, &str); 21] = [
    (
        "roles: { r: { opens: [read, write] } }\ntools: { crm: { read: ['*'], write: ['add_*'] } }",
        "gets later open by `read` alone",
    ),
    (
        "roles: { r: { members: { apps: [A] }, opens: [{ tag: read, when: 'caller.kind == \"user\"' }] } }\ntools: { crm: { read: [get] } }",
        "only applications hold the role `r`",
    ),
    (
        "roles: { r: { opens: [{ tag: read, when: 'caller.kind == \"app\"' }] } }\ntools: { crm: { read: [get] } }",
        "only users hold the role `r`",
    ),
    (
        "tags: { read: {} }\nroles: { r: { opens: [read] } }\ntools: {}\nimports: { crm: { meta: true, trust: narrow } }",
        "`trust: narrow` only adds locks",
    ),
    (
        "roles: { base: { members: {}, opens: [read], rate: { calls: 1, per: minute } }, r: { inherits: [base] } }\ntools: { crm: { read: [get] } }",
        "the rate of the role `base` counts for nobody",
    ),
    (
        "roles: { a: { opens: [read] }, b: { opens: [read] } }\ntools: { crm: { read: [get] } }",
        "the roles `a` and `b` hold the same keys",
    ),
    (
        "roles: { r: { on: [crm, erp], opens: [read] }, s: { on: [erp], opens: [write] } }\ntools: { crm: { read: [get] }, erp: { write: [put] } }",
        "the role `r` opens nothing on `erp`",
    ),
    (
        "tenants: { 11111111-1111-4111-8111-111111111111: { roles: [] } }\nroles: { r: { opens: [read] } }\ntools: { crm: { read: [get] } }",
        "is capped to nothing",
    ),
    (
        "roles: { r: { members: { roles: ['A, B'] }, opens: [read] } }\ntools: { crm: { read: [get] } }",
        "`A, B` is one value",
    ),
    ("roles: { r: { opens: [read] } }\ntools: { crm: { read: ['get_a, get_b'] } }", "`get_a, get_b` is one pattern"),
    (
        "roles: { r: { opens: [read] } }\ntools: { crm: { read: [get] } }\ndeny: [{ id: a, tags: [read], unless: [r] }, { id: b, tags: [read], unless: [r], mode: shadow }]",
        "the deny rule `b` records nothing: `a` denies all of it already",
    ),
    (
        "roles: { r: { opens: [read, pii] } }\ntools: { crm: { read: [get], pii: [who] } }\ndeny: [{ id: a, tags: [pii], when: 'args.x == 1' }, { id: b, tags: [pii, read] }]",
        "the deny rule `a` denies nothing more: `b` denies all of it already",
    ),
    (
        "roles: { r: { opens: [read] } }\ntools: { crm: { read: [get] } }\ndeny: [{ id: a, tags: [read] }, { id: b, tags: [read] }]",
        "the deny rule `b` denies nothing more",
    ),
    (
        "roles: { boss: { members: {}, opens: [read] }, r: { inherits: [boss] } }\ntools: { crm: { read: [get] } }\ndeny: [{ id: a, tags: [read], unless: [boss] }]",
        "nobody is a member of `boss`",
    ),
    (
        "tags: { read: { step_up: { max_age: 5s } } }\nroles: { r: { opens: [read] } }\ntools: { crm: { read: [get] } }",
        "too old after less than a minute",
    ),
    (
        "roles: { r: { opens: [read] }, w: { opens: [write] } }\ntools: { crm: { read: ['*_invoice'], write: [add_invoice] } }\ntests: { catalogue: { crm: [get_invoice, add_invoice] } }",
        "no role opens the tool `add_invoice` on its own: it carries `read` and `write`",
    ),
    (
        "roles: { r: { opens: [read] } }\ntools: { crm: { read: [get] } }\ntests: { catalogue: { crm: [get] }, cases: [{ name: opens, as: { roles: [r] }, call: crm/get, expect: allow }] }",
        "no test expects a refusal",
    ),
    (
        "roles: { r: { opens: [read] } }\ntools: { crm: { read: [get] } }\ntests: { never: [{ roles: [x], reach: { tags: [read] } }] }",
        "`never` looks at the tests' catalogue, and there is none",
    ),
    (
        "roles: { r: { opens: [read, admin] } }\ntools: { crm: { read: [get], admin: [reset] } }\ntests: { catalogue: { crm: [get] }, never: [{ roles: [x], reach: { tags: [admin] } }] }",
        "no tool of the tests' catalogue carries `admin`",
    ),
    (
        "roles: { r: { opens: [read] } }\ntools: { crm: { read: [get] } }\ntests: { catalogue: { crm: [get] }, never: [{ roles: [x], reach: { tools: [crm/rest] } }] }",
        "`crm/rest` is not in the tests' catalogue",
    ),
    (
        "tags: { read: {} }\nroles: { r: { opens: [read] } }\ntools: { crm: { read: [get] } }\nimports: { crm: { meta: true, trust: full } }\ntests: { catalogue: { crm: [get] } }",
        "declares what is imported",
    ),
];

#[test]
fn every_trap_is_pointed_out() {
    let mut missed = Vec::new();
    for (text, expected) in TRAPS {
        let said = said(text);
        if !said.iter().any(|line| line.contains(expected) && says_where_and_what_to_do(line)) {
            missed.push(format!("{text}\nshould say {expected:?} and says {said:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n\n"));
}

#[test]
fn a_role_that_is_only_an_exception_to_a_rule_is_no_mistake() {
    let text = "
roles:
  admin: { members: { roles: [Desk.Admin] }, opens: [write, wipe] }
  officer: { members: { roles: [Desk.Privacy] }, opens: [] }
tools: { crm: { write: [add_invoice], wipe: [wipe_customer] } }
deny:
  - { id: wiping-needs-two, tags: [wipe], unless: [officer], reason: Wiping needs the role Desk.Privacy }
tests:
  catalogue: { crm: [add_invoice, wipe_customer] }
  cases:
    - { name: one is not enough, as: { roles: [Desk.Admin] }, sees: { crm: [add_invoice] } }
    - { name: nor the other, as: { roles: [Desk.Privacy] }, sees: { crm: [] } }
    - { name: both are, as: { roles: [Desk.Admin, Desk.Privacy] }, sees: { crm: [add_invoice, wipe_customer] } }
";
    assert_eq!(said(text), Vec::<String>::new());
    let idle = text.replace("unless: [officer], ", "");
    assert!(said(&idle).iter().any(|line| line.contains("the role `officer` opens nothing")), "{:?}", said(&idle));
}
