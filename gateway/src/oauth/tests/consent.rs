//! The consent page: what it shows, and whose decision it takes.

use super::*;

fn decision(page: &Answer, decision: &str) -> Request<Body> {
    let (transaction, csrf) = (page.field("transaction"), page.field("csrf"));
    let boxes = page.boxes();
    let mut fields = vec![("transaction", transaction.as_str()), ("csrf", &csrf), ("decision", decision)];
    fields.extend(boxes.iter().map(|name| (name.as_str(), "1")));
    form("/consent", &fields)
}

#[tokio::test]
async fn the_page_says_who_asks_for_what_and_where_the_answer_goes() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let page = Browser::new(&world).open(&authorize(&client_id)).await;
    for text in
        ["Test client", "Nobody has verified it", "127.0.0.1", "a program on this device", "Read", "Change", RESOURCE]
    {
        assert!(page.body.contains(text), "{text}");
    }
    assert!(!page.body.contains("Delete for good"), "a scope that was not asked for");
    let remote = world.register("https://client.example:8443/cb").await;
    let request = with(authorize(&remote), "redirect_uri", Some("https://client.example:8443/cb"));
    let page = Browser::new(&world).open(&request).await;
    assert!(page.body.contains("client.example:8443") && !page.body.contains("a program on this device"));
}

#[tokio::test]
async fn the_page_cannot_be_framed_scripted_cached_or_leak_where_it_was() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let page = Browser::new(&world).open(&authorize(&client_id)).await;
    let policy = page.header(header::CONTENT_SECURITY_POLICY);
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(
        policy.contains("base-uri 'none'") && !policy.contains("script-src") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert!(!policy.contains("form-action"), "browsers apply it to the redirects behind the form");
    for (name, value) in [
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        assert_eq!(page.header(&name), value, "{name}");
    }
    assert!(!page.body.contains("<script") && !page.body.contains("src=") && !page.body.contains("style=\""));
}

#[tokio::test]
async fn the_style_sheet_is_the_one_that_the_policy_allows() {
    use base64::engine::general_purpose::STANDARD;
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    for page in [Browser::new(&world).open(&authorize(&client_id)).await, world.get("/authorize").await] {
        let (_, rest) = page.body.split_once("<style>").unwrap();
        let digest = STANDARD.encode(Sha256::digest(rest.split_once("</style>").unwrap().0));
        assert!(page.header(header::CONTENT_SECURITY_POLICY).contains(&format!("'sha256-{digest}'")));
    }
}

#[tokio::test]
async fn a_name_is_text_whatever_it_looks_like() {
    let world = World::new().await;
    for (name, shown) in [
        ("<img src=x onerror=alert(1)>", "&#60;img src=x onerror=alert(1)&#62;"),
        ("\u{202e}edualC\u{2066}\u{200b}\n\u{7}", "edualC"),
        ("\"' autofocus", "&#34;&#39; autofocus"),
    ] {
        let mut metadata = metadata_of(REDIRECT);
        metadata["client_name"] = json!(name);
        let registered = world.post_json("/register", metadata).await.json();
        let page = Browser::new(&world).open(&authorize(registered["client_id"].as_str().unwrap())).await;
        assert!(page.body.contains(&format!("<q>{shown}</q>")), "{}", page.body);
        assert!(page.body.contains("127.0.0.1"), "the host is shown whatever the name is");
    }
    for nameless in [json!(null), json!(""), json!(" \u{200b} ")] {
        let mut metadata = metadata_of(REDIRECT);
        metadata["client_name"] = nameless;
        let registered = world.post_json("/register", metadata).await.json();
        let page = Browser::new(&world).open(&authorize(registered["client_id"].as_str().unwrap())).await;
        assert!(page.body.contains("<q>An application</q>"), "{}", page.body);
    }
}

