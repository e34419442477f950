//! The operators' listener: as strict about heads as the clients' one, and closed to names and pages of others.

use portcullis_tests::{Backend, World, WorldBuilder, raw};

async fn world() -> World {
    let builder = WorldBuilder::new(&Backend::plain().await);
    builder.server("admin_hosts: [portcullis-admin.monitoring.svc]").start().await
}

async fn ask(world: &World, line: &str, fields: &str) -> String {
    raw::send(world.admin_port, format!("{line}\r\n{fields}\r\n").as_bytes()).await
}

#[tokio::test]
async fn operators_come_by_address_or_listed_name_and_nobody_by_another() {
    let world = world().await;
    let port = world.admin_port;
    for host in ["127.0.0.1", "10.1.2.3:9090", "[fd00::1]:9090", "localhost", "Portcullis-Admin.monitoring.svc:9090"] {
        for path in ["/livez", "/readyz", "/metrics"] {
            let answer = ask(&world, &format!("GET {path} HTTP/1.1"), &format!("host: {host}\r\n")).await;
            assert_eq!(raw::status(&answer), 200, "{host} {path}: {answer}");
        }
    }
    for host in ["evil.example", "rebound.evil.example:9090", "127.0.0.1.evil.example"] {
        let answer = ask(&world, "GET /metrics HTTP/1.1", &format!("host: {host}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 421") && !answer.contains("portcullis_"), "{host}: {answer}");
    }
    let own = format!("host: 127.0.0.1:{port}\r\norigin: http://127.0.0.1:{port}\r\n");
    assert_eq!(raw::status(&ask(&world, "GET /metrics HTTP/1.1", &own).await), 200, "a page of its own");
    for origin in ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1"] {
        let fields = format!("host: 127.0.0.1:{port}\r\norigin: {origin}\r\n");
        let answer = ask(&world, "GET /metrics HTTP/1.1", &fields).await;
        assert!(answer.starts_with("HTTP/1.1 403") && !answer.contains("portcullis_"), "{origin}: {answer}");
    }
}

#[tokio::test]
async fn operators_are_held_to_the_same_heads() {
    let world = world().await;
    let host = "host: 127.0.0.1\r\n";
    for (what, line, fields, status) in [
        ("no host", "GET /metrics HTTP/1.1", String::new(), 400),
        ("two hosts", "GET /livez HTTP/1.1", format!("{host}{host}"), 400),
        ("a bare LF", "GET /livez HTTP/1.1", format!("{host}x: a\nb: c\r\n"), 400),
        ("a body", "GET /livez HTTP/1.1", format!("{host}content-length: 1\r\n"), 400),
        (
            "two framings",
            "POST /livez HTTP/1.1",
            format!("{host}content-length: 1\r\ntransfer-encoding: chunked\r\n"),
            400,
        ),
        ("an upgrade", "GET /livez HTTP/1.1", format!("{host}connection: upgrade\r\nupgrade: websocket\r\n"), 400),
        ("a large head", "GET /livez HTTP/1.1", format!("{host}x: {}\r\n", "a".repeat(17_000)), 431),
        ("a POST", "POST /livez HTTP/1.1", format!("{host}content-length: 0\r\n"), 405),
        ("TRACE", "TRACE /livez HTTP/1.1", host.to_owned(), 405),
        ("another path", "GET /mcp HTTP/1.1", host.to_owned(), 404),
        ("a dressed path", "GET /x/../livez HTTP/1.1", host.to_owned(), 404),
        ("control", "GET /livez HTTP/1.1", host.to_owned(), 200),
    ] {
        let answer = ask(&world, line, &fields).await;
        assert_eq!(raw::status(&answer), status, "{what}: {answer}");
    }
}
