//! A consent that a browser is not asked for again, over TLS: as the browser itself says where a request comes from, and
//! keeps and sends cookies.

use portcullis_tests::certificate::pair;
use portcullis_tests::documents::{Documents, Page};
use portcullis_tests::flow::user;
use portcullis_tests::{Backend, Flow, World, WorldBuilder};
use serde_json::{Value, json};
use url::Url;

use crate::POLICY;
use crate::person::{Person, has_code, is_asked, is_silent};

const APP: &str = "https://client.example/oauth/app.json";

/// A gateway over TLS with this under `oauth`.
async fn world(oauth: &str) -> World {
    let (certificate, key) = pair();
    let world = WorldBuilder::new(&Backend::plain().await).own_tokens_only().policy(POLICY).tls(&certificate, &key);
    world.more(&format!("oauth: {{ {oauth} }}")).start().await
}

async fn remembering() -> World {
    world("remember_consent: 30d").await
}

/// Ends the sessions that are named so, as an operator does.
async fn end(world: &World, whose: &[&str]) {
    let ended = world.command(&[&["sessions", "revoke"], whose].concat()).await;
    assert!(ended.status.success(), "{ended:?}");
}

#[tokio::test]
async fn who_agreed_is_asked_no_more_in_this_browser_until_an_operator_ends_it() {
    let world = remembering().await;
    let flow = Flow::register(&world).await;
    let mut person = Person::before(&world).await;
    let rita = person.address(&flow, "rita", &[("scope", "read")]);
    person.agrees(&rita).await;
    let seen = person.opens(&rita).await;
    assert!(is_silent(&seen), "{seen}");
    assert_eq!(seen["site"], "none", "{seen}");
    let tokens = person.tokens(&flow, &seen).await;
    assert_eq!(tokens["scope"], "read", "{tokens}");

    let wider = person.opens(&person.address(&flow, "rita", &[("scope", "read write")])).await;
    assert!(is_asked(&wider), "more than was agreed to: {wider}");
    let other = Flow::register(&world).await;
    let other = person.opens(&person.address(&other, "rita", &[("scope", "read")])).await;
    assert!(is_asked(&other), "another client: {other}");
    let wanted = person.opens(&person.address(&flow, "rita", &[("scope", "read"), ("prompt", "consent")])).await;
    assert!(is_asked(&wanted), "the client wants it: {wanted}");

    end(&world, &["--user", &user(&world.sign_in("walt").await.access)]).await;
    let seen = person.opens(&rita).await;
    assert!(is_silent(&seen), "somebody else's sessions are over: {seen}");
    end(&world, &["--user", &user(tokens["access_token"].as_str().unwrap())]).await;
    let seen = person.opens(&rita).await;
    assert!(is_asked(&seen), "theirs are: {seen}");

    person.does(&json!({ "does": "anew" })).await;
    let page = person.opens(&person.address(&flow, "walt", &[])).await;
    assert!(is_asked(&page) && has_code(&person.allows(false).await), "{page}");
    let page = person.opens(&person.address(&flow, "walt", &[])).await;
    assert!(is_asked(&page), "who did not want it remembered: {page}");
}

#[tokio::test]
async fn another_account_in_the_same_browser_is_asked_itself() {
    let world = remembering().await;
    let flow = Flow::register(&world).await;
    let mut person = Person::before(&world).await;
    let (rita, walt) = (person.address(&flow, "rita", &[]), person.address(&flow, "walt", &[]));
    person.agrees(&rita).await;
    assert!(is_silent(&person.opens(&rita).await), "the control");
    // Who it is, the gateway learns from the identity provider only.
    let seen = person.opens(&walt).await;
    assert_eq!((&seen["status"], &seen["asked"], &seen["landed"]), (&json!(303), &json!(true), &Value::Null), "{seen}");
    let seen = person.opens(&rita).await;
    assert!(is_asked(&seen), "what was remembered is gone: {seen}");
    person.does(&json!({ "does": "leave" })).await;
    let allowed = person.allows(true).await;
    let tokens = person.tokens(&flow, &allowed).await;
    let owner = |tokens: &Value| user(tokens["access_token"].as_str().unwrap());
    assert_eq!(owner(&tokens), user(&world.sign_in("walt").await.access));
    assert!(is_silent(&person.opens(&walt).await), "now it is walt's");
    let seen = person.opens(&rita).await;
    assert!(seen["asked"] == true && seen["landed"].is_null(), "and rita is another: {seen}");
}

#[tokio::test]
async fn unless_the_operator_allows_it_everybody_is_asked_each_time() {
    let world = world("").await;
    let flow = Flow::register(&world).await;
    let mut person = Person::before(&world).await;
    let address = person.address(&flow, "rita", &[]);
    for _ in 0..2 {
        let page = person.opens(&address).await;
        assert!(is_asked(&page) && !page["text"].as_str().unwrap().contains("Do not ask me again"), "{page}");
        assert!(has_code(&person.allows(false).await));
    }
    let cookies = person.does(&json!({ "does": "cookies" })).await;
    assert_eq!(cookies["kept"], json!([]), "nothing is left of a login that is over");
}

