//! A server over TLS that plays the hosts of clients: metadata documents and keys, well-behaved or not.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The hosts that its certificate is for.
pub const HOSTS: [&str; 3] = ["client.example", "other.example", "keys.example"];

/// What is at one URL.
#[derive(Clone, Debug)]
pub struct Page {
    /// The status line's rest and the header fields, without the empty line.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
    /// How long the server waits between two bytes of the body; none: it is sent at once.
    pub pause: Option<Duration>,
    /// Its name: who has it already is told so, and not sent it again.
    pub etag: Option<String>,
}

impl Page {
    /// JSON that may be kept for a minute.
    #[must_use]
    pub fn json(body: &impl ToString) -> Self {
        Self::with("200 OK", "content-type: application/json\r\ncache-control: max-age=60\r\n", body.to_string())
    }

    /// A status, fields and a body.
    #[must_use]
    pub fn with(status: &str, fields: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let head = format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\nconnection: close\r\n", body.len());
        Self { head, body, pause: None, etag: None }
    }

    /// Under a name.
    #[must_use]
    pub fn named(self, etag: &str) -> Self {
        Self { head: format!("{}etag: {etag}\r\n", self.head), etag: Some(etag.to_owned()), ..self }
    }

    /// Byte by byte.
    #[must_use]
    pub fn slowly(self, pause: Duration) -> Self {
        Self { pause: Some(pause), ..self }
    }
}

/// The running server.
#[derive(Debug)]
pub struct Documents {
    /// Its port.
    pub port: u16,
    directory: TempDir,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    pages: Mutex<HashMap<String, Page>>,
    seen: Mutex<Vec<String>>,
}

impl Documents {
    /// Starts it.
    pub async fn start() -> Self {
        let names: Vec<String> = HOSTS.iter().map(|host| (*host).to_owned()).collect();
        let own = rcgen::generate_simple_self_signed(names).unwrap();
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("ca.pem"), own.cert.pem()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), stream, Arc::clone(&served)));
            }
        });
        Self { port, directory, shared }
    }

    /// Puts a page at a URL.
    pub fn put(&self, url: &str, page: Page) {
        self.shared.pages.lock().unwrap().insert(url.to_owned(), page);
    }

    /// Takes every page away: each is answered by 503 from now on.
    pub fn take_down(&self) {
        self.shared.pages.lock().unwrap().clear();
    }

    /// The heads of the requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The authority of its certificate.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The line of configuration that leads every name here.
    #[must_use]
    pub fn config(&self) -> String {
        let (port, ca_file) = (self.port, self.ca_file());
        format!("document_double: {{ address: '127.0.0.1:{port}', ca_file: '{}' }}", ca_file.display())
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, shared: Arc<Shared>) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let host = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("host: ").map(str::to_owned));
    let url = format!("https://{}{path}", host.unwrap_or_default());
    shared.seen.lock().unwrap().push(head.clone());
    let page = shared.pages.lock().unwrap().get(&url).cloned();
    let mut page = page.unwrap_or_else(|| Page::with("503 Service Unavailable", "", ""));
    if let Some(etag) =
        page.etag.take().filter(|etag| head.to_ascii_lowercase().contains(&format!("if-none-match: {etag}")))
    {
        page = Page::with("304 Not Modified", "cache-control: max-age=60\r\n", "").named(&etag);
    }
    let _ = stream.write_all(format!("{}\r\n", page.head).as_bytes()).await;
    match page.pause {
        None => drop(stream.write_all(&page.body).await),
        Some(pause) => {
            for byte in page.body {
                tokio::time::sleep(pause).await;
                if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = stream.shutdown().await;
}
