//! A real browser: what a person sees of the pages and can do by keyboard alone, and what pages of other origins can do
//! with a backend's path.

mod person;
mod remembered;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_tests::flow::{REDIRECT, parameter};
use portcullis_tests::process::{file, free_port, node, tool};
use portcullis_tests::{Backend, Flow, World, WorldBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::process::Command;
use url::Url;

const POLICY: &str = "
  tags: { read: { title: 'Read forecasts and stations' }, write: { title: 'Add and change stations' }, delete: { title: 'Delete stations for good' } }
  roles: { Task.Read: { opens: [read] }, Task.All: { opens: [read, write, delete] } }
  tools: { weather: { read: ['get_*', 'list_*'], write: ['add_*'], delete: ['delete_*'] } }
";

/// The code in the address that a redirect led to.
fn code(landed: &Value) -> String {
    let url = Url::parse(landed.as_str().unwrap_or_else(|| panic!("nowhere: {landed}"))).unwrap();
    parameter(&url, "code").unwrap_or_else(|| panic!("no code in {url}"))
}

/// What a script in the browser found.
async fn found(mut command: Command) -> Value {
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(said.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{said}\n{}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test]
async fn a_person_consents_by_keyboard_and_the_page_cannot_be_framed() {
    let world = WorldBuilder::new(&Backend::plain().await)
        .own_tokens_only()
        .policy(POLICY)
        .more("oauth: { remember_consent: 30d }")
        .start()
        .await;
    let flow = Flow::register(&world).await;
    let url = Url::parse_with_params(&format!("{}/authorize", world.url()), flow.parameters("rita")).unwrap();
    assert!(tool("interop/node_modules").exists());
    let (callback, _) = flow.at_callback("rita").await;
    let mut command = Command::new(node());
    command.arg(file("interop/consent.mjs")).args([url.as_str(), REDIRECT]).arg(file("../docs")).arg(callback.as_str());
    let found = found(command).await;
    assert_eq!((&found["framed"], &found["control"]), (&Value::from(false), &Value::from(true)), "{found}");
    let text = found["text"].as_str().unwrap();
    for shown in ["Tests", "127.0.0.1", "a program on this device", "Delete stations for good", "for 30 days"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert_eq!(found["scripts"], 0);
    assert!(found["denied"].as_str().unwrap().contains("error=access_denied"), "{found}");
    assert_eq!(flow.tokens(&code(&found["approved"])).await.scope, "delete read write");
    assert_eq!(flow.tokens(&code(&found["fewer"])).await.scope, "read write", "the first box was unticked");
    assert_ne!(found["light"], found["dark"], "light and dark");
    for landed in found["back"].as_array().unwrap().iter().chain(found["tabs"].as_array().unwrap()) {
        assert!(!flow.tokens(&code(landed)).await.access.is_empty(), "back button and two tabs");
    }
    assert_eq!((found["back"].as_array().unwrap().len(), found["tabs"].as_array().unwrap().len()), (2, 2));
    let elsewhere = found["elsewhere"].as_array().unwrap();
    assert_eq!((&elsewhere[0]["status"], &elsewhere[0]["landed"]), (&Value::from(403), &Value::from(0)));
    assert!(elsewhere[0]["text"].as_str().unwrap().contains("began elsewhere"));
    assert_eq!(elsewhere[1]["status"], 400, "and it is over then");
}

#[tokio::test]
async fn a_script_of_a_listed_page_calls_a_tool_and_reads_the_challenge_and_a_foreign_one_reads_nothing() {
    let (listed, foreign) = (free_port(), free_port());
    let backend = Backend::plain().await;
    let origins = format!("allowed_origins: ['http://127.0.0.1:{listed}']");
    let world = WorldBuilder::new(&backend).server(&origins).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    assert!(tool("interop/node_modules").exists());
    let mut command = Command::new(node());
    command.arg(file("interop/page.mjs")).args([world.mcp(), token, listed.to_string(), foreign.to_string()]);
    let found = found(command).await;
    let seen = &found["listed"];
    assert_eq!(seen["called"]["status"], 200, "{found}");
    let answer: Value = serde_json::from_str(seen["called"]["text"].as_str().unwrap()).unwrap();
    assert_eq!((&answer["id"], answer["result"].is_object()), (&Value::from(7), true), "{found}");
    assert_eq!(seen["challenged"]["status"], 401, "{found}");
    assert!(seen["challenged"]["challenge"].as_str().unwrap().contains("resource_metadata="), "{found}");
    assert!(seen["unlisted"]["error"].is_string(), "a field that is not of MCP: {found}");
    for what in ["called", "challenged", "unlisted"] {
        assert!(found["foreign"][what]["error"].is_string(), "{what}: {found}");
    }
    assert_eq!(backend.requests().len(), 1, "the one call of the listed page");
}

const VERIFIER: &str = "a-verifier-that-is-long-enough-to-be-one-of-them";

async fn post(world: &World, path: &str, form: &[(&str, &str)]) -> Value {
    world.http().post(format!("{}{path}", world.url())).form(form).send().await.unwrap().json().await.unwrap()
}

/// A device that waits: its client's id, and what it was told.
async fn device(world: &World) -> (String, Value) {
    let metadata =
        json!({ "client_name": "A television", "grant_types": ["urn:ietf:params:oauth:grant-type:device_code"] });
    let registered = world.http().post(format!("{}/register", world.url())).json(&metadata).send().await.unwrap();
    let registered: Value = registered.json().await.unwrap();
    let id = registered["client_id"].as_str().unwrap_or_else(|| panic!("{registered}")).to_owned();
    let asked = post(world, "/device_authorization", &[("client_id", &id)]).await;
    (id, asked)
}

/// What every page without a client's redirect is: without a script, and light or dark as the person prefers.
fn check_pages(pages: [&Value; 2], title: &str, texts: &[&str]) {
    for page in pages {
        assert_eq!((&page["title"], &page["scripts"]), (&json!(title), &json!(0)), "{page}");
        let text = page["text"].as_str().unwrap();
        assert!(texts.iter().all(|shown| text.contains(shown)), "{texts:?}: {text}");
    }
    assert_ne!(pages[0]["colour"], pages[1]["colour"], "light and dark");
}

#[tokio::test]
async fn a_person_gets_a_code_and_lets_a_device_in_by_keyboard_and_no_page_can_be_framed() {
    let oauth = "oauth: { device_authorization: true }\n";
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).own_tokens_only().policy(POLICY).server("auth_endpoints: true").more(oauth);
    let world = world.start().await;
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let link = |more: &[(&str, &str)]| {
        let all = [&[("login_hint", "rita")], more].concat();
        Url::parse_with_params(&format!("{}/auth/login", world.url()), all).unwrap().to_string()
    };
    let links = [link(&[]), link(&[("code_challenge", &challenge), ("code_challenge_method", "S256")])];
    let (first, second, third) = (device(&world).await, device(&world).await, device(&world).await);
    let codes = [&first.1["user_code"], &second.1["user_code"]];
    let told = json!({ "links": links, "verifiers": [Value::Null, VERIFIER], "device": first.1["verification_uri"], "filled": third.1["verification_uri_complete"],
        "codes": codes, "person": "rita", "docs": file("../docs") });
    assert!(tool("interop/node_modules").exists());
    let mut command = Command::new(node());
    command.arg(file("interop/pages.mjs")).arg(told.to_string());
    let found = found(command).await;
    let [light, dark] = [&found["coded"][0], &found["coded"][1]];
    check_pages([light, dark], "Your code", &["You are signed in", "for a minute", "Give it to nobody"]);
    let for_scripts = |page: &Value| page["text"].as_str().unwrap().contains("From a script");
    assert!(for_scripts(light) && !for_scripts(dark), "a program with a challenge needs no advice");
    for page in [light, dark] {
        assert_eq!(page["exchanged"], 200, "{page}");
        assert_eq!((&page["again"]["status"], &page["again"]["code"]), (&json!(400), &json!(0)), "{page}");
    }
    let [light, dark] = [&found["devices"][0], &found["devices"][1]];
    let warning = "If somebody sent you the code or the link, close this page";
    check_pages([&light["entering"], &dark["entering"]], "Connect a device", &[warning]);
    check_pages([&light["connected"], &dark["connected"]], "Signed in", &["Your device goes on by itself"]);
    for (page, (id, asked)) in [(light, &first), (dark, &second)] {
        assert_eq!(page["wrong"]["status"], 400, "{page}");
        assert!(page["wrong"]["text"].as_str().unwrap().contains("not known here"), "{page}");
        let consent = page["consent"].as_str().unwrap();
        assert!(consent.contains("A television") && consent.contains("A device asked for this"), "{consent}");
        let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
        let code = asked["device_code"].as_str().unwrap();
        let tokens = post(&world, "/token", &[grant, ("client_id", id), ("device_code", code)]).await;
        assert!(tokens["access_token"].is_string(), "{tokens}");
    }
    let filled = &found["filled"];
    assert_eq!(
        (&filled["value"], &filled["consent"], &filled["after"]),
        (&third.1["user_code"], &json!(0), &json!(1)),
        "{filled}"
    );
    assert_eq!(found["framed"], json!([false, false, false, true]), "nothing but the control");
}
