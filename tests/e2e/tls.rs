//! TLS towards clients: versions, protocols, clients' certificates, and a certificate that is renewed.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;

use portcullis_tests::certificate::pair;
use portcullis_tests::process::binary;
use portcullis_tests::{Backend, Process, World, WorldBuilder, free_port};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

async fn world() -> (World, String) {
    let (certificate, key) = pair();
    let world = WorldBuilder::new(&Backend::plain().await).tls(&certificate, &key).start().await;
    (world, certificate)
}

fn client(
    certificate: &str,
    versions: &[&'static SupportedProtocolVersion],
    own: Option<(&str, &str)>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let builder = builder.with_root_certificates(roots);
    match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    }
}

async fn connect(world: &World, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", world.port)).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await
}

/// What a plain request over the connection is answered; empty when it is cut.
async fn get(world: &World, mut stream: TlsStream<TcpStream>) -> String {
    let request = format!(
        "GET /.well-known/oauth-authorization-server HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\n\r\n",
        world.port
    );
    let mut answer = Vec::new();
    if stream.write_all(request.as_bytes()).await.is_ok() {
        let _ = stream.read_to_end(&mut answer).await;
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_call_goes_over_tls_and_plain_http_does_not() {
    let (world, _) = world().await;
    let token = world.identity.mint("rita", &Value::Null);
    let answer = world.ask(&token, "tools/call", json!({ "name": "get_forecast" })).await;
    assert_eq!(answer["result"]["isError"], false);
    let metadata = world.http().get(format!("{}/.well-known/oauth-authorization-server", world.url()));
    let issuer: Value = metadata.send().await.unwrap().json().await.unwrap();
    assert_eq!(issuer["issuer"], world.url());
    assert!(reqwest::get(world.url().replace("https", "http")).await.is_err());
}

#[tokio::test]
async fn both_versions_and_both_protocols_are_spoken_and_no_early_data_is_taken() {
    let (world, certificate) = world().await;
    for version in [&version::TLS12, &version::TLS13] {
        let mut config = client(&certificate, &[version], None);
        config.enable_early_data = true;
        let config = Arc::new(config);
        // Twice, so that the second could resume the first.
        for _ in 0..2 {
            let stream = connect(&world, (*config).clone()).await.unwrap();
            assert!(!stream.get_ref().1.is_early_data_accepted());
            assert!(get(&world, stream).await.starts_with("HTTP/1.1 200"), "{version:?}");
        }
    }
    let mut config = client(&certificate, &[&version::TLS13], None);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = connect(&world, config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let uri = format!("{}/.well-known/oauth-authorization-server", world.url());
    let request = http::Request::get(uri).body(()).unwrap();
    let (answer, _) = client.ready().await.unwrap().send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
}

/// The first message of a client whose highest version is this (RFC 5246 section 7.4.1.2), with suites and curves that
/// every version up to 1.2 has.
fn hello(version: u8) -> Vec<u8> {
    let version = [3, version];
    // ECDHE_ECDSA: AES-128-GCM of 1.2, AES-256-GCM of 1.2, AES-128-CBC-SHA of 1.0 and later, and no renegotiation.
    let suites = [0xc0, 0x2b, 0xc0, 0x2c, 0xc0, 0x09, 0x00, 0xff];
    let extensions =
        [[0, 10, 0, 6, 0, 4, 0, 29, 0, 23].as_slice(), &[0, 11, 0, 2, 1, 0], &[0, 13, 0, 6, 0, 4, 4, 3, 2, 3]].concat();
    let counted = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let body = [version.as_slice(), &[7; 32], &[0], &counted(&suites), &[1, 0], &counted(&extensions)].concat();
    let message = [&[1, 0], counted(&body).as_slice()].concat();
    [&[22, 3, 1], counted(&message).as_slice()].concat()
}

#[tokio::test]
async fn a_version_before_1_2_gets_no_handshake() {
    const HANDSHAKE: u8 = 22;
    const ALERT: u8 = 21;
    const PROTOCOL_VERSION: u8 = 70;
    let (world, _) = world().await;
    // SSL 3.0, TLS 1.0, 1.1; and the control, which differs in one byte.
    for (version, taken) in [(0, false), (1, false), (2, false), (3, true)] {
        let mut stream = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
        stream.write_all(&hello(version)).await.unwrap();
        let mut answer = Vec::new();
        while answer.len() < 7 && matches!(stream.read_buf(&mut answer).await, Ok(read) if read > 0) {}
        let kind = if taken { HANDSHAKE } else { ALERT };
        assert_eq!(answer.first(), Some(&kind), "3.{version}: {answer:?}");
        if !taken {
            assert_eq!(answer.get(6), Some(&PROTOCOL_VERSION), "3.{version}: {answer:?}");
            let _ = stream.read_to_end(&mut answer).await;
            assert_eq!(answer.len(), 7, "nothing but the alert: {answer:?}");
        }
    }
    assert_eq!(world.http().get(format!("{}/jwks", world.url())).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn with_an_authority_of_clients_nobody_comes_in_without_its_certificate() {
    let (certificate, key) = pair();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let signed_key = KeyPair::generate().unwrap();
    let signed = CertificateParams::new(vec!["client".to_owned()]).unwrap().signed_by(&signed_key, &authority).unwrap();
    let world = WorldBuilder::new(&Backend::plain().await).tls(&certificate, &key).start().await;
    // What it lacks can only be had by a restart.
    let mut world = world;
    std::fs::write(world.directory().join("clients.crt"), authority.pem()).unwrap();
    world.gateway.terminate().await;
    world.configure(|text| text.replace("key_file: tls.key }", "key_file: tls.key, client_ca_file: clients.crt }"));
    world.restart().await;
    let own = (signed.pem(), signed_key.serialize_pem());
    let (stranger, stranger_key) = pair();
    for (own, open) in [
        (None, false),
        (Some((stranger.as_str(), stranger_key.as_str())), false),
        (Some((own.0.as_str(), own.1.as_str())), true),
    ] {
        let answer = match connect(&world, client(&certificate, &[&version::TLS13], own)).await {
            Ok(stream) => get(&world, stream).await,
            Err(_) => String::new(),
        };
        assert_eq!(answer.starts_with("HTTP/1.1 200"), open, "{own:?}: {answer}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_counts_for_new_connections_and_a_bad_one_never() {
    let (world, first) = world().await;
    let serves = async |certificate: &str| connect(&world, client(certificate, &[&version::TLS13], None)).await.is_ok();
    let (second, key) = pair();
    assert!(serves(&first).await && !serves(&second).await);
    // Of another pair, and none at all.
    world.certify(&second, &pair().1);
    world.until_metric("portcullis_tls_reloads_total{result=\"refused\"} 1").await;
    assert!(world.probe("/readyz").await.contains("is not the key of"));
    world.certify("nonsense", &key);
    world.until_metric("portcullis_tls_reloads_total{result=\"refused\"} 2").await;
    assert!(serves(&first).await && !serves(&second).await);
    world.certify(&second, &key);
    world.until_metric("portcullis_tls_reloads_total{result=\"applied\"} 1").await;
    assert!(!serves(&first).await && serves(&second).await);
    let metrics = world.probe("/metrics").await;
    assert!(metrics.lines().any(|line| {
        let ends = line.strip_prefix("portcullis_tls_certificate_expiry_timestamp_seconds ");
        ends.is_some_and(|ends| ends.parse::<f64>().unwrap() > 1.9e9)
    }));
    let lifetime = metrics.lines().find_map(|line| line.strip_prefix("portcullis_tls_certificate_lifetime_seconds "));
    assert!(lifetime.is_some_and(|lifetime| lifetime.parse::<f64>().unwrap() > 86_400.0), "{metrics}");
    assert_eq!(world.probe("/readyz").await, "ready\n");

    // Refused for how it lies there; the rest of the configuration goes on changing, and the same bytes are taken later.
    let (third, key) = pair();
    let mode =
        |mode| std::fs::set_permissions(world.directory().join("tls.key"), Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    std::fs::write(world.directory().join("tls.key"), key).unwrap();
    std::fs::write(world.directory().join("tls.crt"), &third).unwrap();
    world.until_metric("portcullis_tls_refused 1").await;
    world.configure(|text| text.replace("roles: {", "roles: { Newcomers: { opens: [read] },"));
    world.until_metric("portcullis_config_reloads_total{result=\"applied\"} 1").await;
    assert!(serves(&second).await && !serves(&third).await);
    mode(0o600);
    world.until_metric("portcullis_tls_refused 0").await;
    assert!(serves(&third).await);

    // And all of it is in the trail, in this order.
    let [first, second, third] = [&first, &second, &third].map(|certificate| fingerprint(certificate));
    let lines = world.audit(6).await;
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line["certificate"].is_string())
        .map(|line| {
            let text = |name: &str| line[name].as_str().map(str::to_owned);
            assert!(line["type"] == "config" && line["ends"].as_i64().unwrap() > 1_900_000_000, "{line}");
            (text("event").unwrap(), text("certificate").unwrap(), text("before"), text("reason").unwrap_or_default())
        })
        .collect();
    let expected = [
        ("certificate_refused", &first, None, "is not the key of"),
        ("certificate_refused", &first, None, "holds no certificate"),
        ("certificate_reloaded", &second, Some(&first), ""),
        ("certificate_refused", &second, None, "is open to others"),
        ("certificate_reloaded", &third, Some(&second), ""),
    ];
    assert_eq!(told.len(), expected.len(), "{lines:?}");
    for ((event, certificate, before, reason), expected) in told.iter().zip(expected) {
        assert_eq!((event.as_str(), certificate, before.as_ref()), (expected.0, expected.1, expected.2), "{lines:?}");
        assert!(reason.contains(expected.3) && reason.is_empty() == expected.3.is_empty(), "{reason}");
    }
}

/// The SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` tells it.
fn fingerprint(pem: &str) -> String {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&der);
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

#[tokio::test]
async fn plain_http_over_a_network_is_refused_at_start() {
    let (world, _) = world().await;
    let written = std::fs::read_to_string(world.directory().join("gateway.yaml")).unwrap();
    let listen = format!("listen: '127.0.0.1:{}'", world.port);
    let open = written.replace(&listen, "listen: '0.0.0.0:1'");
    let plain = open.replace(", tls: { certificate_file: tls.crt, key_file: tls.key }", "");
    let behind = plain.replace("threads: 2", "threads: 2, trusted_proxies: [10.0.0.0/8]");
    let unencrypted = open.replace("public_url: 'https:", "public_url: 'http:");
    for (text, fault) in [
        (&open, ""),
        (&behind, ""),
        (&plain, "is open to the network without TLS"),
        (&behind.replace("10.0.0.0/8", "127.0.0.0/8"), "is open to the network without TLS"),
        (&unencrypted, "write it with https"),
    ] {
        let file = world.directory().join("checked.yaml");
        std::fs::write(&file, text).unwrap();
        let output = Command::new(binary("portcullis")).arg("check").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), fault.is_empty(), "{said}");
        assert!(said.contains(fault), "{said}");
    }
}

/// A network of its own with three addresses, of which one is a trusted proxy's: each asks over plain HTTP, and one often.
const NETWORK: &str = r#"
ip link set lo up && ip address add 10.1.1.1/32 dev lo && ip address add 10.1.1.2/32 dev lo || exit 9
"$PORTCULLIS" serve --config gateway.yaml >gateway.log 2>&1 &
ask() { curl -s -o /dev/null -w '%{http_code}\n' --interface "$@" -H 'Host: mcp.example.com' http://10.1.1.2:8080/jwks; }
for try in $(seq 400); do [ "$(ask 10.1.1.1)" = 000 ] || break; sleep 0.05; done
ask 10.1.1.1; ask 127.0.0.1; ask 10.1.1.2; ask 10.1.1.2 -H 'X-Forwarded-For: 10.1.1.1'
for try in $(seq 38); do ask 10.1.1.2 >/dev/null; done
curl -s http://127.0.0.1:9090/metrics | grep '^portcullis_turned_away_total.*plain'
kill $!
wait
"#;

#[tokio::test]
async fn over_a_network_plain_http_is_for_proxies_alone_and_strangers_are_counted_and_fill_no_log() {
    let spaces = |script: &str, directory: &std::path::Path| {
        let mut command = Command::new("unshare");
        command.args(["-rn", "sh", "-c", script]).current_dir(directory).env("PORTCULLIS", binary("portcullis"));
        command.output().unwrap_or_else(|error| panic!("unshare: {error}; install util-linux"))
    };
    let directory = tempfile::tempdir().unwrap();
    if !spaces("ip link set lo up", directory.path()).status.success() {
        // Containers and some kernels let nobody but root have a network of their own.
        let _ =
            std::io::Write::write_all(&mut std::io::stderr(), b"not tried: no network namespace is to be had here\n");
        return;
    }
    let written = "
server: { public_url: 'https://mcp.example.com', listen: '0.0.0.0:8080', trusted_proxies: [10.1.1.1], shutdown_grace: 1s }
entra: { tenant_id: 11111111-2222-4333-8444-555555555555, client_id: aaaaaaaa-0000-4000-8000-00000000c1d1, client_secret_file: secret }
backends: { weather: { url: 'http://127.0.0.1:9000/mcp' } }
policy: { roles: { r: { opens: [read] } }, tools: { weather: { read: ['*'] } } }
";
    std::fs::write(directory.path().join("gateway.yaml"), written).unwrap();
    std::fs::write(directory.path().join("secret"), "hunter2").unwrap();
    let output = spaces(NETWORK, directory.path());
    let said = std::fs::read_to_string(directory.path().join("gateway.log")).unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    // The proxy and the machine itself are answered; a stranger is not, whatever it says of itself.
    let expected = "200\n200\n403\n403\nportcullis_turned_away_total{reason=\"plain_http\"} 40\n";
    assert_eq!(told, expected, "{}\n{said}", String::from_utf8_lossy(&output.stderr));
    // Once a minute, and a minute may begin meanwhile.
    assert!((1..=2).contains(&said.matches("plain HTTP from an address").count()), "{said}");
}

#[tokio::test]
async fn a_laptop_has_a_certificate_of_its_own_and_is_told_its_fingerprint() {
    let (world, _) = world().await;
    let directory = world.directory();
    let written = std::fs::read_to_string(directory.join("gateway.yaml")).unwrap();
    let (port, admin) = (free_port(), free_port());
    let text = written.replace(", tls: { certificate_file: tls.crt, key_file: tls.key }", "");
    let text = text
        .replace(&world.port.to_string(), &port.to_string())
        .replace(&world.admin_port.to_string(), &admin.to_string());
    std::fs::write(
        directory.join("dev.yaml"),
        text.replace("path: state }", "path: dev }").replace("audit.jsonl", "dev.jsonl"),
    )
    .unwrap();
    let mut command = tokio::process::Command::new(binary("portcullis"));
    command.args(["serve", "--dev-tls", "--config"]).arg(directory.join("dev.yaml"));
    let gateway = Process::start(command, directory.join("dev.log"));
    portcullis_tests::process::until_listening(port).await;
    let certificate = std::fs::read(directory.join("dev/dev-tls.crt")).unwrap();
    let trusting =
        reqwest::Client::builder().add_root_certificate(reqwest::Certificate::from_pem(&certificate).unwrap());
    let url = format!("https://localhost:{port}/jwks");
    assert_eq!(trusting.build().unwrap().get(&url).send().await.unwrap().status(), 200);
    assert!(reqwest::get(&url).await.is_err(), "nobody else trusts it");
    let fingerprint = fingerprint(std::str::from_utf8(&certificate).unwrap());
    assert!(gateway.said().contains(&fingerprint), "{}", gateway.said());
}
