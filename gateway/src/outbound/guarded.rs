//! HTTP to addresses that strangers choose: documents of clients and their keys.
//!
//! https on its own port, to public unicast addresses: a name is resolved once, every address is judged, and the
//! connection is made to those that were. No redirects, no cookies, no credentials, no proxy of the environment, no
//! compression; few at a time, little, and quickly or not at all. Callers tell strangers nothing of what went wrong.

mod permits;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Response, redirect};
use url::Url;

use self::permits::Permits;
use super::public::is_public;
use super::{OutboundError, certificates, read};

/// For everything: name, connection, answer and body.
const DEADLINE: Duration = Duration::from_secs(5);
/// More than any honest document has.
const MAX_BODY: usize = 64 * 1024;

/// Fetches what strangers point at.
#[derive(Debug)]
pub struct Guarded {
    client: Client,
    permits: Permits,
}

/// One server on this machine that plays every host; for tests.
#[derive(Clone, Debug)]
pub struct Double {
    /// Where it listens.
    pub address: SocketAddr,
    /// The authority that signed its certificate, as PEM.
    pub ca_pem: Vec<u8>,
}

/// Why nothing was fetched; for the log only.
#[derive(Debug, thiserror::Error)]
pub enum GuardedError {
    /// Too many fetches at a time; nothing was asked, and nothing follows of the document.
    #[error("too many documents are being fetched at the moment, of this host or in all")]
    Busy,
    /// No connection, no good certificate, no answer, or an address that is not public.
    #[error("cannot be reached, or is not public: {0:?}")]
    Unreachable(reqwest::Error),
    /// It took too long.
    #[error("took longer than {}s", DEADLINE.as_secs())]
    Slow,
    /// Another status than 200.
    #[error("answered with status {0}")]
    Status(u16),
    /// Not JSON by its media type, or compressed although nobody asked.
    #[error("is not plain `application/json`")]
    NotJson,
    /// Too long, or cut short.
    #[error("cannot be read: {0}")]
    Body(OutboundError),
}

impl GuardedError {
    /// Its label in metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            // The client keeps the same time, and may be first.
            Self::Unreachable(error) | Self::Body(OutboundError::Unreachable { source: error, .. })
                if error.is_timeout() =>
            {
                "slow"
            }
            Self::Unreachable(_) => "unreachable",
            Self::Slow => "slow",
            Self::Status(_) => "status",
            Self::NotJson => "not_json",
            Self::Body(_) => "unreadable",
        }
    }
}

/// What came.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// A document.
    Document {
        /// Its bytes.
        body: Bytes,
        /// Its name for a conditional request (RFC 9110 section 8.8.3).
        etag: Option<HeaderValue>,
        /// How long it is fresh, where the server said so.
        fresh_for: Option<Duration>,
    },
    /// What the caller has is still so (304).
    Unchanged {
        /// How long it is fresh, where the server said so.
        fresh_for: Option<Duration>,
    },
}

