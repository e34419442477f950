//! The door to the outside: HTTP to hosts that the operator configured, which is the identity provider.
//!
//! Deadlines, a cap on what is read, no redirects, https unless the host is this machine. Addresses that strangers
//! choose get a client of their own when there is something to fetch from them.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use url::{Host, Url};

const CONNECT: Duration = Duration::from_secs(5);
const TOTAL: Duration = Duration::from_secs(10);

/// What went wrong on the way out.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// Plain http to another machine.
    #[error("`{0}` is not https; only loopback addresses may be reached without TLS")]
    NotHttps(String),
    /// No connection, no answer in time, or a broken one.
    #[error("`{url}` cannot be reached: {source}; check the network, the name and the certificate")]
    Unreachable {
        /// Where to.
        url: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// An answer other than 200.
    #[error("`{url}` answered with status {status}")]
    Status {
        /// Where to.
        url: String,
        /// The status.
        status: u16,
    },
    /// More bytes than expected.
    #[error("`{0}` answered with more than is reasonable")]
    TooLarge(String),
}

/// Builds the client.
///
/// # Errors
///
/// Returns an error when TLS cannot be set up.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .timeout(TOTAL)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Gets a document of at most `cap` bytes.
///
/// # Errors
///
/// Returns an [`OutboundError`] for anything but a 200 with a body within the cap.
pub async fn get(client: &reqwest::Client, url: &str, cap: usize) -> Result<Bytes, OutboundError> {
    check_scheme(url)?;
    let unreachable = |source| OutboundError::Unreachable { url: url.to_owned(), source };
    let mut response = client.get(url).send().await.map_err(unreachable)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(OutboundError::Status { url: url.to_owned(), status: response.status().as_u16() });
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > cap {
            return Err(OutboundError::TooLarge(url.to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn check_scheme(url: &str) -> Result<(), OutboundError> {
    let refused = || OutboundError::NotHttps(url.to_owned());
    let parsed = Url::parse(url).map_err(|_error| refused())?;
    let loopback = match parsed.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if parsed.scheme() == "https" || parsed.scheme() == "http" && loopback { Ok(()) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        assert!(check_scheme("https://login.microsoftonline.com/x").is_ok());
        assert!(check_scheme("http://127.0.0.1:9400/x").is_ok());
        for url in ["http://login.microsoftonline.com/x", "http://127.0.0.1.evil.example/", "file:///etc/passwd", "x"] {
            assert!(check_scheme(url).is_err(), "{url}");
        }
    }
}
