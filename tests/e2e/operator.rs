//! The gateway as its operator sees it: commands, probes, metrics, logs, audit.

use std::path::Path;
use std::process::{Command, Output};

use portcullis_tests::process::{binary, file};
use portcullis_tests::{Backend, World, WorldBuilder};
use serde_json::{Value, json};

async fn command(arguments: &[&str], directory: &Path) -> Output {
    tokio::process::Command::new(binary("portcullis")).args(arguments).current_dir(directory).output().await.unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn the_samples_are_fine() {
    let root = file("..");
    for sample in [
        "gateway.yaml",
        "examples/quickstart/gateway.yaml",
        "examples/policies/task-roles.yaml",
        "examples/policies/registry.yaml",
    ] {
        let output = command(&["check", sample], &root).await;
        assert!(output.status.success(), "{sample}: {}", said(&output));
        assert!(!said(&output).contains("warning"), "{sample}: {}", said(&output));
    }
}

#[tokio::test]
async fn the_servers_of_a_backend_are_named_once_and_in_one_way() {
    let directory = tempfile::tempdir().unwrap();
    let sample = std::fs::read_to_string(file("../gateway.yaml")).unwrap();
    let cases = [
        ("urls: [http://a:9000/mcp, http://b:9000/mcp]", ""),
        ("urls: [http://a:9000/mcp, http://a:9000/mcp]", "is in `urls` twice"),
        ("urls: [http://a:9000/mcp, 'ftp://b']", "`ftp://b` is not an http or https URL"),
        ("urls: []", "backend `weather` has no `url`"),
        ("path: /mcp", "backend `weather` has no `url`"),
        ("{ url: http://a:9000/mcp, urls: [http://b:9000/mcp] }", "has `url` and `urls`"),
    ];
    for (written, fault) in cases {
        let text = sample.replace("url: http://127.0.0.1:9000/mcp", written.trim_matches(['{', '}', ' ']));
        let text = text.replace("mcp, urls:", "mcp\n    urls:");
        std::fs::write(directory.path().join("gateway.yaml"), text).unwrap();
        let output = command(&["check", "gateway.yaml"], directory.path()).await;
        assert_eq!(output.status.success(), fault.is_empty(), "{written}: {}", said(&output));
        assert!(said(&output).contains(fault), "{written}: {}", said(&output));
    }
}

#[tokio::test]
async fn clients_and_operators_are_not_given_one_socket() {
    let directory = tempfile::tempdir().unwrap();
    let sample = std::fs::read_to_string(file("../gateway.yaml")).unwrap();
    let listen = "  # admin_listen: 127.0.0.1:9090";
    assert!(sample.contains(listen));
    for (admin, is_fine) in
        [("127.0.0.1:8081", true), ("127.0.0.1:8080", false), ("0.0.0.0:8080", false), ("'[::]:8080'", false)]
    {
        let text = sample.replace(listen, &format!("  admin_listen: {admin}\n  #"));
        std::fs::write(directory.path().join("gateway.yaml"), text).unwrap();
        let commands: &[&str] = if is_fine { &["check"] } else { &["check", "serve"] };
        for name in commands {
            let file: &[&str] = if *name == "serve" { &["--config", "gateway.yaml"] } else { &["gateway.yaml"] };
            let output = command(&[&[*name], file].concat(), directory.path()).await;
            assert_eq!(output.status.success(), is_fine, "{name} {admin}: {}", said(&output));
            assert_eq!(said(&output).contains("different ports"), !is_fine, "{name} {admin}: {}", said(&output));
        }
    }
}

#[tokio::test]
async fn every_fault_of_a_file_is_reported_at_once_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let text = "server: { public_url: 'http://mcp.example.com/x', listen: nonsense }\n\
                entra: { tenant_id: common, client_id: x, client_secret_file: missing }\n\
                oauth: { access_token_lifetime: 1h, key_lifetime: 1h }\n\
                backends:\n  weather: { url: 'ftp://x' }\n\
                policy:\n  roles: { A: { opens: [reed] }, B: { inherits: [C] } }\n  tags: { read: {} }\n  tools: { weathr: { read: [x] } }\n";
    std::fs::write(directory.path().join("bad.yaml"), text).unwrap();
    let output = command(&["check", "bad.yaml"], directory.path()).await;
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    for fault in [
        "bad.yaml:1:",
        "bad.yaml:2:",
        "missing",
        "15m",
        "730d",
        "ftp://x",
        "did you mean `read`?",
        "role `C` is not declared",
        "did you mean `weather`?",
    ] {
        assert!(said.contains(fault), "`{fault}` is not in:\n{said}");
    }
}