impl Guarded {
    /// The guarded client; with a double, every name leads to it.
    ///
    /// # Errors
    ///
    /// Returns [`OutboundError::Tls`] when TLS cannot be set up.
    pub fn new(double: Option<&Double>) -> Result<Self, OutboundError> {
        let names = double.map_or(Names::Public, |double| Names::Double(double.address));
        let mut builder = Client::builder()
            .connect_timeout(DEADLINE)
            .timeout(DEADLINE)
            .redirect(redirect::Policy::none())
            .https_only(true)
            .no_proxy()
            .http1_only()
            // A connection is made to the addresses that were judged for it, and used once.
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(names))
            .tls_built_in_root_certs(false)
            .tls_built_in_native_certs(double.is_none())
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
        for authority in certificates(double.map(|double| double.ca_pem.as_slice()))? {
            builder = builder.add_root_certificate(authority);
        }
        let client = builder.build().map_err(OutboundError::Tls)?;
        Ok(Self { client, permits: Permits::new() })
    }

    /// Fetches a JSON document whose URL was judged by the caller; `etag` is of the one at hand.
    ///
    /// # Errors
    ///
    /// Returns a [`GuardedError`]; within five seconds, and up to three before for a turn.
    pub async fn fetch(&self, url: &str, etag: Option<&HeaderValue>) -> Result<Fetched, GuardedError> {
        let parsed = Url::parse(url).ok();
        let host = parsed.as_ref().and_then(Url::host_str).unwrap_or_default();
        let _permit = self.permits.take(host).await.ok_or(GuardedError::Busy)?;
        let mut request = self.client.get(url).header(header::ACCEPT, "application/json");
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let fetch = async {
            let response = request.send().await.map_err(|error| GuardedError::Unreachable(error.without_url()))?;
            take(response, url, etag.is_some()).await
        };
        tokio::time::timeout(DEADLINE, fetch).await.unwrap_or(Err(GuardedError::Slow))
    }
}

async fn take(response: Response, url: &str, conditional: bool) -> Result<Fetched, GuardedError> {
    let fresh_for = fresh_for(response.headers());
    match response.status() {
        StatusCode::NOT_MODIFIED if conditional => return Ok(Fetched::Unchanged { fresh_for }),
        StatusCode::OK => {}
        other => return Err(GuardedError::Status(other.as_u16())),
    }
    let headers = response.headers();
    if !is_json(headers) || headers.contains_key(header::CONTENT_ENCODING) {
        return Err(GuardedError::NotJson);
    }
    let etag = headers.get(header::ETAG).cloned();
    let body = read(response, url, MAX_BODY).await.map_err(GuardedError::Body)?;
    Ok(Fetched::Document { body, etag, fresh_for })
}

fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media == "application/json" || media.starts_with("application/") && media.ends_with("+json")
}

/// What `Cache-Control`, or else `Expires`, and `Age` leave of a document's life (RFC 9111 sections 4.2, 5.2.2 and 5.3).
fn fresh_for(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(header::CACHE_CONTROL).iter();
    let directives: Vec<String> = lines
        .flat_map(|line| line.to_str().unwrap_or("no-store").split(','))
        .map(|one| one.trim().to_ascii_lowercase())
        .collect();
    if directives.iter().any(|one| one == "no-store" || one == "no-cache" || one.starts_with("no-cache=")) {
        return Some(Duration::ZERO);
    }
    let mut ages = directives.iter().filter_map(|one| one.strip_prefix("max-age="));
    let max_age = match ages.next() {
        // Two that differ, or one that is no number, is as good as stale (section 4.2.1).
        Some(first) if ages.all(|other| other == first) => first.trim_matches('"').parse().unwrap_or(0),
        Some(_) => 0,
        None if headers.contains_key(header::EXPIRES) => until_expiry(headers).unwrap_or_default().as_secs(),
        None => return None,
    };
    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok()?.parse().ok()).unwrap_or(0);
    Some(Duration::from_secs(u64::saturating_sub(max_age, age)))
}

/// The time between `Date` and `Expires`; none where one of them is not there once, or cannot be read (`Expires: 0`).
fn until_expiry(headers: &HeaderMap) -> Option<Duration> {
    let of = |name: header::HeaderName| {
        let mut values = headers.get_all(name).iter();
        let (only, more) = (values.next()?, values.next());
        httpdate::parse_http_date(only.to_str().ok()?).ok().filter(|_| more.is_none())
    };
    of(header::EXPIRES)?.duration_since(of(header::DATE)?).ok()
}

