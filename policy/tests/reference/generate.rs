//! Policies, callers and requests by the dice: small, so that they meet.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_policy::Kind;
use serde_json::{Value, json};

use crate::condition::Expr;
use crate::meaning::needs_catalogue;
use crate::model::{
    Ask, Caller, Deny, Grant, Import, Items, Known, Members, Model, Open, PROMPTS, Pin, ROLES, Role, Set, TAGS,
    TENANTS, TOOLS, TagDecl, To, Tool, URIS,
};

/// `SplitMix64`: the same throws for the same seed, on every machine.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// True so many times in a hundred.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn some(&mut self, of: usize, percent: usize) -> Set {
        (0..of).filter(|_| self.chance(percent)).collect()
    }

    fn at_least_one(&mut self, of: &[usize], percent: usize) -> Set {
        let picked: Set = of.iter().copied().filter(|_| self.chance(percent)).collect();
        if picked.is_empty() { Set::from([self.pick(of)]) } else { picked }
    }

    fn maybe<T>(&mut self, percent: usize, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.chance(percent).then(|| make(self))
    }

    fn times<T>(&mut self, below: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(below)).map(|_| make(self)).collect()
    }
}

const VALUES: [&str; 4] = ["V0", "V1", "r0", "r3"];
const PATTERNS: [&str; 6] = ["get_*", "*_a", "*", "get_a", "put_a", "odd"];
/// No one of them is inside another.
const ARGUMENTS: [&[&str]; 4] = [&["tenant"], &["filter", "owner"], &["x/y"], &["env"]];
const SOURCES: [&str; 5] = ["kind", "tid", "oid", "client", "claims.area"];

fn literal(value: impl Into<Value>) -> Box<Expr> {
    Box::new(Expr::Literal(value.into()))
}

fn question(dice: &mut Dice, in_deny: bool) -> Expr {
    let args = |path| Box::new(Expr::Args(path));
    let caller = |field| Box::new(Expr::Caller(field));
    match dice.below(if in_deny { 20 } else { 19 }) {
        0 | 1 => Expr::Compare(dice.pick(&["==", "!="]), args(&["env"]), literal(dice.pick(&["dev", "prod"]))),
        2 => Expr::In(args(&["env"]), Box::new(Expr::List(vec![*literal("dev"), *caller("client")]))),
        3 => Expr::Compare(
            dice.pick(&["<", "<=", ">", ">="]),
            args(&["n"]),
            literal(dice.pick(&[json!(3), json!(2.5), json!(-1)])),
        ),
        4 => Expr::Args(&["flag"]),
        5 => Expr::Compare("==", args(&["filter", "owner"]), caller("oid")),
        6 => Expr::Compare("==", caller("kind"), literal(dice.pick(&["app", "user", "public"]))),
        7 => {
            Expr::Has(dice.pick(&[args(&["env"]), args(&["filter", "owner"]), caller("guest"), caller("claims.area")]))
        }
        8 => dice.pick(&[Expr::Caller("guest"), Expr::Compare("==", caller("claims.area"), literal("t1"))]),
        9 => Expr::In(literal("c1"), caller("acrs")),
        10 => Expr::Compare("<", caller("auth_time"), literal(500)),
        11 => {
            Expr::Compare("==", dice.pick(&[args(&["tenant"]), args(&["x/y"])]), caller(dice.pick(&["tid", "client"])))
        }
        12 => Expr::Compare("==", caller("guest"), args(&["flag"])),
        13 => Expr::Text(dice.pick(&["startsWith", "endsWith", "contains"]), Box::new(Expr::Tool), literal("get_")),
        14 => Expr::Compare(
            "==",
            Box::new(dice.pick(&[Expr::Tool, Expr::Backend])),
            literal(dice.pick(&["get_a", "one"])),
        ),
        15 => {
            let test =
                Expr::Compare("==", Box::new(Expr::Item), dice.pick(&[literal("a"), caller("client"), args(&["env"])]));
            Expr::Each(dice.pick(&["all", "exists"]), args(&["list"]), Box::new(test))
        }
        16 => Expr::Compare(">", Box::new(Expr::Size(args(&["list"]))), literal(1)),
        17 => dice.pick(&[
            Expr::In(literal("a"), args(&["list"])),
            Expr::In(literal("a"), args(&["filter"])),
            Expr::Compare("==", args(&["list"]), Box::new(Expr::List(vec![*literal("a"), *literal("b")]))),
            Expr::Compare("!=", args(&["list"]), Box::new(Expr::List(vec![*literal(1), *caller("client")]))),
        ]),
        18 => Expr::Compare(dice.pick(&["==", "!="]), args(&["env"]), literal(Value::Null)),
        _ => Expr::In(literal("V0"), caller("roles")),
    }
}

