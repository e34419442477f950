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
    let largest = json!({ "a": "x".repeat(4 << 20) });
    let twice = r#"!args.a.contains("b") && !args.a.contains("c")"#;
    assert_eq!(asked(twice, Some(&largest)), Answer::True, "as large as a body is");
}

#[test]
fn what_is_walked_compared_searched_or_copied_is_paid_for() {
    let (text, list) = ("a".repeat(64_000), vec!["a"; 3_000]);
    let object: serde_json::Map<String, Value> = (0..3_000).map(|n| (format!("k{n}"), json!(n))).collect();
    let names: serde_json::Map<String, Value> =
        (0..64).map(|n| (format!("{}{n}", "k".repeat(640)), json!(n))).collect();
    let arguments = json!({
        "text": text, "same": text, "list": list, "twin": list, "object": object, "other": object, "names": names,
        "one": ["x"], "pairs": [list, list],
    });
    for (condition, steps) in [
        ("args.text == args.same", 1_000),
        ("args.text <= args.same", 1_000),
        ("args.text.startsWith(args.same)", 1_000),
        ("args.text.endsWith(args.same)", 1_000),
        (r#"args.text.contains("b")"#, 1_000),
        ("size(args.text) == 64000", 1_000),
        ("args.list == args.twin", 3_000),
        ("args.twin in args.pairs", 3_000),
        (r#"!("b" in args.list)"#, 3_000),
        (r#"args.list.all(x, x == "a")"#, 9_000),
        ("args.object == args.other", 3_000),
        ("args.names == args.names", 64 * 10),
        ("size([args.list]) == 1", 12_000),
        ("size([args.text]) == 1", 1_000),
        ("size([args.object]) == 1", 12_000),
        ("[args.list].all(x, size(x) == 3000)", 24_000),
        ("size([args.list][0]) == 3000", 24_000),
    ] {
        let condition = read(condition).unwrap_or_else(|fault| panic!("{condition}: {fault}"));
        let scene = Scene { arguments: Arguments::Known(&arguments), tool: "", backend: "", caller: &user() };
        let (answer, cost) = (condition.answer(&scene), condition.cost(&scene));
        assert!(
            answer != Answer::Unknown && cost >= steps && cost <= 200_000,
            "{}: {cost} {answer:?}",
            condition.text()
        );
    }
}

#[test]
fn no_arguments_make_a_condition_cost_more_than_its_budget() {
    let (few, many) = (vec!["x"; 4_000], vec!["x"; 40_000]);
    let rows = vec![many.clone(); 4];
    let long = "x".repeat(400_000);
    let arguments = json!({ "ids": few, "owner": many, "rows": rows, "long": long, "same": long, "twin": many });
    let too_long = |answer: &Answer| matches!(answer, Answer::Failed(why) if why.contains("too long"));
    for condition in [
        "args.ids.all(x, args.owner == args.twin)",
        "args.ids.all(x, size([args.owner]) == 1)",
        "args.ids.all(x, [args.owner].exists(y, size(y) > 0))",
        r#"args.ids.all(x, !("y" in args.owner))"#,
        "args.ids.all(x, args.long == args.same)",
        "args.ids.all(x, args.long <= args.same)",
        "args.ids.all(x, args.long.endsWith(args.same))",
        r#"args.ids.all(x, !args.long.contains("y"))"#,
        "args.ids.all(x, size(args.long) > 1)",
        "args.ids.all(x, args.owner.all(y, y == x))",
        // Nothing settles what took too long, and no other item is looked at.
        "args.ids.all(x, args.long == args.same) || true",
        "!(args.ids.all(x, args.long == args.same) && false)",
        "args.rows.exists(r, args.ids.all(x, args.long == args.same))",
    ] {
        let answer = asked(condition, Some(&arguments));
        assert!(too_long(&answer), "{condition}: {answer:?}");
    }
    // What ends at the first item, or at a difference in kind or length, costs little though it is asked each time.
    for (condition, expected) in [
        ("args.ids.all(x, args.owner.exists(y, y == x))", Answer::True),
        ("args.ids.all(x, args.owner != args.ids)", Answer::True),
        ("args.ids.all(x, args.rows[0][7] == x)", Answer::True),
        ("args.ids.all(x, !(args.ids in args.rows))", Answer::True),
        (r#"args.ids.exists(x, x == "y")"#, Answer::False),
    ] {
        assert_eq!(asked(condition, Some(&arguments)), expected, "{condition}");
    }
    let unlike = asked("args.ids.all(x, x != args.owner)", Some(&arguments));
    assert!(matches!(&unlike, Answer::Failed(why) if why.contains("different kinds")), "{unlike:?}");
}
