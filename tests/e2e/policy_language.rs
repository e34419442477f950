//! The whole policy language as clients meet it: conditions, pins, imports, shadow and explanations, between real tokens and
//! a server that keeps every byte it gets. Longer than other files here because it is one test for each part.

use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_tests::backend::{Request, json_answer};
use portcullis_tests::{Backend, World, WorldBuilder};
use serde_json::{Value, json};

/// A server of both eras with these tools.
#[derive(Clone)]
struct Server {
    backend: Backend,
    tools: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    async fn start(tools: Vec<Value>) -> Self {
        let tools = Arc::new(Mutex::new(tools));
        let shared = Arc::clone(&tools);
        let backend = Backend::start(Arc::new(move |request: &Request| {
            let message = request.json();
            let result = match message["method"].as_str().unwrap_or_default() {
                "tools/list" => json!({ "tools": *shared.lock().unwrap() }),
                "prompts/list" => {
                    json!({ "prompts": [{ "name": "brief", "arguments": [{ "name": "who" }, { "name": "day" }] }] })
                }
                "resources/list" => json!({ "resources": [
                    { "uri": "crm://11111111-2222-4333-8444-555555555555/notes", "name": "ours" },
                    { "uri": "crm://99999999-8888-4777-8666-555555555555/notes", "name": "theirs" } ] }),
                "initialize" => {
                    json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} }, "serverInfo": { "name": "x", "version": "1" } })
                }
                "server/discover" => {
                    json!({ "resultType": "complete", "supportedVersions": ["2026-07-28", "2025-11-25"], "capabilities": { "tools": {} }, "ttlMs": 0, "cacheScope": "private" })
                }
                _ => json!({ "content": [{ "type": "text", "text": "done" }], "isError": false }),
            };
            json_answer(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }))
        }));
        Self { backend: backend.await, tools }
    }

    fn set(&self, tools: Vec<Value>) {
        *self.tools.lock().unwrap() = tools;
    }

    /// The calls that have arrived.
    fn calls(&self) -> Vec<Request> {
        let is_call = |request: &Request| {
            ["tools/call", "prompts/get", "resources/read"].iter().any(|method| request.json()["method"] == *method)
        };
        self.backend.requests().into_iter().filter(is_call).collect()
    }

    /// The arguments of the last call that has arrived.
    fn last(&self) -> Value {
        self.calls().last().map_or(Value::Null, |request| request.json()["params"]["arguments"].clone())
    }
}

fn tool(name: &str, properties: &Value) -> Value {
    json!({ "name": name, "inputSchema": { "type": "object", "properties": properties } })
}

/// What has become of a call.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    Arrived,
    /// A result that says so, in words that a model can do something with.
    Refused(String),
    Unknown(String),
    Other(Value),
}