#[tokio::test]
async fn only_approval_leads_to_the_identity_provider_and_nothing_of_the_client_does() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let request = with(authorize(&client_id), "login_hint", Some("alice@contoso.example"));
    let request = with(request, "domain_hint", Some("contoso.example"));
    let departure = Browser::new(&world).depart(&request).await;
    let asked = world.entra.asked(&departure);
    assert_eq!(asked["scope"], format!("openid {} profile offline_access", identity::SCOPE));
    assert_eq!(
        (asked["login_hint"].as_str(), asked["domain_hint"].as_str()),
        ("alice@contoso.example", "contoso.example")
    );
    for absent in ["resource", "prompt", "claims", "client_secret"] {
        assert!(!asked.contains_key(absent), "{absent}");
    }
    for (_, value) in
        authorize(&client_id).iter().filter(|(name, _)| !["response_type", "code_challenge_method"].contains(name))
    {
        assert!(!asked.values().any(|sent| sent == value), "{value}");
    }
    assert!(asked["state"].len() <= 512 && asked["nonce"].len() >= 16 && asked["code_challenge"].len() == 43);
}

#[tokio::test]
async fn a_prompt_is_passed_on_only_where_it_means_something_there() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    for (prompt, passed) in [
        ("login", Some("login")),
        ("select_account", Some("select_account")),
        ("consent", None),
        ("login consent", Some("login")),
        ("consent select_account", Some("select_account")),
        ("create", None),
    ] {
        let request = with(authorize(&client_id), "prompt", Some(prompt));
        let request = with(request, "login_hint", Some("alice@contoso.example"));
        let departure = Browser::new(&world).depart(&request).await;
        let asked = world.entra.asked(&departure);
        assert_eq!(asked.get("prompt").map(String::as_str), passed, "{prompt}");
        // Entra refuses the two together.
        assert_eq!(asked.contains_key("login_hint"), passed != Some("select_account"), "{prompt}");
    }
}

#[tokio::test]
async fn declining_goes_back_to_the_client_and_ends_the_login() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let mut browser = Browser::new(&world);
    let page = browser.open(&authorize(&client_id)).await;
    let answer = browser.decide(&page, "deny").await;
    assert_eq!(answer.error(), "access_denied");
    assert_eq!(answer.parameter("state").as_deref(), Some("client state/+ &<"));
    assert_eq!(answer.parameter("iss").as_deref(), Some(ISSUER));
    let again = browser.decide(&page, "approve").await;
    assert_eq!((again.status, again.location()), (400, None));
}

#[tokio::test]
async fn what_is_not_ticked_is_not_granted_and_nothing_else_can_be() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let mut browser = Browser::new(&world);
    let page = browser.open(&authorize(&client_id)).await;
    assert_eq!(page.boxes(), ["scope-read", "scope-write"], "all that was asked for, and ticked");
    let (transaction, csrf) = (page.field("transaction"), page.field("csrf"));
    let fields = |more: &[(&'static str, &'static str)]| {
        let mut fields = vec![("transaction", transaction.clone()), ("csrf", csrf.clone())];
        fields.push(("decision", "approve".to_owned()));
        fields.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let pairs: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        form("/consent", &pairs)
    };
    let nothing = browser.send(fields(&[])).await;
    assert_eq!((nothing.status, nothing.location()), (400, None));
    assert!(nothing.body.contains("Nothing is selected"));
    let foreign = browser.send(fields(&[("scope-delete", "1"), ("scope-pii", "1")])).await;
    assert_eq!(foreign.status, 400, "what was not shown cannot be ticked");
    let departure = browser.send(fields(&[("scope-write", "1"), ("scope-delete", "1")])).await;
    let back = browser.get(&world.entra.sign_in(departure.location().unwrap(), identity::ALICE)).await;
    let tokens = world.redeem(&client_id, &back.parameter("code").unwrap()).await.json();
    assert_eq!((tokens["scope"].as_str(), world.claims(&tokens)["scope"].as_str()), (Some("write"), Some("write")));
}

