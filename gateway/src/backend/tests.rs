use super::*;

pub(super) fn settings(url: &str) -> Settings {
    Settings {
        name: BackendName::try_from("weather").unwrap(),
        url: url.parse().unwrap(),
        ca_file: None,
        connect_timeout: Duration::from_secs(2),
        timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(2),
        care: Care::default(),
    }
}

#[test]
fn a_url_says_host_and_target() {
    let cases = [
        ("http://127.0.0.1:9000/mcp", "127.0.0.1:9000", "/mcp"),
        ("https://[::1]/mcp?tenant=a", "[::1]", "/mcp?tenant=a"),
        ("http://weather.internal", "weather.internal", "/"),
    ];
    for (url, host, path) in cases {
        let upstream = Upstream::new(settings(url)).unwrap();
        assert_eq!((upstream.host_header(), upstream.target()), (host, path));
    }
}

#[test]
fn a_url_that_is_no_http_endpoint_is_refused() {
    for url in ["ftp://a/mcp", "unix:/run/mcp", "http://user:secret@a/mcp"] {
        assert!(matches!(Upstream::new(settings(url)), Err(SetupError::Url(_))), "{url}");
    }
}

#[test]
fn a_certificate_is_verified_by_name_even_for_an_ip_address() {
    let upstream = Upstream::new(settings("https://[::1]:8443/mcp")).unwrap();
    let peer = upstream.peer("[::1]:8443".parse().unwrap());
    assert_eq!(peer.sni, "::1");
    assert!(peer.options.verify_cert && peer.options.verify_hostname);
}

#[test]
fn an_authority_that_is_no_certificate_is_refused() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("ca.pem");
    for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&file, pem).unwrap();
        let settings = Settings { ca_file: Some(file.clone()), ..settings("https://a/mcp") };
        assert!(matches!(Upstream::new(settings), Err(SetupError::Authority(_))), "{pem}");
    }
    let settings = Settings { ca_file: Some(files.path().join("absent.pem")), ..settings("https://a/mcp") };
    assert!(matches!(Upstream::new(settings), Err(SetupError::Authority(_))));
}

#[tokio::test]
async fn nobody_there_is_an_error_with_a_name() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", taken.local_addr().unwrap());
    drop(taken);
    let error = Upstream::new(settings(&url)).unwrap().connect().await.unwrap_err();
    assert!(error.to_string().starts_with("backend `weather` cannot be connected to: "), "{error}");
}
