//! Backends over TLS: the certificate is verified, by the named authority and for the name or address that was dialled.
//!
//! The certificate in `tls/` is for `localhost` and `127.0.0.1`; its authority's key was thrown away.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis::backend::Settings;
use portcullis::outbound::{self, Outbound, OutboundError};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::backend::Backend;
use crate::world::{World, call, settings};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/forward_path/tls").join(name)
}

fn acceptor() -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(file("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config =
        config.with_safe_default_protocol_versions().unwrap().with_no_client_auth().with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

async fn world(host: &str, ca_file: Option<PathBuf>) -> World {
    let acceptor = acceptor();
    let socket = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let backend = Backend::at(address);
    let serving = backend.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = socket.accept().await {
            let (backend, acceptor) = (serving.clone(), acceptor.clone());
            tokio::spawn(async move { backend.serve(acceptor.accept(connection).await.ok()?).await });
        }
    });
    let url = format!("https://{host}:{}/mcp", address.port());
    World::with(backend, Settings { ca_file, ..settings(&url) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_with_a_certificate_of_the_named_authority_is_called_over_one_connection() {
    for host in ["127.0.0.1", "localhost"] {
        let world = world(host, Some(file("ca.pem"))).await;
        for size in [0, 10, 200_000] {
            let body = call("echo", size);
            let answer = world.post(&body).await;
            assert!(answer.is_ok() && answer.text() == format!("{{\"len\":{}}}", body.len()), "{host}: {answer:?}");
        }
        assert_eq!(world.backend.log().connections, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_whose_certificate_does_not_verify_hears_nothing() {
    // Signed by an authority that the system does not know; and for another address than the one dialled.
    for (host, ca_file) in [("127.0.0.1", None), ("127.0.0.2", Some(file("ca.pem")))] {
        let world = world(host, ca_file).await;
        assert_eq!(world.post(call("echo", 0)).await.status(), 502, "{host}");
        assert_eq!(world.backend.log().requests.len(), 0);
    }
}

/// The identity provider's documents come the same way, keys included.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_comes_from_a_host_whose_certificate_verifies_and_from_no_other() {
    let socket = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let (port, acceptor) = (socket.local_addr().unwrap().port(), acceptor());
    tokio::spawn(async move {
        while let Ok((connection, _)) = socket.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(connection).await.ok()?;
                stream.read_u8().await.ok()?;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").await.ok()?;
                stream.shutdown().await.ok()
            });
        }
    });
    let fetch = async |host: &str, ca: Option<PathBuf>| {
        let extra_ca_pem = ca.map(|file| std::fs::read(file).unwrap());
        let outbound = Outbound::new(&outbound::Settings { extra_ca_pem, ..outbound::Settings::default() }).unwrap();
        outbound.fetch(&format!("https://{host}:{port}/keys"), 100).await
    };
    assert_eq!(fetch("127.0.0.1", Some(file("ca.pem"))).await.unwrap(), "{}");
    for (host, ca) in [("127.0.0.1", None), ("127.0.0.2", Some(file("ca.pem")))] {
        assert!(matches!(fetch(host, ca).await, Err(OutboundError::Unreachable { .. })), "{host}");
    }
}