#[tokio::test]
async fn what_another_site_begins_is_asked_about_however_it_leads_there() {
    let world = remembering().await;
    let flow = Flow::register(&world).await;
    let mut person = Person::before(&world).await;
    let address = person.address(&flow, "rita", &[]);
    person.agrees(&address).await;
    let ways = ["link", "link without referrer", "new tab", "redirect behind a link", "form by GET", "form by POST"];
    for way in ways.into_iter().chain(["refresh", "script"]) {
        for from in ["cross-site", "same-site"] {
            let seen = person.does(&json!({ "does": "come", "from": from, "way": way, "to": address })).await;
            assert!(is_asked(&seen), "{way}, {from}: {seen}");
            assert_eq!(seen["site"], from, "{way}: {seen}");
            let agreed =
                seen["cookies"].as_array().unwrap().iter().any(|name| name.as_str().unwrap().contains("agreed"));
            assert_eq!(agreed, from == "same-site", "{way}: {seen}");
        }
        let seen = person.does(&json!({ "does": "reload" })).await;
        assert!(is_asked(&seen) || way == "form by POST", "{way}, again: {seen}");
    }
    let seen = person.does(&json!({ "does": "come", "from": "cross-site", "way": "frame", "to": address })).await;
    assert_eq!(
        (&seen["asked"], &seen["landed"], &seen["status"]),
        (&json!(false), &Value::Null, &json!(200)),
        "{seen}"
    );
    assert_eq!(seen["site"], "cross-site", "{seen}");
    assert!(is_silent(&person.opens(&address).await), "the control: what a program opens");
}

#[tokio::test]
async fn a_client_that_anybody_can_pass_for_is_never_signed_in_behind_anybodys_redirect() {
    let documents = Documents::start().await;
    let app = json!({ "client_id": APP, "client_name": "A documented app", "redirect_uris": ["http://127.0.0.1/callback"],
        "grant_types": ["authorization_code"], "token_endpoint_auth_method": "none" });
    documents.put(APP, Page::json(&app));
    let oauth = format!("remember_consent: 30d, {}, client_domains: [client.example]", documents.config());
    let world = world(&oauth).await;
    let mut person = Person::before(&world).await;
    let (known, registered) = (Flow::of(&world, APP), Flow::register(&world).await);
    // An authorization server that a program was sent to, and that sends the browser on to this one.
    let sent = |to: &str| json!({ "does": "sent", "from": "cross-site", "to": to });
    let address = person.address(&known, "rita", &[]);
    let page = person.opens(&address).await;
    assert!(is_asked(&page) && !page["text"].as_str().unwrap().contains("Do not ask me again"), "{page}");
    assert!(has_code(&person.allows(false).await));
    let seen = person.does(&sent(&address)).await;
    assert!(is_asked(&seen), "{seen}");
    // The browser does not say that there was another site, so nothing but the id could.
    assert_eq!(seen["site"], "none", "{seen}");
    let address = person.address(&registered, "rita", &[]);
    person.agrees(&address).await;
    assert!(is_silent(&person.does(&sent(&address)).await), "the control: an id that the program alone knows");
}

#[tokio::test]
async fn a_decision_that_another_site_posts_is_refused_and_the_persons_own_counts() {
    let world = remembering().await;
    let flow = Flow::register(&world).await;
    let mut person = Person::before(&world).await;
    let address = person.address(&flow, "rita", &[]);
    assert!(is_asked(&person.opens(&address).await));
    // Another site that knows all of what the page holds.
    let form = person.does(&json!({ "does": "form" })).await;
    let form = form.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
    let form: Vec<_> = form.chain([("decision", "approve")]).collect();
    assert!(form.iter().any(|(name, _)| *name == "csrf") && form.iter().any(|(name, _)| *name == "remember"));
    let decision = Url::parse_with_params(&format!("{}/consent", world.url()), form).unwrap();
    for from in ["cross-site", "same-site"] {
        let come = json!({ "does": "come", "from": from, "way": "form by POST", "to": decision });
        let seen = person.does(&come).await;
        assert_eq!(
            (&seen["status"], &seen["landed"], &seen["site"]),
            (&json!(403), &Value::Null, &json!(from)),
            "{seen}"
        );
        assert_eq!(seen["cookies"].as_array().unwrap().is_empty(), from == "cross-site", "{seen}");
        person.does(&json!({ "does": "leave" })).await;
    }
    let own = person.allows(true).await;
    assert_eq!((&own["status"], &own["site"]), (&json!(303), &json!("same-origin")), "{own}");
    assert!(has_code(&own), "{own}");
}

#[tokio::test]
async fn the_browser_keeps_cookies_for_the_host_alone_and_shows_them_to_no_script() {
    let world = remembering().await;
    let flow = Flow::register(&world).await;
    let mut person = Person::before(&world).await;
    let address = person.address(&flow, "rita", &[]);
    assert!(is_asked(&person.opens(&address).await));
    let shown = person.does(&json!({ "does": "cookies" })).await;
    assert!(has_code(&person.allows(true).await));
    let after = person.does(&json!({ "does": "cookies" })).await;
    for (cookies, purpose, same_site) in [(&shown, "consent", "Lax"), (&after, "agreed", "Strict")] {
        assert_eq!(cookies["readable"], "", "{cookies}");
        let [kept] = cookies["kept"].as_array().unwrap().as_slice() else { panic!("{purpose}: {cookies}") };
        let name = kept["name"].as_str().unwrap();
        assert!(name.starts_with(&format!("__Host-portcullis-{purpose}-")), "{name}");
        let is = |what: &str| kept[what].clone();
        assert_eq!(
            (is("secure"), is("httpOnly"), is("sameSite")),
            (json!(true), json!(true), json!(same_site)),
            "{name}"
        );
        // With a `Domain`, there would be a dot before it.
        assert_eq!((is("domain"), is("path")), (json!("127.0.0.1"), json!("/")), "{name}");
        assert!(kept["expires"].as_f64().unwrap() > 0.0, "{name} ends with the browser only");
    }
}
