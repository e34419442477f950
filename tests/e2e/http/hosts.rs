//! Names and paths: the gateway answers to its own, byte for byte.

use portcullis_tests::{Backend, WorldBuilder, raw};
use serde_json::Value;

use crate::{call, request, world};

#[tokio::test]
async fn only_hosts_that_are_ours_are_served() {
    let (world, backend, token) = world().await;
    let body = call();
    let with_host = |host: &str| {
        format!("POST /mcp HTTP/1.1\r\n{host}authorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let port = world.port;
    for host in [
        "",
        "host: \r\n",
        "host: evil.example\r\n",
        "host: 127.0.0.1\r\n",
        "host: 127.0.0.1:1\r\n",
        "host: a b\r\n",
        "host: 127.0.0.1/x\r\n",
        "host: u@127.0.0.1\r\n",
    ] {
        let status = raw::status(&raw::send(port, &with_host(host)).await);
        assert!(matches!(status, 400 | 421), "{host:?}: {status}");
    }
    assert!(backend.requests().is_empty());
    for host in ["127.0.0.1", "localhost", "LOCALHOST"] {
        assert_eq!(raw::status(&raw::send(port, &with_host(&format!("host: {host}:{port}\r\n"))).await), 200, "{host}");
    }
}

#[tokio::test]
async fn only_the_exact_path_is_a_backends() {
    let (world, backend, token) = world().await;
    let body = call();
    let at = |path: &str| {
        request(&world, &token, &format!("POST {path} HTTP/1.1"), &format!("content-length: {}\r\n", body.len()), &body)
    };
    for path in [
        "//mcp",
        "/./mcp",
        "/x/../mcp",
        "/%6dcp",
        "/mcp%2f",
        "/MCP",
        "/mcp/x",
        "/mcp;x",
        "/mcp//",
        "/mcp%00",
        "/metrics",
        "/readyz",
        "/",
    ] {
        let status = raw::status(&raw::send(world.port, &at(path)).await);
        assert!(matches!(status, 400 | 404 | 405), "{path}: {status}");
    }
    assert!(backend.requests().is_empty());
    for path in ["/mcp", "/mcp/", "/mcp?x=/healthz"] {
        assert_eq!(raw::status(&raw::send(world.port, &at(path)).await), 200, "{path}");
    }
}

#[tokio::test]
async fn a_further_name_is_served_where_it_is_listed_and_changes_no_url() {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).server("hosts: [mcp.internal, 'mcp.other:8443']").start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let body = call();
    let at = |host: &str, token: &str| {
        format!("POST /mcp HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    for host in ["mcp.internal", "MCP.internal:80", "mcp.other:8443"] {
        assert_eq!(raw::status(&raw::send(world.port, &at(host, &token)).await), 200, "{host}");
        let challenge = raw::send(world.port, &at(host, "x")).await;
        assert!(challenge.starts_with("HTTP/1.1 401"), "{challenge}");
        assert!(challenge.contains(&format!("resource_metadata=\"{}/", world.url())), "{challenge}");
    }
    for host in ["mcp.internal:81", "mcp.other", "evil.mcp.internal", "metadata.google.internal"] {
        // Before the token is looked at.
        for token in [token.as_str(), "x"] {
            assert_eq!(raw::status(&raw::send(world.port, &at(host, token)).await), 421, "{host}");
        }
    }
    assert_eq!(backend.requests().len(), 3);
}

#[tokio::test]
async fn authentication_applies_however_a_path_is_dressed() {
    let (world, backend, _) = world().await;
    let body = call();
    let length = format!(
        "content-length: {}\r\nuser-agent: kube-probe/1.30\r\nx-forwarded-uri: /livez\r\nx-original-url: /livez\r\n",
        body.len()
    );
    for path in ["/mcp?x=/healthz", "/mcp?/.well-known/oauth-protected-resource", "/mcp/?a=/livez", "/mcp?%00"] {
        let line = format!("POST {path} HTTP/1.1");
        let status = raw::status(&raw::send(world.port, &request(&world, "x", &line, &length, &body)).await);
        assert_eq!(status, 401, "{path}");
    }
    for path in
        ["/healthz/../mcp", "/healthz%2f..%2fmcp", "/mcp%23/healthz", "/.well-known/../mcp", "/mcp%3fx", "/mcp%252f"]
    {
        let line = format!("POST {path} HTTP/1.1");
        let status = raw::status(&raw::send(world.port, &request(&world, "x", &line, &length, &body)).await);
        assert!(matches!(status, 400 | 404 | 405), "{path}: {status}");
    }
    for path in ["/metrics", "/livez", "/readyz", "/admin", "/debug/pprof/", "/debug", "/server-status"] {
        let line = format!("GET {path} HTTP/1.1");
        let answer = raw::send(world.port, &request(&world, "x", &line, "", "")).await;
        assert_eq!(raw::status(&answer), 404, "{path}");
        assert!(!answer.contains("portcullis_"), "{path}");
    }
    assert!(backend.requests().is_empty());
}

#[tokio::test]
async fn forwarding_fields_change_no_url_and_no_host() {
    let (world, _, _) = world().await;
    let spoofed = "x-forwarded-host: evil.example\r\nx-forwarded-proto: https\r\nx-forwarded-prefix: /evil\r\nx-original-url: /evil\r\nforwarded: host=evil.example;proto=https\r\n";
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource/mcp", "/mcp"] {
        let line = format!("GET {path} HTTP/1.1");
        let plain = raw::send(world.port, &request(&world, "x", &line, "", "")).await;
        let dressed = raw::send(world.port, &request(&world, "x", &line, spoofed, "")).await;
        // Each answer has a date and an id of its own.
        let is_its_own = |line: &str| {
            let line = line.to_ascii_lowercase();
            line.starts_with("date:") || line.starts_with("x-request-id:")
        };
        let lasting = |answer: &str| answer.lines().filter(|line| !is_its_own(line)).collect::<Vec<_>>().join("\n");
        assert_eq!(lasting(&plain), lasting(&dressed), "{path}");
        assert!(dressed.contains(&world.url()) && !dressed.contains("evil"), "{path}: {dressed}");
    }
}
