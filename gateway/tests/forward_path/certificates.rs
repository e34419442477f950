//! What a backend's certificate has to be: signed by the named authority, for the name or address that was dialled, and
//! good today. Each that is refused differs in one thing from one that is taken.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use portcullis::backend::Settings;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::backend::Backend;
use crate::world::{World, call, settings};

/// An authority of its own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }
}

/// What the server shows.
struct Shown {
    name: &'static str,
    from: i32,
    to: i32,
}

const GOOD: Shown = Shown { name: "localhost", from: 2020, to: 2100 };

fn acceptor(authority: &Authority, shown: &Shown) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([shown.name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(shown.from, 1, 1);
    params.not_after = date_time_ymd(shown.to, 1, 1);
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).unwrap()))
}

/// The status of a call of `https://host`, and how many requests the server heard.
async fn reach(host: &str, trusted: &Authority, acceptor: TlsAcceptor, directory: &Path) -> (u16, usize) {
    let ca_file = directory.join("ca.pem");
    std::fs::write(&ca_file, &trusted.pem).unwrap();
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let backend = Backend::at(address);
    let serving = backend.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = socket.accept().await {
            let (backend, acceptor) = (serving.clone(), acceptor.clone());
            tokio::spawn(async move { backend.serve(acceptor.accept(connection).await.ok()?).await });
        }
    });
    let settings = Settings { ca_file: Some(ca_file), ..settings(&format!("https://{host}:{}/mcp", address.port())) };
    let world = World::with(backend, settings).await;
    let status = world.post(call("echo", 0)).await.status();
    (status, world.backend.log().requests.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_counts_only_from_the_right_authority_for_the_right_name_and_today() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let directory = tempfile::tempdir().unwrap();
    let cases = [
        ("localhost", &ours, GOOD, 200, "a good one"),
        ("127.0.0.1", &ours, Shown { name: "127.0.0.1", ..GOOD }, 200, "a good one for an address"),
        ("localhost", &theirs, GOOD, 502, "another authority's"),
        ("localhost", &ours, Shown { name: "localhost.example", ..GOOD }, 502, "for another name"),
        ("127.0.0.1", &ours, GOOD, 502, "for a name, where an address was dialled"),
        ("127.0.0.1", &ours, Shown { name: "127.0.0.2", ..GOOD }, 502, "for another address"),
        ("localhost", &ours, Shown { to: 2021, ..GOOD }, 502, "expired"),
        ("localhost", &ours, Shown { from: 2099, ..GOOD }, 502, "not good yet"),
    ];
    for (host, signer, shown, status, what) in cases {
        let reached = reach(host, &ours, acceptor(signer, &shown), directory.path()).await;
        assert_eq!(reached, (status, usize::from(status == 200)), "{what}");
    }
}