/// How names are resolved.
#[derive(Clone, Debug)]
enum Names {
    /// To public addresses, or not at all.
    Public,
    /// All to one place.
    Double(SocketAddr),
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = match names {
                Names::Double(address) => vec![address],
                Names::Public => judged(tokio::net::lookup_host((name.as_str(), 0)).await?)?,
            };
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The addresses, when every one of them is public: a name with one inside is up to something.
fn judged(found: impl Iterator<Item = SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = found.collect();
    match found.iter().find(|address| !is_public(address.ip())) {
        Some(inside) => Err(refused(inside.ip())),
        None => Ok(found),
    }
}

fn refused(address: IpAddr) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("`{address}` is not a public address"))
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn at(addresses: &[&str]) -> io::Result<Vec<SocketAddr>> {
        judged(addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)))
    }

    #[test]
    fn a_name_is_followed_when_all_of_its_addresses_are_public() {
        assert_eq!(at(&["1.1.1.1", "2606:4700::1"]).unwrap().len(), 2);
        for mixed in
            [&["1.1.1.1", "127.0.0.1"][..], &["10.0.0.1", "1.1.1.1"], &["2606:4700::1", "::1"], &["64:ff9b::7f00:1"]]
        {
            assert!(at(mixed).is_err(), "{mixed:?}");
        }
    }

    #[tokio::test]
    async fn nothing_inside_is_contacted_whatever_its_name() {
        let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = inside.local_addr().unwrap().port();
        let guarded = Guarded::new(None).unwrap();
        for scheme in ["https", "http"] {
            let url = format!("{scheme}://localhost:{port}/x");
            let failure = guarded.fetch(&url, None).await.unwrap_err();
            assert!(matches!(failure, GuardedError::Unreachable(_)), "{url}: {failure}");
        }
        // The control: the name leads here, and the first to come that way is this one.
        let control = TcpStream::connect(("localhost", port)).await.unwrap();
        let (_, from) = inside.accept().await.unwrap();
        assert_eq!(from, control.local_addr().unwrap());
    }

    #[test]
    fn a_document_is_fresh_as_long_as_its_server_says() {
        const DATE: &str = "Fri, 27 Nov 2026 12:00:00 GMT";
        let of = |lines: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            }
            fresh_for(&headers).map(|duration| duration.as_secs())
        };
        for (lines, expected) in [
            (&[][..], None),
            (&[("cache-control", "public")], None),
            (&[("cache-control", "max-age=60")], Some(60)),
            (&[("cache-control", "public, MAX-AGE=60"), ("age", "20")], Some(40)),
            (&[("cache-control", "max-age=60"), ("age", "90")], Some(0)),
            (&[("cache-control", "max-age=60, no-cache")], Some(0)),
            (&[("cache-control", "max-age=60"), ("cache-control", "no-store")], Some(0)),
            (&[("cache-control", "max-age=60, max-age=90")], Some(0)),
            (&[("cache-control", "max-age=soon")], Some(0)),
            (&[("date", DATE), ("expires", "Fri, 27 Nov 2026 12:02:00 GMT")], Some(120)),
            (&[("date", DATE), ("expires", "Fri, 27 Nov 2026 12:02:00 GMT"), ("age", "20")], Some(100)),
            (&[("date", DATE), ("expires", "Fri, 27 Nov 2026 12:02:00 GMT"), ("cache-control", "max-age=9")], Some(9)),
            (&[("date", DATE), ("expires", "Fri, 27 Nov 2026 12:02:00 GMT"), ("cache-control", "no-store")], Some(0)),
            (&[("date", DATE), ("expires", "Fri, 27 Nov 2026 11:00:00 GMT")], Some(0)),
            (&[("date", DATE), ("expires", "0")], Some(0)),
            (&[("expires", "Fri, 27 Nov 2026 12:02:00 GMT")], Some(0)),
        ] {
            assert_eq!(of(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_document_says_that_it_is_json() {
        for (media, good) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/oauth-client+json", true),
            ("text/html", false),
            ("text/json", false),
            ("application/javascript", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, media.parse().unwrap())]);
            assert_eq!(is_json(&headers), good, "{media}");
        }
    }
}
