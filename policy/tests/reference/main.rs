//! The compiled policy against a reference that was written from the rules of the language (`meaning.rs`): over random
//! policies, callers and requests both say the same, in every part of what they say. Longer than other files here because it
//! asks each part.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::struct_excessive_bools,
    clippy::unnecessary_box_returns,
    reason = "a test that cannot go on should say where"
)]

mod condition;
mod generate;
mod meaning;
mod model;

use std::collections::{BTreeMap, BTreeSet};

use generate::Dice;
use meaning::{Meaning, Verdict};
use model::{Ask, BACKENDS, Caller, Items, Known, Model, PROMPTS, TAGS, TOOLS, Tool, URIS, backend_name, compile};
use portcullis_policy::{
    Act, Action, BackendName, DenialKind, Document, Holder, Item, ItemKind, Kind, Permit, Policy, Reason, Subject,
    differences,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// When everything is asked.
const NOW: u64 = 1000;

#[derive(Debug)]
struct Request<'a> {
    backend: BackendName,
    ask: &'a Ask,
    args: String,
}

impl<'a> Request<'a> {
    fn new(ask: &'a Ask) -> Self {
        Self { backend: backend_name(ask.backend), ask, args: ask.args.to_string() }
    }
}

impl Act for Request<'_> {
    fn backend(&self) -> &BackendName {
        &self.backend
    }

    fn action(&self) -> Action<'_> {
        action(self.ask)
    }

    fn arguments(&self) -> Option<&str> {
        Some(&self.args)
    }
}

fn action(ask: &Ask) -> Action<'_> {
    match ask.items {
        Items::Tools => Action::CallTool { name: ask.name },
        Items::Prompts => Action::GetPrompt { name: ask.name },
        Items::Resources => Action::ReadResource { uri: ask.name },
    }
}

/// What the compiled policy says, in the words of the reference.
fn verdict(policy: &Policy, subject: &Subject, ask: &Ask) -> Verdict {
    let name = |tag: &str| TAGS.into_iter().find(|known| *known == tag).unwrap();
    let would_open = |reasons: &[Reason]| -> BTreeSet<(String, &'static str)> {
        let one = |reason: &Reason| match reason {
            Reason::ShadowRole(role, tag) => (role.to_string(), name(tag.as_ref())),
            other => panic!("{other} is no role in shadow"),
        };
        reasons.iter().map(one).collect()
    };
    let denial = match policy.authorize_at(subject, Request::new(ask), NOW) {
        Ok(permitted) => return allowed(policy, permitted.permit(), ask),
        Err(denial) => denial,
    };
    let would_open = would_open(denial.shadow());
    match denial.kind() {
        DenialKind::ScopeMissing { scopes } => {
            Verdict::Challenge { scopes: scopes.iter().map(|scope| name(scope.as_ref())).collect() }
        }
        DenialKind::Refused { told } => Verdict::Refused { told: told.clone(), would_open },
        DenialKind::NotOpen => Verdict::NotOpen { explained: denial.explained().map(str::to_owned), would_open },
        DenialKind::NotKnownYet => Verdict::NotKnownYet,
    }
}

fn allowed(policy: &Policy, permit: &Permit, ask: &Ask) -> Verdict {
    let recorded = permit.shadow().iter().map(|reason| match reason {
        _ if policy.is_shadow() => "the policy".to_owned(),
        Reason::Denied(id, _) | Reason::DenyFailed(id, _) => format!("deny rule `{id}`"),
        Reason::ShadowTag(_) => "a tag".to_owned(),
        other => panic!("{other} cannot be in shadow"),
    });
    let headers = permit.mirrored().map(|said| said.iter().cloned().collect::<BTreeMap<_, _>>());
    let own = if ask.items == Items::Resources { json!({}) } else { ask.args.clone() };
    let sends = permit.arguments().map_or(own, |text| serde_json::from_str(text).unwrap());
    Verdict::Allow { sends, headers, recorded: recorded.collect() }
}

/// What the reference says; of a policy that only records, whether it would have refused, and not by what.
fn expected(meaning: &Meaning<'_>, ask: &Ask) -> Verdict {
    match meaning.decide(ask) {
        Verdict::Allow { sends, headers, recorded } if meaning.model.shadow && !recorded.is_empty() => {
            Verdict::Allow { sends, headers, recorded: BTreeSet::from(["the policy".to_owned()]) }
        }
        other => other,
    }
}

fn listed(policy: &Policy, subject: &Subject, ask: &Ask) -> bool {
    let backend = backend_name(ask.backend);
    let view = policy.view(subject, &backend);
    match ask.items {
        Items::Tools => view.tool(ask.name),
        Items::Prompts => view.prompt(ask.name),
        Items::Resources => view.resource(ask.name),
    }
}

