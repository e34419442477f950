//! Callers without a token: what opens to them, and what never does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on should say where")]

use std::collections::BTreeMap;

use portcullis_policy::{Action, BackendName, Document, Kind, Policy, Subject};
use serde_json::json;

const POLICY: &str = "
tenants: { 11111111-1111-4111-8111-111111111111: {} }
roles:
  anybody: { members: { public: true }, opens: [read, { tag: sized, when: 'args.count <= 10' }, { tag: mine, when: 'caller.tid != \"x\"' }] }
  user:    { members: { roles: [public, anybody] }, opens: [write] }
  reader:  { inherits: [anybody], members: { roles: [Reader] }, opens: [write] }
tools: { docs: { read: [search], write: [edit], sized: [export], mine: [own], pinned: [of_tenant] } }
deny:
  - { id: strangers, tags: [write], when: 'caller.kind == \"public\"' }
tests:
  catalogue: { docs: [search, edit, export, own, untagged] }
  cases:
    - { name: anybody searches, as: { kind: public }, sees: { docs: [search, export] } }
    - { name: in small numbers, as: { kind: public }, call: docs/export, with: { count: 11 }, expect: deny }
    - { name: readers do as well, as: { tid: 11111111-1111-4111-8111-111111111111, roles: [Reader] }, sees: { docs: [search, edit, export, own] } }
    - { name: another tenant does not, as: { tid: 22222222-2222-4222-8222-222222222222, roles: [Reader] }, sees: { docs: [] } }
";

fn backend() -> BackendName {
    BackendName::try_from("docs").unwrap()
}

fn policy(text: &str) -> Policy {
    let document = Document::from_yaml(text).unwrap();
    let policy = Policy::compile(&document, &[backend()]).unwrap();
    assert!(policy.run_cases(&document).failures().is_empty(), "{:?}", policy.run_cases(&document).failures());
    policy
}

fn opens(policy: &Policy, caller: &Subject, tool: &str) -> bool {
    let explained = policy.explain(caller, &backend(), &Action::CallTool { name: tool });
    assert_eq!(
        explained.is_allowed() || tool == "export",
        policy.view(caller, &backend()).tool(tool) || tool == "export"
    );
    explained.is_allowed()
}

#[test]
fn who_brings_no_token_reaches_what_is_opened_to_anybody_and_nothing_else() {
    let policy = policy(POLICY);
    let public = Subject::new(Kind::Public, "", "203.0.113.7");
    assert!(opens(&policy, &public, "search"), "the control");
    for tool in ["edit", "own", "untagged", "no_such_tool"] {
        assert!(!opens(&policy, &public, tool), "{tool}");
    }
}

#[test]
fn no_role_value_makes_somebody_nobody_or_nobody_somebody() {
    let policy = policy(POLICY);
    let roles = ["public", "anybody", "Reader"].map(str::to_owned).to_vec();
    let public = Subject::new(Kind::Public, "", "203.0.113.7").with_roles(roles.clone()).with_groups(roles);
    assert!(!opens(&policy, &public, "edit"), "who brings no token has no role, whatever is said of them");
    let nobody = Subject::new(Kind::User, "11111111-1111-4111-8111-111111111111", "o");
    let program = Subject::new(Kind::App, "11111111-1111-4111-8111-111111111111", "o");
    assert!(!opens(&policy, &nobody, "search") && !opens(&policy, &program, "search"), "a token is not no token");
}

#[test]
fn what_a_condition_or_a_pin_asks_of_nobody_is_not_there() {
    let pinned = POLICY.replace(
        "deny:",
        "pins: [{ id: t, tools: ['docs/search'], argument: /tenant, to: caller.tid, how: set }]\ndeny:",
    );
    let pinned = pinned.replace("sees: { docs: [search, export] }", "sees: { docs: [export] }");
    let pinned = policy(&pinned);
    let public = Subject::new(Kind::Public, "", "203.0.113.7");
    assert!(!pinned.view(&public, &backend()).tool("search"), "there is no tenant to pin to");
    assert!(policy(POLICY).view(&public, &backend()).tool("search"), "the control");
}

#[test]
fn who_can_names_them() {
    let policy = policy(POLICY);
    let document = Document::from_yaml(POLICY).unwrap();
    let items = portcullis_policy::Universe::of(&[&document]).items();
    let who: BTreeMap<String, Vec<String>> = items
        .iter()
        .map(|item| (item.name.clone(), policy.who_can(item).iter().map(|(holder, _)| holder.to_string()).collect()))
        .collect();
    assert!(who["search"].iter().any(|holder| holder == "anybody without a token"), "{}", json!(who));
    assert!(!who["edit"].iter().any(|holder| holder.starts_with("anybody")), "{}", json!(who));
}