fn condition(dice: &mut Dice, in_deny: bool, depth: usize) -> Expr {
    if depth == 0 || dice.chance(50) {
        return question(dice, in_deny);
    }
    let mut part = || Box::new(condition(dice, in_deny, depth - 1));
    let (a, b, c) = (part(), part(), part());
    match dice.below(4) {
        0 => Expr::Not(a),
        1 => Expr::And(a, b),
        2 => Expr::Or(a, b),
        _ => Expr::If(a, b, c),
    }
}

fn tag(dice: &mut Dice) -> TagDecl {
    let (acr, max_age) = (dice.maybe(10, |_| "c1"), dice.maybe(10, |_| 600));
    TagDecl { acr, max_age, shadow: dice.chance(15) }
}

fn role(dice: &mut Dice, number: usize) -> Role {
    let on = dice.at_least_one(&[0, 1], 70);
    let places: Vec<usize> = on.iter().copied().collect();
    let opens = dice.times(7, |dice| Open {
        tag: dice.below(TAGS.len()),
        on: dice.maybe(15, |dice| dice.at_least_one(&places, 50)),
        when: dice.maybe(35, |dice| condition(dice, false, 2)),
    });
    let grants = dice.times(2, |dice| Grant {
        backend: dice.pick(&places),
        tool: dice.pick(&TOOLS),
        ignoring: dice.some(TAGS.len(), 40),
    });
    let members = dice.maybe(50, |dice| Members {
        roles: dice.times(3, |dice| dice.pick(&VALUES)),
        apps: dice.times(3, |dice| dice.pick(&VALUES)),
        groups: dice.some(2, 25),
        public: dice.chance(25),
    });
    let rate = dice.maybe(20, |dice| {
        let per = dice.pick(&[("second", 1), ("minute", 60), ("hour", 3600)]);
        (dice.pick(&[1, 60, 120, 3600]), per, dice.maybe(50, |dice| dice.pick(&[1, 5, 100])))
    });
    Role { members, inherits: dice.some(number, 25), on, opens, grants, rate, shadow: dice.chance(12) }
}

fn deny(dice: &mut Dice) -> Deny {
    Deny {
        tags: dice.at_least_one(&[0, 1, 2, 3], 20),
        on: dice.maybe(30, |dice| dice.at_least_one(&[0, 1], 50)),
        when: dice.maybe(70, |dice| condition(dice, true, 2)),
        unless: dice.some(ROLES.len(), 15),
        reason: dice.maybe(50, |dice| format!("reason {}", dice.below(9))),
        shadow: dice.chance(30),
    }
}

/// One pin for each argument at most: two for one do not load.
fn pins(dice: &mut Dice) -> Vec<Pin> {
    let mut pins = Vec::new();
    let to = |dice: &mut Dice| match dice.below(4) {
        0 => To::Value(dice.pick(&[json!("dev"), json!(3), json!(true)])),
        _ => To::Caller(dice.pick(&SOURCES)),
    };
    for argument in ARGUMENTS {
        if dice.chance(12) {
            let patterns = vec![(dice.below(2), dice.pick(&PATTERNS)), (0, dice.pick(&["get_a", "*"]))];
            let except = dice.times(2, |dice| (dice.below(2), dice.pick(&TOOLS)));
            pins.push(Pin { items: Items::Tools, patterns, except, argument, to: to(dice), set: dice.chance(60) });
        }
    }
    for argument in [&["tenant"][..], &["who"]] {
        if dice.chance(8) {
            let patterns = vec![(dice.below(2), dice.pick(&["*", "brief"]))];
            let except = dice.times(2, |dice| (0, dice.pick(&PROMPTS)));
            pins.push(Pin { items: Items::Prompts, patterns, except, argument, to: to(dice), set: dice.chance(50) });
        }
    }
    if dice.chance(15) {
        let patterns = vec![(dice.below(2), dice.pick(&["r://{area}/x", "r://{area}/y/z"]))];
        let to = dice.pick(&[To::Caller("claims.area"), To::Caller("client"), To::Value(json!("t1"))]);
        let except = dice.times(2, |dice| (0, dice.pick(&URIS)));
        pins.push(Pin { items: Items::Resources, patterns, except, argument: &["area"], to, set: false });
    }
    pins
}