#[tokio::test]
async fn a_duplicate_role_or_an_unknown_key_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    for (text, fault) in [
        ("roles: { A: { opens: [a] }, A: { opens: [b] } }\ntools: { w: { a: [x], b: [y] } }\n", "1:"),
        ("roles: { A: { opens: [a] } }\ntols: { w: { a: [x] } }\n", "did you mean `tools`?"),
        ("roles: { A: { opens: [{ tag: a, wen: 'true' }] } }\ntools: { w: { a: [x] } }\n", "did you mean `when`?"),
        ("roles: { A: { opens: [a], rate: { calls: 1 } } }\ntools: { w: { a: [x] } }\n", "`rate` needs `per`"),
    ] {
        std::fs::write(directory.path().join("p.yaml"), text).unwrap();
        let output = command(&["check", "p.yaml"], directory.path()).await;
        assert!(!output.status.success() && said(&output).contains(fault), "{text}: {}", said(&output));
    }
}

#[tokio::test]
async fn explain_says_what_and_why() {
    let root = file("..");
    let explain = async |more: &[&str]| {
        let mut arguments = vec!["explain", "--config", "examples/policies/task-roles.yaml"];
        arguments.extend_from_slice(more);
        command(&arguments, &root).await
    };
    let denied = explain(&["--role", "Task.Read", "--call", "weather/delete_station"]).await;
    assert_eq!(denied.status.code(), Some(1));
    assert!(said(&denied).contains("deny") && said(&denied).contains("tag `delete` is not open"));
    let allowed = explain(&["--role", "Task.Read", "--call", "weather/get_forecast"]).await;
    assert!(allowed.status.success() && said(&allowed).contains("role `Task.Read` opens tag `read`"));
    let challenged = explain(&["--role", "Task.All", "--scope", "read", "--call", "weather/delete_station"]).await;
    assert!(said(&challenged).contains("challenge") && said(&challenged).contains("scope `delete` is missing"));
}

#[tokio::test]
async fn a_policy_whose_own_tests_fail_does_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let policy = std::fs::read_to_string(file("../examples/policies/registry.yaml")).unwrap();
    std::fs::write(directory.path().join("p.yaml"), policy.replace("expect: deny, because", "expect: allow, because"))
        .unwrap();
    let output = command(&["policy", "test", "p.yaml"], directory.path()).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("users do not register") && said(&output).contains("4 tests passed, 1 failed"),
        "{}",
        said(&output)
    );
}

async fn world() -> (World, String) {
    let world = WorldBuilder::new(&Backend::plain().await).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    (world, token)
}