/// Everything that both say of one request.
fn agree(model: &Model, policy: &Policy, caller: &Caller, ask: &Ask) -> Verdict {
    let (meaning, subject) = (Meaning { model, caller, now: NOW }, caller.subject());
    let context = || format!("{ask:?}\n{caller:?}\n{}\n{:?}", model.written(), model.known);
    let expected = expected(&meaning, ask);
    assert_eq!(verdict(policy, &subject, ask), expected, "found, expected: {}", context());
    assert_eq!(listed(policy, &subject, ask), expected.is_listed(), "listed: {}", context());
    let (backend, request) = (backend_name(ask.backend), Request::new(ask));
    let explained = policy.explain_call(&subject, &backend, &action(ask), request.arguments(), NOW);
    match (explained.verdict(), policy.authorize_at(&subject, Request::new(ask), NOW)) {
        (Ok(said), Ok(done)) => assert_eq!(said.to_string(), done.permit().to_string(), "{}", context()),
        (Err(said), Err(done)) => {
            assert_eq!((said.kind(), said.to_string()), (done.kind(), done.to_string()), "{}", context());
        }
        (said, done) => panic!("explained {said:?}, decided {done:?}: {}", context()),
    }
    let word = match &expected {
        Verdict::Allow { .. } => "allow: ",
        Verdict::Challenge { .. } => "challenge: ",
        _ => "deny: ",
    };
    assert!(explained.to_string().starts_with(word), "{explained}: {}", context());
    expected
}

/// A policy and some requests; each of what is found goes to `count`.
fn round(seed: u64, requests: usize, mut count: impl FnMut(&Model, &Caller, &Verdict)) {
    let mut dice = Dice(seed);
    let model = generate::model(&mut dice);
    let policy = model.compiled();
    let mut caller = generate::caller(&mut dice);
    for request in 0..requests {
        if request % 4 == 0 {
            caller = generate::caller(&mut dice);
        }
        count(&model, &caller, &agree(&model, &policy, &caller, &generate::ask(&mut dice)));
    }
}

