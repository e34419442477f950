//! The door to the outside: HTTP to hosts that the operator configured, which is the identity provider.
//!
//! Deadlines, a cap on what is read, no redirects, the system's roots, https unless the host is this machine.
//! Addresses that strangers choose get a client of their own ([`guarded`]).

pub mod guarded;
mod public;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Certificate, Client, Response, StatusCode, redirect};
use serde::de::DeserializeOwned;
use url::{Host, Url};

use crate::json;

/// How to go out.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Authorities to believe beside the system's, as PEM.
    pub extra_ca_pem: Option<Vec<u8>>,
    /// Whether hosts other than this machine may be reached without TLS.
    pub allow_http: bool,
    /// How long a connection may take, and how long a whole exchange.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { extra_ca_pem: None, allow_http: false, timeout: Duration::from_secs(5) }
    }
}

/// What went wrong on the way out.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The client cannot be built.
    #[error("TLS cannot be set up: {0}; check the file with the additional authorities")]
    Tls(reqwest::Error),
    /// Plain http to another machine.
    #[error("`{0}` is not https; only loopback addresses may be reached without TLS")]
    NotHttps(String),
    /// No connection, no answer in time, or a broken one.
    #[error("`{url}` cannot be reached: {source:?}; check the network, the name and the certificate")]
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
    /// Not the JSON that was asked for.
    #[error("`{0}` answered with something that is not the expected JSON")]
    NotJson(String),
}

/// The client for hosts that the operator configured.
#[derive(Clone, Debug)]
pub struct Outbound {
    client: Client,
    allow_http: bool,
}

impl Outbound {
    /// Builds the client.
    ///
    /// # Errors
    ///
    /// Returns [`OutboundError::Tls`] when the additional authorities cannot be read.
    pub fn new(settings: &Settings) -> Result<Self, OutboundError> {
        let mut builder = Client::builder()
            .connect_timeout(settings.timeout)
            .timeout(settings.timeout)
            .redirect(redirect::Policy::none())
            .tls_built_in_root_certs(false)
            .tls_built_in_native_certs(true)
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
        for authority in certificates(settings.extra_ca_pem.as_deref())? {
            builder = builder.add_root_certificate(authority);
        }
        let client = builder.build().map_err(OutboundError::Tls)?;
        Ok(Self { client, allow_http: settings.allow_http })
    }

    /// The bare client, for a library that brings its own requests; see [`Outbound::check`] for their addresses.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether this address may be reached at all.
    ///
    /// # Errors
    ///
    /// Returns [`OutboundError::NotHttps`] for plain http to another machine, and for what is no address.
    pub fn check(&self, url: &str) -> Result<(), OutboundError> {
        let refused = || OutboundError::NotHttps(url.to_owned());
        let parsed = Url::parse(url).map_err(|_error| refused())?;
        match parsed.scheme() {
            "https" => Ok(()),
            "http" if self.allow_http || is_loopback(&parsed) => Ok(()),
            _ => Err(refused()),
        }
    }

    /// Gets a document of at most `cap` bytes.
    ///
    /// # Errors
    ///
    /// Returns an [`OutboundError`] for anything but a 200 with a body within the cap.
    pub async fn fetch(&self, url: &str, cap: usize) -> Result<Bytes, OutboundError> {
        self.check(url)?;
        let response = self.client.get(url).send().await.map_err(|source| unreachable(url, source))?;
        if response.status() != StatusCode::OK {
            return Err(OutboundError::Status { url: url.to_owned(), status: response.status().as_u16() });
        }
        read(response, url, cap).await
    }

    /// Gets a JSON document of at most `cap` bytes that can be read in one way only.
    ///
    /// # Errors
    ///
    /// As [`Outbound::fetch`], and [`OutboundError::NotJson`] for what is not of this shape.
    pub async fn fetch_json<T: DeserializeOwned>(&self, url: &str, cap: usize) -> Result<T, OutboundError> {
        let body = self.fetch(url, cap).await?;
        let text = std::str::from_utf8(&body).ok().filter(|text| json::check(text, json::MAX_DEPTH).is_ok());
        text.and_then(|text| serde_json::from_str(text).ok()).ok_or_else(|| OutboundError::NotJson(url.to_owned()))
    }
}

/// Compressed answers are never asked for, so the cap is on what arrives.
pub(crate) async fn read(mut response: Response, url: &str, cap: usize) -> Result<Bytes, OutboundError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|source| unreachable(url, source))? {
        if body.len() + chunk.len() > cap {
            return Err(OutboundError::TooLarge(url.to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn certificates(pem: Option<&[u8]>) -> Result<Vec<Certificate>, OutboundError> {
    pem.map_or_else(|| Ok(Vec::new()), |pem| Certificate::from_pem_bundle(pem).map_err(OutboundError::Tls))
}

fn unreachable(url: &str, source: reqwest::Error) -> OutboundError {
    OutboundError::Unreachable { url: url.to_owned(), source: source.without_url() }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests;
