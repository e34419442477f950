use super::*;

fn outbound(allow_http: bool) -> Outbound {
    Outbound::new(&Settings { allow_http, ..Settings::default() }).unwrap()
}

#[test]
fn plain_http_is_for_this_machine_only() {
    let outbound = outbound(false);
    let good =
        ["https://login.microsoftonline.com/x", "http://127.0.0.1:9400/x", "http://[::1]/x", "http://localhost/x"];
    for url in good {
        assert!(outbound.check(url).is_ok(), "{url}");
    }
    for url in [
        "http://login.microsoftonline.com/x",
        "http://127.0.0.1.evil.example/",
        "http://localhost.evil.example/",
        "http://127.0.0.1@evil.example/",
        "http://0.0.0.0/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "127.0.0.1",
        "",
    ] {
        assert!(outbound.check(url).is_err(), "{url}");
    }
}

#[test]
fn plain_http_elsewhere_has_to_be_asked_for() {
    let outbound = outbound(true);
    assert!(outbound.check("http://idp.internal/x").is_ok());
    assert!(outbound.check("file:///etc/passwd").is_err());
}

#[tokio::test]
async fn a_refused_address_is_not_contacted() {
    let failure = outbound(false).fetch("http://idp.invalid/x", 1).await.unwrap_err();
    assert!(matches!(failure, OutboundError::NotHttps(_)), "{failure}");
}

#[test]
fn authorities_that_are_no_pem_are_refused() {
    let broken = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n".to_vec();
    let settings = Settings { extra_ca_pem: Some(broken), ..Settings::default() };
    assert!(matches!(Outbound::new(&settings), Err(OutboundError::Tls(_))));
}
