use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::subject::{Kind, Subject};

fn read(text: &str) -> Result<Condition, String> {
    Condition::parse(text, Vocabulary { roles: true, claims: None })
}

fn user() -> Subject {
    Subject::new(Kind::User, "t-1", "o-1")
        .with_roles(vec!["Task.Read".to_owned()])
        .with_client("c-1")
        .with_claims(BTreeMap::from([("department".to_owned(), json!("sales"))]))
}

fn asked(text: &str, arguments: Option<&Value>) -> Answer {
    let condition = read(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    let arguments = arguments.map_or(Arguments::Unknown, Arguments::Known);
    condition.answer(&Scene { arguments, tool: "get_x", backend: "crm", caller: &user() })
}

#[test]
fn conditions_about_arguments_have_the_answers_that_one_expects() {
    let arguments = json!({ "env": "dev", "count": 3, "ratio": 0.5, "tags": ["a", "b"], "numbers": [1.0, 2.5], "deep": { "x": null, "on": true } });
    for (text, expected) in [
        (r#"args.env == "dev""#, true),
        (r#"args.env != "dev""#, false),
        (r#"args.env in ["dev", "staging"] && args.count <= 10"#, true),
        ("args.count > 3", false),
        ("args.count >= 3.0 && args.ratio < 1", true),
        ("-args.count == -3", true),
        (r#"args.env.startsWith("d") && args.env.endsWith("v") && args.env.contains("e")"#, true),
        (r#"args.tags.exists(t, t == "b") && args.tags.all(t, t in ["a", "b"])"#, true),
        (r#"args.tags.all(t, t == "a")"#, false),
        (r#""a" in args.tags && size(args.tags) == 2 && args.tags[1] == "b""#, true),
        (r#"args.tags == ["a", "b"] && args.tags != ["a"] && args.tags != ["b", "a"]"#, true),
        (r"args.numbers == [1, 2.5]", true),
        (r"has(args.env) && !has(args.nothing)", true),
        (r#"args.deep.on && args.deep.x == null && args["deep"]["on"]"#, true),
        (r"args.deep.on ? args.count == 3 : false", true),
        (r#"tool == "get_x" && backend == "crm""#, true),
        (r#"caller.kind == "user" && caller.tid == "t-1" && caller.oid == "o-1" && caller.client == "c-1""#, true),
        (r#""Task.Read" in caller.roles && caller.claims.department == "sales""#, true),
        (r"has(caller.guest) || has(caller.claims.department)", true),
    ] {
        let expected = if expected { Answer::True } else { Answer::False };
        assert_eq!(asked(text, Some(&arguments)), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_answered_fails_and_is_never_false() {
    let arguments = json!({ "env": ["prod"], "nested": [["prod"]], "n": 1, "s": "x" });
    for text in [
        r#"args.env == "prod""#,
        r#"args.env != "prod""#,
        r#"args.nested == ["prod"]"#,
        r#"args.nested != ["prod"]"#,
        r"args.missing == 1",
        r"!(args.missing == 1)",
        r#"args.n < "2""#,
        r#"args.n in ["a"]"#,
        r"args.s",
        r#"args.n.startsWith("1")"#,
        r"args.s.x == 1",
        r#"args.env[7] == "x""#,
        r"caller.guest",
        r"!caller.guest",
        r"caller.auth_time > 0",
        r#""c1" in caller.acrs"#,
        r#"caller.claims.nothing == "x""#,
    ] {
        assert!(matches!(asked(text, Some(&arguments)), Answer::Failed(_)), "{text}");
    }
    // A side that settles it outweighs what is wrong with the other.
    assert_eq!(asked("args.missing == 1 || args.n == 1", Some(&arguments)), Answer::True);
    assert_eq!(asked("args.missing == 1 && args.n == 2", Some(&arguments)), Answer::False);
}

#[test]
fn without_arguments_only_what_does_not_hang_on_them_is_known() {
    for (text, expected) in [
        (r#"args.env == "dev""#, Answer::Unknown),
        (r#"!(args.env == "dev")"#, Answer::Unknown),
        (r#"args.env == "dev" && caller.kind == "app""#, Answer::False),
        (r#"args.env == "dev" || caller.kind == "user""#, Answer::True),
        (r#"has(args.x) ? true : caller.kind == "user""#, Answer::Unknown),
        (r#"caller.kind == "user""#, Answer::True),
    ] {
        assert_eq!(asked(text, None), expected, "{text}");
    }
    assert!(matches!(asked("caller.guest", None), Answer::Failed(_)));
    assert_eq!(asked("caller.guest && args.x == 1", None), Answer::Unknown);
}

#[test]
fn what_a_condition_may_not_say_is_refused_with_what_it_may() {
    let claims = BTreeSet::from(["department".to_owned()]);
    let strict = Vocabulary { roles: false, claims: Some(&claims) };
    for (text, word) in [
        ("", "no CEL expression"),
        ("args.x ==", "no CEL expression"),
        ("arguments.x == 1", "`args`"),
        ("caller == 1", "`caller.tid`"),
        ("caller.email == \"x\"", "`auth_time`"),
        ("caller.roles == []", "deny rules"),
        ("caller.claims.salary > 1", "`entra.claims`"),
        ("args.x + 1 == 2", "`+` cannot be used"),
        ("args.s.matches(\"(a+)+$\")", "`matches` cannot be used"),
        ("args.list.map(x, x) == []", "`all` and `exists`"),
        ("args.list.filter(x, x == 1) == []", "`all` and `exists`"),
        ("{\"a\": 1} == args", "one by one"),
        ("b\"x\" == args.x", "compare texts"),
    ] {
        let fault = Condition::parse(text, strict).unwrap_err();
        assert!(fault.contains(word), "{text}: {fault}");
    }
    assert!(Condition::parse("caller.claims.department == \"x\"", strict).is_ok(), "the control");
}

#[test]
fn hostile_conditions_and_arguments_cost_little() {
    for text in [
        format!("{}true{}", "(".repeat(5000), ")".repeat(5000)),
        format!("{}true", "!".repeat(5000)),
        format!("args{} == 1", ".a".repeat(900)),
        vec!["true"; 400].join(" && "),
        vec!["["; 900].join(""),
    ] {
        assert!(read(&text).is_err(), "{}…", text.get(..40).unwrap());
    }
    let nested = r#"args.a.all(x, args.a.all(y, args.a.all(z, x + "" == z)))"#.replace(" + \"\"", "");
    let many: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
    assert!(matches!(asked(&nested, Some(&json!({ "a": vec!["x"; 2000] }))), Answer::Failed(_)));
    assert!(matches!(asked(&nested, Some(&json!({ "a": many }))), Answer::False | Answer::Failed(_)));
    let long = "a".repeat(4 << 20);
    assert_eq!(asked("args.a.contains(\"b\")", Some(&json!({ "a": long }))), Answer::False);
}