pub(crate) fn schema(dice: &mut Dice) -> Value {
    let mut schema = json!({ "type": "object", "properties": {} });
    let mut required = Vec::new();
    let owner = json!({ "type": "object", "properties": { "owner": { "x-mcp-header": "Owner" }, "n": {} }, "required": ["n", "owner"] });
    let filter = dice.pick(&[
        owner.clone(),
        owner,
        json!({ "$ref": "#/$defs/f" }),
        json!({ "oneOf": [{ "properties": { "owner": {} } }] }),
    ]);
    for (name, property) in [
        ("env", json!({ "type": "string", "x-mcp-header": "Env" })),
        ("n", json!({ "type": "number", "x-mcp-header": "N" })),
        ("flag", json!({ "x-mcp-header": "Flag" })),
        ("tenant", dice.pick(&[json!({ "x-mcp-header": "Tenant" }), json!({})])),
        ("x/y", json!({ "description": "odd" })),
        ("filter", filter),
    ] {
        if dice.chance(85) {
            schema["properties"][name] = property;
            required.extend(dice.maybe(30, |_| name));
        }
    }
    if dice.chance(70) {
        schema["required"] = json!(required);
    }
    schema
}

pub(crate) fn tool(dice: &mut Dice, name: &'static str) -> Tool {
    let declared = |dice: &mut Dice| match dice.below(12) {
        0 => json!("read"),
        1 => json!([1, "read"]),
        2 => json!(["foreign", "read"]),
        _ => json!(dice.some(TAGS.len(), 30).iter().map(|tag| TAGS[*tag]).collect::<Vec<_>>()),
    };
    let meta = dice.maybe(60, |dice| {
        let mut meta = json!({ "other": 1 });
        for place in ["fastmcp", "_fastmcp"] {
            match dice.below(4) {
                0 => meta[place] = json!({ "version": "1" }),
                1 | 2 => meta[place] = json!({ "tags": declared(dice) }),
                _ => {}
            }
        }
        meta
    });
    let annotations = dice.maybe(60, |dice| {
        let mut hints = json!({ "title": "A tool" });
        for name in ["readOnlyHint", "destructiveHint"] {
            match dice.below(9) {
                0 => hints[name] = json!("yes"),
                1..=3 => hints[name] = json!(true),
                4 | 5 => hints[name] = json!(false),
                _ => {}
            }
        }
        hints
    });
    Tool { name, schema: dice.maybe(75, schema), meta, annotations }
}

fn known(dice: &mut Dice, imports: bool) -> Known {
    let mut known = Known { tools: Vec::new(), kept: BTreeMap::new(), held_back: BTreeSet::new() };
    for name in TOOLS {
        if dice.chance(90) {
            known.tools.push(tool(dice, name));
        }
        if imports && dice.chance(15) {
            known.kept.insert(name, dice.some(TAGS.len(), 30));
        }
        if dice.chance(6) {
            known.held_back.insert(name);
        }
    }
    known
}