#[tokio::test]
async fn an_application_on_the_device_gets_its_answer_through_a_page() {
    const URI: &str = "cursor://anysphere.cursor-retrieval/oauth/callback";
    let world = World::new().await;
    let client_id = world.register(URI).await;
    let request = with(authorize(&client_id), "redirect_uri", Some(URI));
    let mut browser = Browser::new(&world);
    let departure = browser.depart(&request).await;
    let page = browser.get(&world.entra.sign_in(&departure, identity::ALICE)).await;
    let target = page.header(header::REFRESH).strip_prefix("0;url=").unwrap().to_owned();
    assert!(page.status == 200 && page.body.contains("You are signed in"), "{}", page.body);
    assert!(
        target.starts_with(&format!("{URI}?code=")) && target.ends_with(&format!("iss={}", "https%3A%2F%2Fgw.example"))
    );
    assert!(page.body.contains("href=\"cursor://") && page.header(header::CONTENT_SECURITY_POLICY).contains("'none'"));
    let consent = browser.open(&request).await;
    let declined = browser.decide(&consent, "deny").await;
    assert!(declined.body.contains("You are not signed in") && declined.body.contains("was declined"));
    assert!(declined.header(header::REFRESH).contains("error=access_denied"));
}

#[tokio::test]
async fn a_request_that_is_refused_opens_no_application_by_itself() {
    const URI: &str = "vscode://vscode.git/clone?url=https://evil.example/x.git";
    let world = World::new().await;
    let client_id = world.register(URI).await;
    let request = with(authorize(&client_id), "redirect_uri", Some(URI));
    for (name, value) in [("response_type", "token"), ("code_challenge", ""), ("scope", "root"), ("prompt", "none")] {
        let page = world.get(&query("/authorize", &with(request.clone(), name, Some(value)))).await;
        assert_eq!((page.status, page.header(header::REFRESH)), (200, ""), "{name}");
        assert!(page.location().is_none() && page.body.contains("You are not signed in"), "{name}");
        assert!(
            page.body.contains("href=\"vscode://vscode.git/clone?url="),
            "{name}: the person may go on: {}",
            page.body
        );
    }
    // The controls: an address of the web is told at once, and an application once somebody signed in.
    let client_id = world.register(REDIRECT).await;
    let told = world.get(&query("/authorize", &with(authorize(&client_id), "response_type", Some("token")))).await;
    assert_eq!((told.status, told.error().as_str()), (303, "unsupported_response_type"));
}

#[tokio::test]
async fn nothing_is_remembered() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let mut browser = Browser::new(&world);
    assert!(browser.sign_in(&authorize(&client_id)).await.parameter("code").is_some());
    let page = browser.open(&authorize(&client_id)).await;
    assert!(page.body.contains("Test client"));
}

#[tokio::test]
async fn a_form_that_was_not_shown_in_this_browser_is_refused_and_leaves_the_login_as_it_is() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let mut browser = Browser::new(&world);
    let page = browser.open(&authorize(&client_id)).await;
    let other = browser.open(&authorize(&client_id)).await;
    let (transaction, csrf) = (page.field("transaction"), other.field("csrf"));
    for fields in [
        vec![("transaction", transaction.as_str()), ("decision", "approve")],
        vec![("transaction", &transaction), ("csrf", ""), ("decision", "approve")],
        vec![("transaction", &transaction), ("csrf", "x"), ("decision", "approve")],
        vec![("transaction", &transaction), ("csrf", &csrf), ("decision", "approve")],
    ] {
        let answer = browser.send(form("/consent", &fields)).await;
        assert_eq!((answer.status, answer.location()), (403, None), "{fields:?}");
    }
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let mut request = decision(&page, "approve");
        request.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(browser.send(request).await.status, 403, "{name}: {value}");
    }
    let mut request = decision(&page, "approve");
    request.headers_mut().insert("sec-fetch-site", "same-origin".parse().unwrap());
    request.headers_mut().insert("origin", "null".parse().unwrap());
    assert!(browser.send(request).await.location().is_some(), "what a browser sends from a page without referrer");
}