#[tokio::test]
async fn probes_and_metrics_are_on_the_admin_port_only() {
    let (world, token) = world().await;
    world.ask(&token, "tools/list", json!({})).await;
    world.ask(&token, "tools/call", json!({ "name": "delete_station" })).await;
    world.ask(&token, "tools/call", json!({ "name": "invented-by-the-caller" })).await;
    let admin = |path: &str| world.http().get(format!("http://127.0.0.1:{}{path}", world.admin_port)).send();
    assert_eq!(admin("/livez").await.unwrap().status(), 200);
    assert_eq!(admin("/readyz").await.unwrap().status(), 200);
    assert_eq!(admin("/mcp").await.unwrap().status(), 404);
    let metrics = admin("/metrics").await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains("portcullis_decisions_total{backend=\"weather\",decision=\"deny\",reason=\"policy\"} 2"),
        "{metrics}"
    );
    assert!(metrics.contains("portcullis_list_items_total{backend=\"weather\",outcome=\"hidden\"} 2"));
    assert!(metrics.contains("portcullis_jwks_age_seconds"));
    assert!(!metrics.contains("invented-by-the-caller") && !metrics.contains("rita"));
    for path in ["/livez", "/readyz", "/metrics"] {
        let public = world.http().get(format!("{}{path}", world.url())).send().await.unwrap();
        assert_eq!(public.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn every_decision_and_outcome_is_a_line_joined_by_the_request() {
    let (world, token) = world().await;
    world
        .ask(&token, "tools/call", json!({ "name": "get_forecast", "arguments": { "secret": "do-not-log-me" } }))
        .await;
    world.ask(&token, "tools/call", json!({ "name": "delete\u{202e}\"\u{1b}[31m_station" })).await;
    world.post("bad-token-value", &json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })).await;
    let lines = world.audit(6).await;
    assert_eq!(lines.len(), 6);
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).collect::<Vec<_>>();
    let (decisions, outcomes) = (of("mcp.decision"), of("mcp.outcome"));
    assert_eq!((decisions.len(), outcomes.len()), (3, 3));
    let verdicts: Vec<&str> = decisions.iter().map(|line| line["decision"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["allow", "deny", "deny"]);
    assert_eq!(decisions[0]["reason"], "role `Task.Read` opens tag `read`");
    assert_eq!(decisions[0]["actor"]["roles"], json!(["Task.Read"]));
    assert_eq!(decisions[0]["target"]["name"], "get_forecast");
    assert_eq!(decisions[1]["reason"], "it carries no tag");
    assert_eq!(decisions[2]["actor"], Value::Null);
    for (decision, outcome) in decisions.iter().zip(&outcomes) {
        assert_eq!(decision["request_id"], outcome["request_id"]);
    }
    assert_eq!((&outcomes[0]["forwarded"], &outcomes[1]["forwarded"]), (&json!(true), &json!(false)));
    assert_eq!((&outcomes[0]["status"], &outcomes[2]["status"]), (&json!(200), &json!(401)));
    assert!(!format!("{lines:?}").contains("do-not-log-me"));
}