pub(crate) fn model(dice: &mut Dice) -> Model {
    let mut tagged = BTreeSet::new();
    for _ in 0..3 + dice.below(7) {
        let what = match dice.below(6) {
            0 => (Items::Prompts, dice.below(2), dice.pick(&["*", "brief", "gre*"]), dice.below(TAGS.len())),
            1 => (
                Items::Resources,
                dice.below(2),
                dice.pick(&["r://**", "r://t1/*", "r://*/x", "r://t1/x"]),
                dice.below(TAGS.len()),
            ),
            _ => (Items::Tools, dice.below(2), dice.pick(&PATTERNS), dice.below(TAGS.len())),
        };
        tagged.insert(what);
    }
    let tenants = dice.maybe(30, |dice| {
        let mut cap = || dice.maybe(50, |dice| dice.some(ROLES.len(), 70));
        BTreeMap::from([(0, cap()), (1, cap())])
    });
    let import = |dice: &mut Dice| {
        let (meta, full) = (dice.chance(70), dice.chance(50));
        Import { meta, annotations: !meta || dice.chance(40), full, drop: dice.chance(40) }
    };
    let imports = (0..2).filter_map(|backend| dice.maybe(20, |dice| (backend, import(dice)))).collect();
    let mut model = Model {
        explain: dice.chance(40),
        shadow: dice.chance(5),
        tags: (0..TAGS.len()).map(|_| tag(dice)).collect(),
        tenants,
        roles: (0..ROLES.len()).map(|number| role(dice, number)).collect(),
        tagged,
        imports,
        denies: dice.times(3, deny),
        pins: pins(dice),
        known: BTreeMap::new(),
    };
    for backend in 0..2 {
        let percent = if needs_catalogue(&model, backend) { 85 } else { 20 };
        if dice.chance(percent) {
            let known = known(dice, model.imports.contains_key(&backend));
            model.known.insert(backend, known);
        }
    }
    model
}

pub(crate) fn caller(dice: &mut Dice) -> Caller {
    Caller {
        kind: dice.pick(&[Kind::User, Kind::User, Kind::User, Kind::App, Kind::Public]),
        tenant: if dice.chance(4) { 2 } else { dice.below(TENANTS.len() - 1) },
        oid: dice.pick(&["me", "you"]),
        client: dice.maybe(70, |dice| dice.pick(&["dev", "t1", "a"])),
        roles: dice.times(6, |dice| dice.pick(&["V0", "V1", "r0", "r1", "r2", "r3", "nothing"])),
        groups: dice.some(2, 30),
        scopes: dice.maybe(35, |dice| dice.some(TAGS.len(), 80)),
        guest: dice.maybe(60, |dice| dice.chance(50)),
        acrs: dice.maybe(60, |_| "c1").into_iter().collect(),
        auth_time: dice.maybe(70, |dice| dice.pick(&[0, 400, 900])),
        area: dice.maybe(70, |dice| dice.pick(&[json!("t1"), json!("t2"), json!(3), Value::Null])),
    }
}

fn args(dice: &mut Dice) -> Value {
    let mut args = json!({});
    let values = [
        ("env", vec![json!("dev"), json!("prod"), json!(null), json!(["prod"])]),
        ("n", vec![json!(2), json!(3), json!(2.5), json!("3"), json!(40)]),
        ("flag", vec![json!(true), json!(false), json!("true")]),
        (
            "list",
            vec![
                json!(["a", "b"]),
                json!([]),
                json!(["a", "a"]),
                json!([1, "a"]),
                json!(["a", ["b"]]),
                json!([1.0, 2]),
                json!("a"),
            ],
        ),
        (
            "filter",
            vec![
                json!({ "owner": "me" }),
                json!({ "owner": "you", "n": 1 }),
                json!({}),
                json!(3),
                json!({ "a": 1 }),
                json!({ "owner": "me", "Owner": "you" }),
                json!({ "A": 1 }),
            ],
        ),
        ("tenant", vec![json!(TENANTS[0]), json!("dev"), json!(3), json!(true)]),
        ("x/y", vec![json!("t1"), json!("app")]),
        ("who", vec![json!("me"), json!("dev")]),
    ];
    for (name, from) in values {
        if dice.chance(65) {
            args[name] = dice.pick(&from);
        }
    }
    if dice.chance(8) {
        // What a server may take for another argument.
        args[dice.pick(&["ENV", "e\u{200b}nv", "n_", "Flag", "LIST", "Filter", "ten-ant", "X/Y", "WHO"])] =
            json!("dev");
    }
    args
}

pub(crate) fn ask(dice: &mut Dice) -> Ask {
    let backend = dice.below(2);
    match dice.below(8) {
        0 => Ask { items: Items::Prompts, backend, name: dice.pick(&PROMPTS), args: args(dice) },
        // A caller may write arguments that a resource does not have.
        1 => Ask { items: Items::Resources, backend, name: dice.pick(&URIS), args: args(dice) },
        _ => Ask { items: Items::Tools, backend, name: dice.pick(&TOOLS), args: args(dice) },
    }
}