#[tokio::test]
async fn a_form_in_a_second_browser_is_refused_and_the_first_can_still_decide() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let mut first = Browser::new(&world);
    let page = first.open(&authorize(&client_id)).await;
    let mut second = Browser::new(&world);
    for word in ["approve", "deny"] {
        let answer = second.decide(&page, word).await;
        assert_eq!((answer.status, answer.location()), (403, None), "{word} without a cookie");
    }
    second.open(&authorize(&client_id)).await;
    assert_eq!(second.decide(&page, "approve").await.status, 403, "with the cookie of another login");
    let name = first.cookies.keys().next().unwrap().clone();
    second.cookies.insert(name, "planted".to_owned());
    assert_eq!(second.decide(&page, "approve").await.status, 403, "with a cookie of the right name");
    assert!(first.decide(&page, "approve").await.location().is_some());
    assert!(!first.cookies.keys().any(|name| name.contains("consent")), "the cookie goes with the decision");
}

#[tokio::test]
async fn a_decision_is_taken_once_and_only_by_post() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let mut browser = Browser::new(&world);
    let page = browser.open(&authorize(&client_id)).await;
    let (transaction, csrf) = (page.field("transaction"), page.field("csrf"));
    let fields = [("transaction", transaction.clone()), ("csrf", csrf.clone()), ("decision", "approve".to_owned())];
    assert_eq!(browser.get(&query("/consent", &fields)).await.status, 405);
    for odd in ["", "yes", "APPROVE"] {
        let fields = [("transaction", transaction.as_str()), ("csrf", &csrf), ("decision", odd)];
        assert_eq!(browser.send(form("/consent", &fields)).await.status, 400, "{odd}");
    }
    assert!(browser.decide(&page, "approve").await.location().is_some());
    let again = browser.decide(&page, "approve").await;
    assert_eq!(again.location(), None);
}

#[tokio::test]
async fn a_consent_that_comes_too_late_is_none() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let mut browser = Browser::new(&world);
    let page = browser.open(&authorize(&client_id)).await;
    world.clock.advance(Duration::from_secs(601));
    let answer = browser.decide(&page, "approve").await;
    assert_eq!((answer.status, answer.location()), (400, None));
}

#[tokio::test]
async fn two_tabs_do_not_disturb_each_other() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let mut browser = Browser::new(&world);
    let first = browser.open(&authorize(&client_id)).await;
    let second = browser.open(&authorize(&client_id)).await;
    let to_second = browser.decide(&second, "approve").await.location().unwrap().to_owned();
    let to_first = browser.decide(&first, "approve").await.location().unwrap().to_owned();
    for departure in [to_first, to_second] {
        let back = world.entra.sign_in(&departure, identity::ALICE);
        assert!(browser.get(&back).await.parameter("code").is_some());
    }
}

#[tokio::test]
async fn cookies_belong_to_the_host_alone_and_the_one_of_the_login_comes_with_consent() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let mut browser = Browser::new(&world);
    let page = browser.open(&authorize(&client_id)).await;
    let is_login = |answer: &Answer| {
        let lines = answer.headers.get_all(header::SET_COOKIE).iter();
        lines.filter(|line| line.to_str().unwrap().contains("login")).count()
    };
    assert_eq!(is_login(&page), 0);
    let answer = browser.decide(&page, "approve").await;
    assert_eq!(is_login(&answer), 1);
    for line in page.headers.get_all(header::SET_COOKIE).iter().chain(answer.headers.get_all(header::SET_COOKIE)) {
        let line = line.to_str().unwrap();
        assert!(line.starts_with("__Host-") && !line.contains("Domain"), "{line}");
        for attribute in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
            assert!(line.contains(attribute), "{line}");
        }
    }
}
