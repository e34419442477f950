use serde_json::json;

use super::*;
use crate::jose::signing_key::SigningKey;

const URL: &str = "https://client.example/oauth/app.json";
const OWN: Own<'static> = Own { issuer: "https://gw.example", hosts: &[] };

fn document() -> Value {
    json!({
        "client_id": URL,
        "client_name": "An app",
        "redirect_uris": ["http://127.0.0.1/callback", "https://client.example/cb"],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "none",
    })
}

fn read_text(text: &str) -> Result<Client, &'static str> {
    read(URL, text.as_bytes(), &OWN, &Hosts::every(), Timestamp::from_secs(7))
}

fn changed(name: &str, value: Value) -> String {
    let mut document = document();
    if value.is_null() {
        document.as_object_mut().unwrap().remove(name);
    } else {
        document[name] = value;
    }
    document.to_string()
}

#[test]
fn only_a_plain_https_url_with_a_path_names_a_client() {
    for good in
        [URL, "https://claude.ai/oauth/claude-code-client-metadata", "https://a.b.example/x", "https://a.example/x/"]
    {
        assert!(host(good).is_some(), "{good}");
    }
    for bad in [
        "http://client.example/app.json",
        "https://client.example",
        "https://client.example/",
        "https://client.example/app#x",
        "https://client.example/app?x",
        "https://client.example/app?",
        "https://u@client.example/app",
        "https://u:p@client.example/app",
        "https://@client.example/app",
        "https://client.example/../app",
        "https://client.example/./app",
        "https://client.example/app/.",
        "https://client.example/app/..",
        "https://client.example/%2e%2e/app",
        "https://client.example/a%2fb",
        "https://client.example:443/app",
        "https://client.example:8443/app",
        "https://CLIENT.example/app",
        "HTTPS://client.example/app",
        "https://client.example./app",
        "https://localhost/app",
        "https://client/app",
        "https://127.0.0.1/app",
        "https://127.1/app",
        "https://2130706433/app",
        "https://0x7f000001/app",
        "https://[::1]/app",
        "https://[::ffff:127.0.0.1]/app",
        "https://169.254.169.254/latest/meta-data",
        "https:/client.example/app",
        "https:\\\\client.example\\app",
        "https://client.example\\@evil.example/app",
        "https://client.example/app;x",
        "https://client.example/a b",
        "https://client.example/app\n",
        "https://cl\u{456}ent.example/app",
        "file:///etc/passwd",
        "ftp://client.example/app",
        "gopher://client.example/app",
    ] {
        assert_eq!(host(bad), None, "{bad}");
    }
    assert_eq!(host(&format!("https://client.example/{}", "x".repeat(3000))), None);
}

#[test]
fn an_honest_document_is_read() {
    let client = read_text(&document().to_string()).unwrap();
    assert_eq!((client.client_id.as_str(), client.may_refresh, client.keys), (URL, true, None));
    assert_eq!(client.redirect_uris.len(), 2);
    let more = changed("grant_types", json!(["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"]));
    assert!(read_text(&more).is_ok_and(|client| !client.may_refresh), "what we do not know is ignored");
}

#[test]
fn a_document_that_says_anything_doubtful_is_refused() {
    for (name, value) in [
        ("client_id", json!("https://client.example/oauth/APP.json")),
        ("client_id", json!("https://client.example/oauth/app.json/")),
        ("client_id", json!("https://client.example:443/oauth/app.json")),
        ("client_id", json!("https://other.example/oauth/app.json")),
        ("client_id", Value::Null),
        ("client_name", Value::Null),
        ("client_name", json!("")),
        ("client_name", json!("\u{200b}\u{2066}")),
        ("client_name", json!("x".repeat(1000))),
        ("client_name", json!(["x"])),
        ("redirect_uris", Value::Null),
        ("redirect_uris", json!([])),
        ("redirect_uris", json!("http://127.0.0.1/cb")),
        ("redirect_uris", json!(["javascript:alert(1)"])),
        ("redirect_uris", json!(["http://127.0.0.1/cb", "data:text/html,x"])),
        ("redirect_uris", json!(["https://*.client.example/cb"])),
        ("redirect_uris", json!(["https://gw.example/auth/callback"])),
        ("redirect_uris", json!(vec!["http://127.0.0.1/cb"; 100])),
        ("token_endpoint_auth_method", json!("client_secret_basic")),
        ("token_endpoint_auth_method", json!("client_secret_jwt")),
        ("token_endpoint_auth_method", json!("private_key_jwt")),
        ("client_secret", json!("x")),
        ("client_secret_expires_at", json!(0)),
        ("grant_types", json!(["client_credentials"])),
        ("response_types", json!(["token"])),
        ("logo_uri", json!("javascript:alert(1)")),
        ("client_uri", json!("data:text/html,x")),
    ] {
        assert!(read_text(&changed(name, value.clone())).is_err(), "{name} {value}");
    }
    let honest = document().to_string();
    for bad in [
        format!("\u{feff}{honest}"),
        format!("{honest}{honest}"),
        honest.replacen('{', "{\"client_name\":\"Claude\",", 1),
        format!("[{honest}]"),
        "null".to_owned(),
        String::new(),
        format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
    ] {
        assert!(read_text(&bad).is_err(), "{bad:.60}");
    }
    assert!(read(URL, b"\xff\xfe", &OWN, &Hosts::every(), Timestamp::from_secs(7)).is_err());
}

#[test]
fn addresses_that_the_operator_does_not_know_are_left_out_and_none_left_is_a_refusal() {
    let only = |words: &[&'static str]| {
        read(
            URL,
            document().to_string().as_bytes(),
            &OWN,
            &Hosts::parse(words.iter().copied()).unwrap(),
            Timestamp::from_secs(7),
        )
    };
    assert_eq!(only(&["loopback"]).unwrap().redirect_uris, ["http://127.0.0.1/callback"]);
    assert!(only(&["claude.ai"]).is_err());
}

#[test]
fn a_client_with_keys_has_them_inline_or_behind_a_plain_url_and_not_both() {
    let jwks = json!({ "keys": [SigningKey::generate().unwrap().public_jwk()] });
    let with = |members: &[(&str, Value)]| {
        let mut document = document();
        document["token_endpoint_auth_method"] = json!("private_key_jwt");
        for (name, value) in members {
            document[*name] = value.clone();
        }
        read_text(&document.to_string()).map(|client| client.keys)
    };
    let uri = json!("https://client.example/keys.json");
    assert!(matches!(with(&[("jwks", jwks.clone())]), Ok(Some(ClientKeys::Inline(_)))));
    assert!(matches!(with(&[("jwks_uri", uri.clone())]), Ok(Some(ClientKeys::Remote { .. }))));
    assert!(with(&[("jwks", jwks), ("jwks_uri", uri)]).is_err());
    for bad in
        ["http://client.example/keys", "https://127.0.0.1/keys", "https://client.example:22/keys", "file:///keys"]
    {
        assert!(with(&[("jwks_uri", json!(bad))]).is_err(), "{bad}");
    }
    assert!(with(&[("jwks", json!({ "keys": [{ "kty": "oct", "k": "AA" }] }))]).is_err());
}