async fn call(world: &World, token: &str, tool: &str, arguments: Value) -> Fate {
    let answer = world.ask(token, "tools/call", json!({ "name": tool, "arguments": arguments })).await;
    let (result, error) = (&answer["result"], &answer["error"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match (&result["isError"], &error["code"]) {
        (Value::Bool(false), _) => Fate::Arrived,
        (Value::Bool(true), _) => Fate::Refused(text(&result["content"][0]["text"])),
        (_, code) if *code == json!(-32602) => Fate::Unknown(text(&error["message"])),
        _ => Fate::Other(answer),
    }
}

fn unknown(tool: &str) -> Fate {
    Fate::Unknown(format!("Unknown tool: {tool}"))
}

async fn tools(world: &World, token: &str) -> Vec<Value> {
    let answer = world.ask(token, "tools/list", json!({})).await;
    answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("no list: {answer}")).clone()
}

async fn listed(world: &World, token: &str) -> Vec<String> {
    tools(world, token).await.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

async fn until(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    for _ in 0..300 {
        if probe().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not come to this: {what}");
}

/// The reason that the trail has for the last decision on a tool.
async fn reason(world: &World, tool: &str) -> String {
    for _ in 0..100 {
        let lines = world.audit(0).await;
        let last = lines.iter().rev().find(|line| line["target"]["name"] == tool && line["decision"].is_string());
        if let Some(line) = last {
            return line["reason"].to_string();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the trail has no decision on {tool}");
}

const CONDITIONS: &str = r#"
  roles:
    Task.Read: { opens: [read] }
    Task.Delete: { opens: [read, { tag: delete, when: 'args.env in ["dev", "staging"] && args.count <= 10' }] }
    Sales: { members: { roles: [Task.Read] }, opens: [{ tag: sales, when: 'caller.claims.department == "sales"' }] }
    robot: { members: { apps: [Task.Read] }, opens: [read, pii] }
    officer: { members: { roles: [Task.All] }, opens: [read, pii, write] }
  tools:
    weather: { read: ["get_*"], delete: [drop_rows], pii: [list_people], sales: [quote], write: [put_row] }
  deny:
    - { id: no-apps, tags: [pii], when: 'caller.kind == "app"', reason: "Programs may not read personal data" }
    - { id: no-prod, tags: [write], when: 'args.env == "prod"', reason: "Production is changed by a release" }
"#;

#[tokio::test]
async fn a_key_needs_true_and_a_deny_rule_fires_on_true_and_on_failure() {
    let names = ["get_row", "drop_rows", "list_people", "quote", "put_row"];
    let server = Server::start(names.iter().map(|name| tool(name, &json!({}))).collect()).await;
    let world = WorldBuilder::new(&server.backend).entra("claims: [department]").policy(CONDITIONS).start().await;
    let of = |person: &str, claims: Value| world.identity.mint(person, &claims);
    let (dora, alice) = (of("dora", Value::Null), of("alice", Value::Null));
    let fixed = Fate::Refused("Not allowed with these arguments".to_owned());
    let by_release = Fate::Refused("Production is changed by a release".to_owned());
    for (token, name, arguments, fate) in [
        (&dora, "drop_rows", json!({ "env": "dev", "count": 10 }), Fate::Arrived),
        (&dora, "drop_rows", json!({ "env": "dev", "count": 11 }), fixed.clone()),
        (&dora, "drop_rows", json!({ "env": "prod", "count": 1 }), fixed.clone()),
        (&dora, "drop_rows", json!({ "env": "dev" }), fixed.clone()),
        (&dora, "drop_rows", json!({ "env": ["dev"], "count": 1 }), fixed.clone()),
        (&dora, "drop_rows", json!({ "env": "dev", "count": "1" }), fixed.clone()),
        (&dora, "drop_rows", json!({}), fixed),
        (&alice, "put_row", json!({ "env": "dev" }), Fate::Arrived),
        (&alice, "put_row", json!({ "env": "prod" }), by_release.clone()),
        (&alice, "put_row", json!({}), by_release.clone()),
        (&alice, "put_row", json!({ "env": ["prod"] }), by_release),
    ] {
        let before = server.calls().len();
        assert_eq!(call(&world, token, name, arguments.clone()).await, fate, "{name} {arguments}");
        assert_eq!(server.calls().len() - before, usize::from(fate == Fate::Arrived), "{name} {arguments}");
    }
    assert_eq!(listed(&world, &dora).await, ["get_row", "drop_rows"], "what hangs on the arguments is listed");
    assert!(reason(&world, "put_row").await.contains("deny rule `no-prod`"));

    let (sales, rita) = (of("rita", json!({ "department": "sales" })), of("rita", Value::Null));
    assert_eq!(call(&world, &sales, "quote", json!({})).await, Fate::Arrived);
    assert_eq!(listed(&world, &sales).await, ["get_row", "quote"]);
    for token in [&rita, &of("rita", json!({ "department": "hr" })), &of("rita", json!({ "department": ["sales"] }))] {
        assert_eq!(call(&world, token, "quote", json!({})).await, unknown("quote"), "what cannot be true is not there");
        assert_eq!(listed(&world, token).await, ["get_row"]);
    }
    let robot = of(
        "",
        json!({ "idtyp": "app", "scp": null, "roles": ["Task.Read"], "azp": "5e7f1ce0-0000-4000-8000-00000000abcd" }),
    );
    assert_eq!(listed(&world, &robot).await, ["get_row"]);
    assert_eq!(call(&world, &robot, "list_people", json!({})).await, unknown("list_people"));
    assert_eq!(call(&world, &alice, "list_people", json!({})).await, Fate::Arrived, "the control");
}

#[tokio::test]
async fn listed_claims_are_carried_in_the_gateways_own_tokens() {
    let server = Server::start(vec![tool("get_row", &json!({}))]).await;
    let policy = r#"
  roles: { Task.Read: { opens: [{ tag: read, when: 'caller.claims.preferred_username.startsWith("rita@")' }] } }
  tools: { weather: { read: [get_row] } }
"#;
    let world =
        WorldBuilder::new(&server.backend).entra("claims: [preferred_username]").own_tokens_only().policy(policy);
    let world = world.start().await;
    let (rita, walt) = (world.sign_in("rita").await.access, world.sign_in("walt").await.access);
    assert_eq!(call(&world, &rita, "get_row", json!({})).await, Fate::Arrived);
    assert_eq!(call(&world, &walt, "get_row", json!({})).await, unknown("get_row"));
}

const PINS: &str = r#"
  roles: { Task.Read: { opens: [read] } }
  tools: { weather: { read: ["*"] } }
  prompts: { weather: { read: ["*"] } }
  resources: { weather: { read: ["crm://**"] } }
  pins:
    - { id: tenant, tools: ["weather/get_*"], argument: /tenant_id, to: caller.tid, how: set, except: [weather/get_status] }
    - { id: owner, tools: [weather/search], argument: /filter/owner, to: caller.oid, how: require }
    - { id: unit, tools: [weather/report], argument: /unit, to: caller.claims.department, how: set }
    - { id: who, prompts: [weather/brief], argument: /who, to: caller.oid, how: set }
    - { id: notes, resources: ["weather/crm://{tenant}/notes"], argument: tenant, to: caller.tid, how: require }
"#;
const TENANT: &str = "11111111-2222-4333-8444-555555555555";

async fn pinned() -> (World, Server) {
    let header = |name: &str| json!({ "type": "string", "x-mcp-header": name });
    let mut invoice =
        tool("get_invoice", &json!({ "id": {}, "tenant_id": header("Tenant"), "region": header("Region") }));
    invoice["inputSchema"]["required"] = json!(["id", "tenant_id"]);
    let server = Server::start(vec![
        invoice,
        tool("get_status", &json!({ "x": {} })),
        tool("get_other", &json!({ "tenant": {} })),
        json!({ "name": "get_hidden", "inputSchema": { "oneOf": [{ "properties": { "tenant_id": {} } }] } }),
        tool("search", &json!({ "filter": { "type": "object", "properties": { "owner": {}, "text": {} } } })),
        tool("report", &json!({ "unit": {} })),
    ])
    .await;
    let world = WorldBuilder::new(&server.backend).entra("claims: [department]").policy(PINS).start().await;
    until("the catalogue is read", async || world.probe("/readyz").await.contains("catalogue of 6 tools")).await;
    (world, server)
}

#[tokio::test]
async fn what_is_pinned_is_set_whatever_the_caller_says_and_not_shown_to_them() {
    let (world, server) = pinned().await;
    let rita = world.identity.mint("rita", &json!({ "tid": TENANT }));
    for sent in
        [json!({ "id": 1.5 }), json!({ "id": 1.5, "tenant_id": "evil" }), json!({ "id": 1.5, "tenant_id": { "a": 1 } })]
    {
        assert_eq!(call(&world, &rita, "get_invoice", sent.clone()).await, Fate::Arrived, "{sent}");
        assert_eq!(server.last(), json!({ "id": 1.5, "tenant_id": TENANT }), "{sent}");
    }
    let respelled = call(&world, &rita, "get_invoice", json!({ "id": 1.5, "TENANT_ID": "evil" })).await;
    assert_eq!(
        respelled,
        Fate::Refused("Not allowed with these arguments".to_owned()),
        "a server could take it for one"
    );
    assert_eq!(call(&world, &rita, "get_status", json!({ "tenant_id": "x" })).await, Fate::Arrived);
    assert_eq!(server.last(), json!({ "tenant_id": "x" }), "an exception keeps its arguments");
    let shown = tools(&world, &rita).await;
    let names: Vec<&str> = shown.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["get_invoice", "get_status", "search"], "what cannot be pinned is not there");
    let schema = &shown[0]["inputSchema"];
    assert_eq!((schema["properties"].get("tenant_id"), &schema["required"]), (None, &json!(["id"])));
    assert!(schema["properties"]["region"].is_object() && schema["properties"]["id"].is_object());
    for shut in ["get_other", "get_hidden", "report"] {
        assert_eq!(call(&world, &rita, shut, json!({ "tenant_id": TENANT, "unit": "x" })).await, unknown(shut));
    }
    let sales = world.identity.mint("rita", &json!({ "department": "sales" }));
    assert_eq!(call(&world, &sales, "report", json!({ "unit": "hr" })).await, Fate::Arrived);
    assert_eq!(server.last(), json!({ "unit": "sales" }));
}

#[tokio::test]
async fn what_is_required_is_refused_when_it_is_absent_or_another() {
    let (world, server) = pinned().await;
    let rita = world.identity.mint("rita", &Value::Null);
    let own = json!({ "filter": { "owner": "0a11ce00-0000-4000-8000-000000000002", "text": "x" } });
    assert_eq!(call(&world, &rita, "search", own.clone()).await, Fate::Arrived);
    assert_eq!(server.last(), own);
    let arrived = server.calls().len();
    for sent in [
        json!({}),
        json!({ "filter": {} }),
        json!({ "filter": { "owner": "somebody else" } }),
        json!({ "filter": 3 }),
        json!({ "filter": { "owner": null } }),
        json!({ "filter": { "owner": own["filter"]["owner"], "Owner": "somebody else" } }),
        json!({ "filter": own["filter"], "FILTER": { "owner": "somebody else" } }),
    ] {
        let refused = Fate::Refused("Not allowed with these arguments".to_owned());
        assert_eq!(call(&world, &rita, "search", sent.clone()).await, refused, "{sent}");
    }
    assert_eq!(server.calls().len(), arrived);
    assert!(reason(&world, "search").await.contains("pin `owner`"));
    let schema = tools(&world, &rita).await.into_iter().find(|tool| tool["name"] == "search").unwrap();
    assert!(
        schema["inputSchema"]["properties"]["filter"]["properties"]["owner"].is_object(),
        "callers have to give it"
    );
}

#[tokio::test]
async fn headers_that_mirror_arguments_are_made_anew_of_those_that_leave() {
    let (world, server) = pinned().await;
    let rita = world.identity.mint("rita", &json!({ "tid": TENANT }));
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} });
    let send = async |tool: &str, arguments: Value, headers: &[(&str, &str)]| {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": arguments, "_meta": meta } });
        let mut all = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", tool)];
        all.extend(headers);
        let answer = world.post_with(&rita, &message, &all).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        server.calls().pop().unwrap()
    };
    let arguments = json!({ "id": 1, "region": "eu" });
    let forged = [("mcp-param-tenant", "evil"), ("mcp-param-region", "eu"), ("mcp-param-other", "x")];
    let arrived = send("get_invoice", arguments, &forged).await;
    assert_eq!(arrived.header("mcp-param-tenant").as_deref(), Some(TENANT));
    assert_eq!(arrived.header("mcp-param-region").as_deref(), Some("eu"));
    assert_eq!(arrived.header("mcp-param-other"), None);
    let arrived = send("get_invoice", json!({ "id": 1 }), &[("mcp-param-region", "us")]).await;
    assert_eq!(
        (arrived.header("mcp-param-region"), arrived.header("mcp-param-tenant").as_deref()),
        (None, Some(TENANT))
    );
    let arrived = send("get_status", json!({ "x": "1" }), &[("mcp-param-x", "1")]).await;
    assert_eq!(arrived.header("mcp-param-x").as_deref(), Some("1"), "what is not pinned keeps its own");
}

#[tokio::test]
async fn prompts_and_resources_are_pinned_too() {
    let (world, server) = pinned().await;
    let rita = world.identity.mint("rita", &json!({ "tid": TENANT }));
    let prompts = world.ask(&rita, "prompts/list", json!({})).await;
    assert_eq!(prompts["result"]["prompts"][0]["arguments"], json!([{ "name": "day" }]));
    let brief = json!({ "name": "brief", "arguments": { "who": "you", "day": "mon" } });
    assert!(world.ask(&rita, "prompts/get", brief).await["result"].is_object());
    assert_eq!(server.last(), json!({ "who": "0a11ce00-0000-4000-8000-000000000002", "day": "mon" }));
    let resources = world.ask(&rita, "resources/list", json!({})).await;
    let names: Vec<&Value> =
        resources["result"]["resources"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["ours"], "another tenant's are not listed");
    let read = async |tenant: &str| {
        world.ask(&rita, "resources/read", json!({ "uri": format!("crm://{tenant}/notes") })).await
    };
    assert!(read(TENANT).await["result"].is_object());
    let theirs = read("99999999-8888-4777-8666-555555555555").await;
    let nothing = read("00000000-8888-4777-8666-555555555555").await;
    assert_eq!((&theirs["error"]["code"], &nothing["error"]["code"]), (&json!(-32002), &json!(-32002)), "{theirs}");
}

/// As FastMCP 3 and 4 tag a tool, and as 2 did.
fn tagged(name: &str, place: &str, tags: &[&str]) -> Value {
    let mut tool = tool(name, &json!({}));
    tool["_meta"][place] = json!({ "tags": tags });
    tool
}

fn annotated(name: &str, annotations: Value) -> Value {
    let mut tool = tool(name, &json!({}));
    tool["annotations"] = annotations;
    tool
}

async fn importing(import: &str, operators: &str, tools: Vec<Value>) -> (World, Server) {
    let policy = format!(
        "
  tags: {{ read: {{}}, write: {{}}, destructive: {{}}, pii: {{}} }}
  roles: {{ Task.Read: {{ opens: [read] }}, Task.All: {{ opens: [read, write, destructive, pii] }} }}
  imports: {{ weather: {{ {import} }} }}
  tools: {{ weather: {{ {operators} }} }}
"
    );
    let server = Server::start(tools).await;
    let world = WorldBuilder::new(&server.backend).backend_more("catalogue_refresh: 1s").policy(&policy).start().await;
    until("the catalogue is read", async || world.probe("/readyz").await.contains("catalogue of")).await;
    (world, server)
}

#[tokio::test]
async fn tags_of_fastmcp_open_with_full_trust_and_only_lock_without() {
    let tools = || {
        vec![
            tagged("get_a", "fastmcp", &["read"]),
            tagged("get_b", "_fastmcp", &["read"]),
            tagged("get_c", "fastmcp", &["read", "pii"]),
            tagged("get_odd", "fastmcp", &["read", "foreign"]),
            tool("get_plain", &json!({})),
            json!({ "name": "get_bad", "inputSchema": { "type": "object" }, "_meta": { "fastmcp": { "tags": "read" } } }),
        ]
    };
    for (import, operators, rita_sees, alice_sees) in [
        ("meta: true, trust: full", "", vec!["get_a", "get_b"], vec!["get_a", "get_b", "get_c"]),
        ("meta: true, trust: narrow", "", vec![], vec![]),
        (
            "meta: true, trust: narrow",
            "read: ['get_*']",
            vec!["get_a", "get_b", "get_plain"],
            vec!["get_a", "get_b", "get_c", "get_plain"],
        ),
        (
            "meta: true, trust: full, unknown: drop",
            "",
            vec!["get_a", "get_b", "get_odd"],
            vec!["get_a", "get_b", "get_c", "get_odd"],
        ),
    ] {
        let (world, server) = importing(import, operators, tools()).await;
        for (person, sees) in [("rita", &rita_sees), ("alice", &alice_sees)] {
            let token = world.identity.mint(person, &Value::Null);
            assert_eq!(listed(&world, &token).await, *sees, "{import} {operators} {person}");
            for name in ["get_a", "get_b", "get_c", "get_odd", "get_plain", "get_bad"] {
                let open = sees.contains(&name);
                let before = server.calls().len();
                let fate = if open { Fate::Arrived } else { unknown(name) };
                assert_eq!(call(&world, &token, name, json!({})).await, fate, "{import} {operators} {person} {name}");
                assert_eq!(server.calls().len() - before, usize::from(open));
            }
        }
        if !import.contains("drop") {
            let log = world.gateway.said();
            assert!(log.contains("declares the tag `foreign`"), "the operator is told of what stays shut: {log}");
        }
    }
}

#[tokio::test]
async fn annotations_are_read_with_the_defaults_of_the_protocol() {
    let tools = vec![
        annotated("get_a", json!({ "readOnlyHint": true })),
        annotated("get_b", json!({ "title": "No hints" })),
        annotated("get_c", json!({ "readOnlyHint": false, "destructiveHint": false })),
        annotated("get_d", json!({ "readOnlyHint": "yes" })),
        tool("get_e", &json!({})),
    ];
    let (world, _server) = importing("annotations: true, trust: narrow", "read: ['get_*']", tools).await;
    let (rita, alice) = (world.identity.mint("rita", &Value::Null), world.identity.mint("alice", &Value::Null));
    assert_eq!(listed(&world, &rita).await, ["get_a", "get_c"], "what may destroy is locked");
    assert_eq!(listed(&world, &alice).await, ["get_a", "get_b", "get_c", "get_e"]);
}

#[tokio::test]
async fn an_imported_lock_stays_until_the_operator_takes_it_off() {
    let tools = |tags: &[&str]| vec![tagged("get_a", "fastmcp", tags), tagged("get_b", "fastmcp", &["read"])];
    let (mut world, server) = importing("meta: true, trust: full", "", tools(&["read", "pii"])).await;
    let rita = world.identity.mint("rita", &Value::Null);
    assert_eq!(listed(&world, &rita).await, ["get_b"]);
    server.set(tools(&["read"]));
    let lists = || server.backend.requests().iter().filter(|request| request.json()["method"] == "tools/list").count();
    let read = lists();
    until("it is read again", async || lists() > read + 1).await;
    assert_eq!(listed(&world, &rita).await, ["get_b"], "the server does not take the lock off");
    world.restart().await;
    until("the catalogue is read", async || world.probe("/readyz").await.contains("catalogue of 2 tools")).await;
    assert_eq!(listed(&world, &rita).await, ["get_b"], "nor does a restart");
    let shown = said(&world.command(&["tools"]).await);
    assert!(shown.contains("pii (kept"), "the operator sees it: {shown}");
    let approved = world.command(&["tools", "approve", "get_a"]).await;
    assert!(approved.status.success(), "{}", said(&approved));
    until("the lock is off", async || listed(&world, &rita).await == ["get_a", "get_b"]).await;
    let again = world.command(&["tools", "approve", "get_a"]).await;
    assert!(!again.status.success(), "there is nothing more to approve: {}", said(&again));
}

#[tokio::test]
async fn an_imported_lock_that_cannot_be_written_stays_all_the_same() {
    let tools = |tags: &[&str]| vec![tagged("get_a", "fastmcp", tags), tagged("get_b", "fastmcp", &["read"])];
    let (world, server) = importing("meta: true, trust: full", "", tools(&["read"])).await;
    let rita = world.identity.mint("rita", &Value::Null);
    assert_eq!(listed(&world, &rita).await, ["get_a", "get_b"]);
    // A directory in the place of the file: neither read nor replaced.
    let file = world.directory().join("state/imported-weather.json");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    server.set(tools(&["read", "pii"]));
    until("the lock is on", async || listed(&world, &rita).await == ["get_b"]).await;
    until("it cannot be written", async || world.gateway.said().contains("imported tags cannot be written")).await;
    server.set(tools(&["read"]));
    let lists = || server.backend.requests().iter().filter(|request| request.json()["method"] == "tools/list").count();
    let read = lists();
    until("it is read again", async || lists() > read + 1).await;
    assert_eq!(listed(&world, &rita).await, ["get_b"], "the server does not take the lock off");
    assert_eq!(call(&world, &rita, "get_a", json!({})).await, unknown("get_a"));
    // Once the place is free it is written, with the next change.
    std::fs::remove_dir(&file).unwrap();
    server.set(vec![tagged("get_b", "fastmcp", &["read"])]);
    until("it is written", async || std::fs::read_to_string(&file).is_ok_and(|text| text.contains("pii"))).await;
}

#[tokio::test]
async fn a_tag_in_another_place_is_a_change_of_the_tool() {
    let policy = "
  tags: { read: {}, pii: {} }
  roles: { Task.Read: { opens: [read] } }
  imports: { weather: { meta: true, trust: full } }
  tools: {}
";
    let server = Server::start(vec![tagged("get_a", "fastmcp", &[]), tagged("get_b", "fastmcp", &["read"])]).await;
    let more = "drift: { lock: weather.lock.json }, catalogue_refresh: 1s";
    let world = WorldBuilder::new(&server.backend).backend_more(more).policy(policy).before(&["tools", "pin"]).start();
    let world = world.await;
    until("the catalogue is read", async || world.probe("/readyz").await.contains("catalogue of 2 tools")).await;
    let rita = world.identity.mint("rita", &Value::Null);
    assert_eq!(listed(&world, &rita).await, ["get_b"]);
    let mut grown = tagged("get_a", "fastmcp", &[]);
    grown["_meta"]["_fastmcp"] = json!({ "tags": ["read"] });
    server.set(vec![grown, tagged("get_b", "fastmcp", &["read"])]);
    until("it is quarantined", async || world.probe("/readyz").await.contains("1 of them quarantined")).await;
    assert_eq!(listed(&world, &rita).await, ["get_b"], "a tag that nobody approved opens nothing");
    assert_eq!(call(&world, &rita, "get_a", json!({})).await, unknown("get_a"));
    assert_eq!(call(&world, &rita, "get_b", json!({})).await, Fate::Arrived, "the control");
}

#[tokio::test]
async fn what_is_pinned_is_not_completed_and_no_spelling_of_a_uri_gets_around_it() {
    let (world, server) = pinned().await;
    let rita = world.identity.mint("rita", &json!({ "tid": TENANT }));
    let complete = async |reference: Value| {
        let argument = json!({ "name": "x", "value": "" });
        let context = json!({ "arguments": { "who": "you", "tenant": "99999999-8888-4777-8666-555555555555" } });
        let params = json!({ "ref": reference, "argument": argument, "context": context });
        world.ask(&rita, "completion/complete", params).await
    };
    let completions =
        || server.backend.requests().iter().filter(|one| one.json()["method"] == "completion/complete").count();
    for reference in [
        json!({ "type": "ref/prompt", "name": "brief" }),
        json!({ "type": "ref/resource", "uri": "crm://{tenant}/notes" }),
        json!({ "type": "ref/resource", "uri": "crm://{a}/{b}" }),
    ] {
        let answer = complete(reference.clone()).await;
        assert!(answer["error"].is_object(), "{reference}: {answer}");
    }
    assert_eq!(completions(), 0);
    for reference in [
        json!({ "type": "ref/prompt", "name": "greet" }),
        json!({ "type": "ref/resource", "uri": "crm://{tenant}/orders" }),
    ] {
        let answer = complete(reference.clone()).await;
        assert!(answer["result"].is_object(), "{reference}: {answer}");
    }
    assert_eq!(completions(), 2, "the control");
    let theirs = "99999999-8888-4777-8666-555555555555";
    for (uri, open) in [
        (format!("crm://{TENANT}/notes?x=1"), true),
        (format!("crm://{theirs}/notes?x=1"), false),
        (format!("crm://{theirs}/notes/"), false),
        (format!("CRM://{theirs}/notes"), false),
        (format!("crm://{theirs}/note%73"), false),
    ] {
        let answer = world.ask(&rita, "resources/read", json!({ "uri": uri })).await;
        assert_eq!(answer["result"].is_object(), open, "{uri}: {answer}");
    }
}

#[tokio::test]
async fn a_policy_that_explains_tells_what_is_needed_of_tools_that_exist_and_of_no_others() {
    let names = ["get_a", "drop_a", "list_people"];
    let policy = r#"
  denials: explain
  roles: { Task.Read: { opens: [read, pii] } }
  tools: { weather: { read: ["get_*"], delete: ["drop_*"], admin: ["drop_*"], pii: ["list_*"] } }
  deny: [{ id: no-pii, tags: [pii], reason: "Personal data is for the officer" }]
"#;
    let server = Server::start(names.iter().map(|name| tool(name, &json!({}))).collect()).await;
    let builder = WorldBuilder::new(&server.backend).backend_more("drift: { lock: weather.lock.json }").policy(policy);
    let world = builder.before(&["tools", "pin"]).start().await;
    until("the catalogue is read", async || world.probe("/readyz").await.contains("catalogue of 3 tools")).await;
    let rita = world.identity.mint("rita", &Value::Null);
    for (name, told) in [
        ("drop_a", "Not open: drop_a (needs tag admin, tag delete)"),
        ("list_people", "Personal data is for the officer"),
        ("drop_b", "Unknown tool: drop_b"),
        ("nothing", "Unknown tool: nothing"),
    ] {
        assert_eq!(call(&world, &rita, name, json!({})).await, Fate::Unknown(told.to_owned()));
    }
    assert_eq!(listed(&world, &rita).await, ["get_a"], "lists stay as they are");
    assert_eq!(server.calls().len(), 0);
    assert_eq!(call(&world, &rita, "get_a", json!({})).await, Fate::Arrived, "the control");
}

#[tokio::test]
async fn what_is_in_shadow_records_and_changes_nothing() {
    let policy = r#"
  tags: { read: {}, bulk: { mode: shadow }, write: {} }
  roles:
    Task.Read: { opens: [read] }
    writer: { members: { roles: [Task.Read] }, opens: [write], mode: shadow }
  tools: { weather: { read: ["get_*", "export_*"], bulk: ["export_*"], write: ["put_*"] } }
  deny: [{ id: small, tags: [read], when: 'has(args.count) && args.count > 5', mode: shadow }]
"#;
    let names = ["get_a", "export_a", "put_a"];
    let server = Server::start(names.iter().map(|name| tool(name, &json!({}))).collect()).await;
    let world = WorldBuilder::new(&server.backend).policy(policy).start().await;
    let rita = world.identity.mint("rita", &Value::Null);
    let shadowed = async || {
        let metrics = world.probe("/metrics").await;
        let line = metrics.lines().find(|line| line.starts_with("portcullis_shadow_total{")).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    for (name, arguments, fate, recorded) in [
        ("get_a", json!({ "count": 3 }), Fate::Arrived, None),
        ("get_a", json!({ "count": 6 }), Fate::Arrived, Some("in shadow: deny rule `small`")),
        ("export_a", json!({}), Fate::Arrived, Some("in shadow: tag `bulk` is not open")),
        ("put_a", json!({}), unknown("put_a"), Some("in shadow: role `writer` would open tag `write`")),
    ] {
        let before = shadowed().await;
        assert_eq!(call(&world, &rita, name, arguments.clone()).await, fate, "{name} {arguments}");
        assert_eq!(shadowed().await - before, u64::from(recorded.is_some()), "{name} {arguments}");
        if let Some(recorded) = recorded {
            // The line of the call before may be the last one yet.
            let mut found = reason(&world, name).await;
            for _ in 0..100 {
                if found.contains(recorded) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                found = reason(&world, name).await;
            }
            assert!(found.contains(recorded), "{recorded} is not in {found}");
        }
    }
    assert_eq!(listed(&world, &rita).await, ["get_a", "export_a"]);
}