proptest! {
    #[test]
    fn the_whole_language_means_what_the_reference_says(seed in any::<u64>()) {
        round(seed, 24, |_, _, _| {});
    }

    #[test]
    fn schemas_and_prompts_are_shown_without_what_is_set(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let (model, caller) = (generate::model(&mut dice), generate::caller(&mut dice));
        let (policy, meaning, subject) = (model.compiled(), Meaning { model: &model, caller: &caller, now: NOW }, caller.subject());
        for (backend, known) in &model.known {
            let name = backend_name(*backend);
            let view = policy.view(&subject, &name);
            for tool in known.tools.iter().filter(|tool| !known.held_back.contains(tool.name)) {
                // What the backend lists to this caller may be another schema than the one that is known.
                let schema = generate::schema(&mut dice);
                let text = schema.to_string();
                let shown = view.tool_schema(tool.name, &text).ok();
                let shown = shown.map(|changed| serde_json::from_str::<Value>(&changed.unwrap_or(text)).unwrap());
                prop_assert_eq!(shown, meaning.shown_schema(*backend, tool.name, &schema), "{} {}", tool.name, schema);
            }
        }
        for (backend, prompt) in (0..2).flat_map(|backend| PROMPTS.map(|prompt| (backend, prompt))) {
            let hidden = policy.view(&subject, &backend_name(backend)).hidden_prompt_arguments(prompt);
            prop_assert_eq!(hidden, meaning.hidden_arguments(backend, prompt));
        }
    }

    #[test]
    fn the_most_generous_rate_counts(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let (model, caller) = (generate::model(&mut dice), generate::caller(&mut dice));
        let (policy, meaning) = (model.compiled(), Meaning { model: &model, caller: &caller, now: NOW });
        for backend in 0..2 {
            let rate = policy.rate(&caller.subject(), &backend_name(backend));
            let found = rate.map(|rate| (u64::from(rate.calls) * 3600 / rate.per.as_secs(), rate.burst));
            let expected = meaning::rate(&meaning, backend).map(|(calls, seconds, burst)| (u64::from(calls) * 3600 / seconds, burst));
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_policys_own_tests_go_by_the_same_meaning(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let mut model = generate::model(&mut dice);
        let tools = [0, 1].map(|_| TOOLS.map(|tool| generate::tool(&mut dice, tool)));
        let catalogue = |backend: usize| tools[backend].iter().map(Tool::entry).collect::<Vec<_>>();
        model.known = (0..2).filter(|backend| meaning::needs_catalogue(&model, *backend)).map(|backend| {
            (backend, Known { tools: tools[backend].to_vec(), kept: BTreeMap::new(), held_back: BTreeSet::new() })
        }).collect();
        let mut cases = Vec::new();
        let mut nevers = Vec::new();
        for number in 0..6 {
            let (caller, ask) = (generate::caller(&mut dice), generate::ask(&mut dice));
            let meaning = Meaning { model: &model, caller: &caller, now: 0 };
            cases.push(case(&meaning, &ask, number));
            nevers.push(never(&meaning));
        }
        let document = |cases: &[Value], nevers: &[Value]| {
            let mut written = model.written();
            written["tests"] = json!({ "catalogue": { BACKENDS[0]: catalogue(0), BACKENDS[1]: catalogue(1) }, "cases": cases, "never": nevers });
            Document::from_yaml(&written.to_string()).unwrap()
        };
        let failures = |cases: &[Value], nevers: &[Value]| {
            let document = document(cases, nevers);
            compile(&document).run_cases(&document).failures().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        prop_assert_eq!(failures(&cases, &[]), Vec::<String>::new(), "{}", json!(cases));
        // The control: a test that expects something else fails.
        let mut wrong = cases[0].clone();
        wrong["expect"] = json!(if cases[0]["expect"] == "deny" { "allow" } else { "deny" });
        wrong.as_object_mut().unwrap().remove("sends");
        prop_assert_eq!(failures(&[wrong], &[]).len(), 1);
        for (never, is_broken) in nevers {
            prop_assert_eq!(failures(&[], std::slice::from_ref(&never)).len(), usize::from(is_broken), "{} {}", never, model.written());
        }
    }

    #[test]
    fn who_gets_through_is_named_by_who_can_and_what_changes_by_the_comparison(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let old = Model { shadow: false, ..generate::model(&mut dice) };
        let other = generate::model(&mut dice);
        let new = match seed % 4 {
            0 => Model { roles: other.roles, ..old.clone() },
            1 => Model { denies: other.denies, ..old.clone() },
            2 => Model { tagged: other.tagged, ..old.clone() },
            _ => Model { tags: other.tags, tenants: other.tenants, ..old.clone() },
        };
        let (was, is) = (old.compiled(), new.compiled());
        let items = everything();
        let differences = differences(&was, &is, &items.iter().map(|(_, item)| item.clone()).collect());
        let caller = generate::caller(&mut dice);
        for value in ["V0", "V1", "r0", "r3"] {
            let caller = Caller { roles: vec![value], groups: BTreeSet::new(), ..caller.clone() };
            let of = |model: &Model, ask: &Ask| Meaning { model, caller: &caller, now: NOW }.decide(ask);
            for (ask, item) in &items {
                let roles: &[&str] = if caller.kind == Kind::Public { &[] } else { &[value] };
                let is_caller = |holder: &Holder| {
                    holder.roles() == roles
                        && holder.groups().is_empty()
                        && holder.kind() == caller.kind
                        && holder.tenant().is_none_or(|tenant| tenant == caller.subject().tenant())
                };
                let (before, after) = (of(&old, ask), of(&new, ask));
                if before.is_listed() {
                    prop_assert!(was.who_can(item).iter().any(|(holder, _)| is_caller(holder)), "{item} {value} {}", old.written());
                }
                if before.is_listed() != after.is_listed() {
                    let told = differences.iter().any(|difference| is_caller(&difference.holder) && difference.item == *item);
                    prop_assert!(told, "{item} {value}\n{}\n{}", old.written(), new.written());
                }
            }
        }
    }
}

/// A case of a policy's tests, as the reference expects it.
fn case(meaning: &Meaning<'_>, ask: &Ask, number: usize) -> Value {
    let verdict = meaning.decide(ask);
    let key = match ask.items {
        Items::Tools => "call",
        Items::Prompts => "prompt",
        Items::Resources => "resource",
    };
    let expect = match &verdict {
        Verdict::Allow { .. } => "allow",
        Verdict::Challenge { .. } => "challenge",
        _ => "deny",
    };
    let seen = |backend: usize| -> Vec<&str> {
        let ask = |name| Ask { items: Items::Tools, backend, name, args: json!({}) };
        TOOLS.into_iter().filter(|name| meaning.decide(&ask(name)).is_listed()).collect()
    };
    let mut case = json!({
        "name": format!("case {number}"), "as": meaning.caller.written(), key: format!("{}/{}", BACKENDS[ask.backend], ask.name),
        "expect": expect, "sees": { BACKENDS[0]: seen(0), BACKENDS[1]: seen(1) },
    });
    if ask.items != Items::Resources {
        case["with"] = ask.args.clone();
        if let Verdict::Allow { sends, .. } = verdict {
            case["sends"] = sends;
        }
    }
    case
}

/// A `never`, and whether it is broken.
fn never(meaning: &Meaning<'_>) -> (Value, bool) {
    let mut never = meaning.caller.written();
    let tag = meaning.caller.roles.len() + meaning.caller.groups.len();
    never["reach"] = json!({ "tags": [TAGS[tag % 4]], "tools": ["one/odd"] });
    let forbidden = |backend: usize, tool: &'static str| {
        (backend, tool) == (0, "odd") || meaning.tags_of_tool(backend, tool).contains(&(tag % 4))
    };
    let seen = |backend, name| meaning.decide(&Ask { items: Items::Tools, backend, name, args: json!({}) }).is_listed();
    let all = (0..2).flat_map(|backend| TOOLS.map(|tool| (backend, tool)));
    let is_broken = all.into_iter().any(|(backend, tool)| forbidden(backend, tool) && seen(backend, tool));
    (never, is_broken)
}

/// A request for each item that there is.
fn everything() -> Vec<(Ask, Item)> {
    let of = |items, names: &[&'static str], kind| {
        let both = names.iter().flat_map(|name| [(0, *name), (1, *name)]).collect::<Vec<_>>().into_iter();
        both.map(move |(backend, name)| {
            let item = Item { backend: backend_name(backend), kind, name: name.to_owned() };
            (Ask { items, backend, name, args: json!({}) }, item)
        })
        .collect::<Vec<_>>()
    };
    let mut all = of(Items::Tools, &TOOLS, ItemKind::Tool);
    all.extend(of(Items::Prompts, &PROMPTS, ItemKind::Prompt));
    all.extend(of(Items::Resources, &URIS, ItemKind::Resource));
    all
}

/// What a million cases are made of; each has to come often enough to mean something.
#[derive(Debug, Default)]
struct Tally(BTreeMap<&'static str, usize>);

impl Tally {
    fn count(&mut self, model: &Model, caller: &Caller, verdict: &Verdict) {
        let mut add = |what, when: bool| *self.0.entry(what).or_default() += usize::from(when);
        add("cases", true);
        let conditional = |role: &model::Role| role.opens.iter().any(|open| open.when.is_some());
        add(
            "with conditions",
            model.roles.iter().any(conditional) || model.denies.iter().any(|deny| deny.when.is_some()),
        );
        add("with pins", !model.pins.is_empty());
        add("with imports", !model.imports.is_empty());
        add("with tenants", model.tenants.is_some());
        let opens = matches!(verdict, Verdict::Allow { .. });
        add("without a token", caller.kind == Kind::Public);
        add("allowed without a token", opens && caller.kind == Kind::Public);
        match verdict {
            Verdict::Allow { headers, recorded, .. } => {
                add("allowed", true);
                add("allowed with pinned arguments", headers.is_some());
                add("allowed and recorded in shadow", !recorded.is_empty());
            }
            Verdict::Challenge { .. } => add("challenged", true),
            Verdict::Refused { .. } => add("refused for the arguments", true),
            Verdict::NotOpen { explained, would_open } => {
                add("not open", true);
                add("not open and explained", explained.is_some());
                add("not open and opened by a role in shadow", !would_open.is_empty());
            }
            Verdict::NotKnownYet => add("not known yet", true),
        }
    }
}

fn tally(cases: usize) -> Tally {
    let mut tally = Tally::default();
    for seed in 0.. {
        if tally.0.get("cases").is_some_and(|counted| *counted >= cases) {
            break;
        }
        round(seed, 16, |model, caller, verdict| tally.count(model, caller, verdict));
    }
    tally
}

/// A generator that opens nothing would pass all of the above.
fn is_varied(tally: &Tally) {
    let cases = tally.0["cases"];
    for (what, counted) in &tally.0 {
        assert!(counted * 1000 >= cases, "{what}: {counted} of {cases}");
    }
    assert_eq!(tally.0.len(), 16, "{tally:?}");
}

#[test]
fn the_dice_reach_every_outcome() {
    is_varied(&tally(6_000));
}

/// `cargo test --release -p portcullis-policy --test reference -- --ignored --nocapture`
#[test]
#[ignore = "takes a minute in a release build; `make test-all` runs it"]
fn a_million_cases_are_decided_as_the_reference_says() {
    let tally = tally(1_000_000);
    for (what, counted) in &tally.0 {
        eprintln!("{counted:>9} {what}");
    }
    is_varied(&tally);
}