#[tokio::test]
async fn a_trail_is_verified_and_a_changed_one_is_not() {
    let (mut world, token) = world().await;
    let jwks = world.http().get(format!("{}/jwks", world.url())).send().await.unwrap().text().await.unwrap();
    let keys = world.directory().join("jwks.json");
    std::fs::write(&keys, jwks).unwrap();
    for _ in 0..2 {
        world.ask(&token, "tools/call", json!({ "name": "delete_station" })).await;
        world.restart().await;
    }
    world.gateway.terminate().await;
    let trail = world.directory().join("audit.jsonl");
    let verify_with = |trail: &std::path::Path, more: &[&str]| {
        let output = Command::new(binary("portcullis"))
            .args(["audit", "verify", "--jwks"])
            .args([&keys, trail])
            .args(more)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let verify = |trail: &std::path::Path| verify_with(trail, &[]);
    let (intact, said) = verify_with(&trail, &["--closed"]);
    assert!(intact && said.contains("3 run(s)") && said.contains("6 checkpoint(s) verified, 0 line(s)"), "{said}");
    assert!(said.contains("the newest signature is of 2") && said.contains("with --head"), "{said}");
    let text = std::fs::read_to_string(&trail).unwrap();
    let changed = world.directory().join("changed.jsonl");
    std::fs::write(&changed, text.replacen("\"deny\"", "\"allow\"", 1)).unwrap();
    let (intact, said) = verify(&changed);
    assert!(!intact && said.contains("NOT intact") && said.contains("line 3: it was changed"), "{said}");
    // What nobody signed could have been made by anybody.
    let first = |lines: usize| text.lines().take(lines).collect::<Vec<_>>().join("\n");
    std::fs::write(&changed, first(1)).unwrap();
    let (vouched_for, said) = verify(&changed);
    assert!(!vouched_for && said.contains("NOT vouched for") && said.contains("has no signature"), "{said}");
    // The log names what was signed: a trail that was cut off behind a signature lacks it.
    let logged = world.gateway.said();
    let newest = logged.lines().rev().find(|line| line.contains("the audit trail is signed")).unwrap();
    let newest = newest.split(|byte: char| !byte.is_ascii_alphanumeric() && !":_-".contains(byte));
    let newest = newest.max_by_key(|word| word.matches(':').count().min(2) * word.len()).unwrap();
    assert!(verify_with(&trail, &["--head", newest]).0, "the control: {newest}");
    let log = world.directory().join("gateway.log");
    std::fs::write(&log, &logged).unwrap();
    let logged = ["--heads", log.to_str().unwrap()];
    assert!(verify_with(&trail, &logged).0, "the control");
    std::fs::write(&changed, first(2)).unwrap();
    assert!(verify(&changed).0, "by itself it shows nothing");
    let (found, said) = verify_with(&changed, &logged);
    assert!(!found && said.contains("is not there: the trail was cut off"), "{said}");
    let (done, _) = verify_with(&trail, &["--heads", changed.to_str().unwrap()]);
    assert!(!done, "a file that names nothing holds it against nothing");
    let (found, said) = verify_with(&changed, &["--head", newest]);
    assert!(!found && said.contains("is not there: the trail was cut off"), "{said}");
}

#[tokio::test]
async fn with_fsync_a_call_is_on_the_disk_before_it_is_answered() {
    let backend = Backend::plain().await;
    let durable = WorldBuilder::new(&backend).audit("durability: fsync").start().await;
    let token = durable.identity.mint("rita", &Value::Null);
    for id in 0..5 {
        durable.ask(&token, "tools/call", json!({ "name": "get_forecast", "arguments": { "n": id } })).await;
        let text = std::fs::read_to_string(durable.directory().join("audit.jsonl")).unwrap();
        assert_eq!(text.matches("\"mcp.decision\"").count(), id + 1);
    }
}

#[tokio::test]
async fn no_log_or_trail_or_store_holds_a_secret() {
    let world = WorldBuilder::new(&Backend::plain().await).start().await;
    let flow = portcullis_tests::Flow::register(&world).await;
    let (callback, cookie) = flow.at_callback("rita").await;
    let answer = portcullis_tests::flow::location(&flow.arrive(&callback, &cookie).await);
    let code = portcullis_tests::flow::parameter(&answer, "code").unwrap();
    let tokens = flow.tokens(&code).await;
    world.ask(&tokens.access, "tools/list", json!({})).await;
    world.ask(&world.identity.mint("rita", &Value::Null), "tools/list", json!({})).await;
    let mut everything = world.gateway.said();
    everything += &std::fs::read_to_string(world.directory().join("audit.jsonl")).unwrap();
    for entry in std::fs::read_dir(world.directory().join("state")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        everything += &String::from_utf8_lossy(&bytes);
    }
    assert!(everything.contains("signed in"), "the control: something is logged");
    let cookie = cookie.split('=').nth(1).unwrap().to_owned();
    let secret = std::fs::read_to_string(world.directory().join("secret")).unwrap();
    for (what, value) in [
        ("code", code),
        ("access token", tokens.access),
        ("refresh token", tokens.refresh),
        ("cookie", cookie),
        ("client secret", secret.trim().to_owned()),
        ("verifier", flow.verifier.clone()),
    ] {
        assert!(!everything.contains(&value), "the {what} is in a log, the trail or the store");
        let end = &value[value.len() - 12..];
        assert!(!everything.contains(end), "the end of the {what} is in a log, the trail or the store");
    }
}

#[tokio::test]
async fn without_the_identity_provider_nothing_is_believed_and_it_says_so() {
    let world = WorldBuilder::new(&Backend::plain().await);
    let directory = tempfile::tempdir().unwrap();
    let port = portcullis_tests::free_port();
    let admin = portcullis_tests::free_port();
    drop(world);
    let text = format!(
        "server: {{ listen: '127.0.0.1:{port}', public_url: 'http://127.0.0.1:{port}', admin_listen: '127.0.0.1:{admin}' }}\nstate: {{ path: state }}\n\
         entra: {{ tenant_id: 11111111-2222-4333-8444-555555555555, client_id: aaaaaaaa-0000-4000-8000-00000000c1d1, client_secret: '${{SECRET:-x}}', authority_host: 'http://127.0.0.1:1', allow_unlisted_authority: true }}\n\
         backends: {{ weather: {{ url: 'http://127.0.0.1:1/mcp', accept_entra_tokens: true }} }}\npolicy: {{ roles: {{ A: {{ opens: [a] }} }}, tools: {{ weather: {{ a: [x] }} }} }}\n"
    );
    std::fs::write(directory.path().join("gateway.yaml"), text).unwrap();
    let mut command = tokio::process::Command::new(binary("portcullis"));
    command.args(["serve", "--config"]).arg(directory.path().join("gateway.yaml"));
    let gateway = portcullis_tests::Process::start(command, directory.path().join("log"));
    portcullis_tests::process::until_listening(port).await;
    portcullis_tests::process::until_listening(admin).await;
    let ready = reqwest::get(format!("http://127.0.0.1:{admin}/readyz")).await.unwrap();
    assert_eq!(ready.status(), 503);
    let metrics = reqwest::get(format!("http://127.0.0.1:{admin}/metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nportcullis_ready 0\n"), "{metrics}");
    assert!(!metrics.contains("\nportcullis_jwks_age_seconds{"), "which is why nothing else can be asked for");
    let backend = Backend::plain().await;
    let other = WorldBuilder::new(&backend).start().await;
    assert!(other.probe("/metrics").await.contains("\nportcullis_ready 1\n"), "the control");
    let replace = json!({ "iss": "http://127.0.0.1:1/11111111-2222-4333-8444-555555555555/v2.0" });
    let token = other.identity.mint("rita", &replace);
    let answer = other
        .http()
        .post(format!("http://127.0.0.1:{port}/mcp"))
        .bearer_auth(token)
        .json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
    let metadata =
        reqwest::get(format!("http://127.0.0.1:{port}/.well-known/oauth-authorization-server")).await.unwrap();
    assert_eq!(metadata.status(), 200);
    assert!(gateway.said().contains("keys cannot be fetched"), "{}", gateway.said());
}

#[tokio::test]
async fn every_step_of_a_sign_in_is_in_the_audit_trail_and_no_secret_is() {
    let world = WorldBuilder::new(&Backend::plain().await).start().await;
    let flow = portcullis_tests::Flow::register(&world).await;
    let declined = flow.consent("rita").await;
    flow.decide(&declined, "deny").await;
    let first = flow.tokens(&flow.code("rita").await).await;
    let second = flow.refreshed(&first.refresh).await;
    let third = flow.refreshed(&second.refresh).await;
    assert_eq!(flow.token(&flow.refresh_form(&first.refresh)).await.status(), 400);
    let lines = world.audit(9).await;
    let steps: Vec<&str> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(
        steps,
        [
            "client_registered",
            "consent_refused",
            "consent_given",
            "signed_in",
            "tokens_issued",
            "tokens_refreshed",
            "tokens_refreshed",
            "grant_revoked",
            "token_refused"
        ]
    );
    assert!(lines.iter().all(|line| line["source"] == "127.0.0.1"), "{lines:?}");
    let issued = &lines[4];
    assert_eq!((&issued["type"], &issued["roles"]), (&json!("oauth"), &json!(["Task.Read"])));
    assert_eq!((&issued["client"], &issued["resource"]), (&json!(flow.client_id), &json!(world.mcp())));
    let text = format!("{lines:?}");
    for secret in [&first.access, &first.refresh, &second.refresh, &third.refresh] {
        assert!(!text.contains(secret.as_str()));
    }
}
