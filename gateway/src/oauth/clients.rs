//! Who may be a client, and what is known of one: named in the configuration, by the URL of a metadata document, or
//! registered here.
//!
//! A document is fetched when an authorization begins, and kept when it ends: what happens later does not depend on its
//! host. The operator says whose documents are read at all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::configured::{Configured, Credential};
use super::hosts::{CLIENT_DOMAINS, Hosts, REDIRECT_HOSTS};
use super::redirect_uri::Own;
use super::remote::{NotAvailable, Remote};
use super::{State as Server, client_metadata, plain};
use crate::clock::Clock;
use crate::jose::client_assertion;
use crate::json::{self, MAX_DEPTH};
use crate::metrics::Identity;
use crate::outbound::guarded::Guarded;
use crate::store::{Client, ClientKeys, Login, StoreError, Way};

/// A client that shows a new key is not asked for its keys more often than this.
const KEYS_COOL_DOWN: Duration = Duration::from_secs(30);

/// What is known of clients beside the store.
#[derive(Debug, Default)]
pub struct Clients {
    configured: HashMap<String, Arc<Configured>>,
    redirect_hosts: Hosts,
    domains: Hosts,
    documents: Option<Documents>,
}

#[derive(Debug)]
struct Documents {
    metadata: Remote<Client>,
    keys: Remote<Value>,
}

/// A client, and where it is known from.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) client: Client,
    pub(super) source: Source,
}

/// Where a client is known from.
#[derive(Debug)]
pub(super) enum Source {
    /// The configuration.
    Configured(Arc<Configured>),
    /// The document at its id, on this host.
    Document { host: String },
    /// The store.
    Registered,
    /// The gateway itself (`plain`).
    Own,
}

impl Source {
    /// Who vouches for what the client says of itself, as a person may know it.
    #[must_use]
    pub(super) fn voucher(&self) -> Option<&str> {
        match self {
            Self::Configured(_) => Some("your administrator"),
            Self::Document { host } => Some(host),
            Self::Registered | Self::Own => None,
        }
    }
}

impl Known {
    /// Whether it may have the grant type `authorization_code`, as any client does that was not configured otherwise.
    #[must_use]
    pub(super) fn may_use_codes(&self) -> bool {
        !matches!(&self.source, Source::Configured(configured) if !configured.grants.code)
    }

    /// Whether nobody else gets anything by a request under its id: the program that registered it alone knows it, or a
    /// code is of use with the client's secret or key alone. Any other id is everybody's to say.
    #[must_use]
    pub(super) fn is_unmistakable(&self) -> bool {
        match &self.source {
            Source::Registered => true,
            Source::Document { .. } => self.client.keys.is_some(),
            Source::Configured(configured) => !matches!(configured.credential, Credential::Public),
            Source::Own => false,
        }
    }
}

impl Clients {
    /// Clients of the usual hosts, and none by documents.
    #[must_use]
    pub fn usual() -> Self {
        Self {
            redirect_hosts: Hosts::known(&REDIRECT_HOSTS),
            domains: Hosts::known(&CLIENT_DOMAINS),
            ..Self::default()
        }
    }

    /// Any client that registers, wherever its answers go.
    #[must_use]
    pub fn any() -> Self {
        Self { redirect_hosts: Hosts::every(), ..Self::default() }
    }

    /// With these clients of the configuration.
    #[must_use]
    pub fn with_configured(self, clients: impl IntoIterator<Item = Configured>) -> Self {
        let configured = clients.into_iter().map(|client| (client.id.clone(), Arc::new(client))).collect();
        Self { configured, ..self }
    }

    /// With answers to these hosts only.
    #[must_use]
    pub fn with_redirect_hosts(self, redirect_hosts: Hosts) -> Self {
        Self { redirect_hosts, ..self }
    }

    /// With the documents of these hosts, fetched by a client that is careful.
    #[must_use]
    pub fn with_documents(self, domains: Hosts, guarded: Guarded, clock: &Arc<dyn Clock>) -> Self {
        let guarded = Arc::new(guarded);
        let metadata = Remote::new(Arc::clone(&guarded), Arc::clone(clock));
        let documents = Documents { metadata, keys: Remote::new(guarded, Arc::clone(clock)) };
        Self { domains, documents: Some(documents), ..self }
    }

    /// Counting what comes of asking for documents.
    #[must_use]
    pub fn counting(mut self, metrics: &Identity) -> Self {
        if let Some(Documents { metadata, keys }) = &mut self.documents {
            metadata.counting("metadata", metrics.documents.clone());
            keys.counting("keys", metrics.documents.clone());
        }
        self
    }

    /// Whether documents are read at all.
    #[must_use]
    pub(super) fn reads_documents(&self) -> bool {
        self.documents.is_some() && !self.domains.is_empty()
    }

    /// The client of this id in the configuration.
    #[must_use]
    pub(super) fn configured(&self, id: &str) -> Option<&Arc<Configured>> {
        self.configured.get(id)
    }

    /// Those of the configuration.
    pub(super) fn all_configured(&self) -> impl Iterator<Item = &Configured> {
        self.configured.values().map(Arc::as_ref)
    }

    /// Whether answers may go to this redirect URI.
    #[must_use]
    pub(super) fn may_redirect_to(&self, uri: &str) -> bool {
        self.redirect_hosts.allow_redirect(uri)
    }

    /// The host of a document that may name a client here.
    fn trusted_host(&self, id: &str) -> Option<String> {
        let host = client_metadata::host(id)?;
        if self.reads_documents() && self.domains.has_host(&host, None) {
            return Some(host);
        }
        tracing::warn!(
            host,
            "a client's document is not read; name its host in `oauth.client_domains` if it should be"
        );
        None
    }
}

/// The client that an authorization request names; none when there is none, for whatever reason.
pub(super) async fn find(server: &Server, id: &str) -> Result<Option<Known>, StoreError> {
    let clients = &server.clients;
    if let Some(configured) = clients.configured(id) {
        let client = configured.client();
        return Ok(Some(Known { client, source: Source::Configured(Arc::clone(configured)) }));
    }
    if client_metadata::is_url(id) {
        return Ok(by_document(server, id).await);
    }
    let client = server.store.client(id).await?;
    Ok(client.map(|client| Known { client, source: Source::Registered }))
}

async fn by_document(server: &Server, id: &str) -> Option<Known> {
    let host = server.clients.trusted_host(id)?;
    let documents = server.clients.documents.as_ref()?;
    let read = {
        let (url, issuer, hosts) = (id.to_owned(), server.settings.issuer.clone(), server.settings.hosts.clone());
        let (rules, clock) = (server.clients.redirect_hosts.clone(), Arc::clone(&server.clock));
        move |body: &[u8]| {
            let own = Own { issuer: &issuer, hosts: &hosts };
            client_metadata::read(&url, body, &own, &rules, clock.now())
        }
    };
    let client = documents.metadata.get(id, &read).await.ok()?;
    Some(Known { client, source: Source::Document { host } })
}

/// The client of a login that came back, as it was when the login began. A document is kept for what comes later.
pub(super) async fn of_login(server: &Server, login: &Login) -> Result<Option<Client>, StoreError> {
    if login.way == Way::Page {
        return Ok(Some(plain::client()));
    }
    let Some(document) = &login.document else {
        return Ok(find(server, &login.client_id).await?.map(|known| known.client));
    };
    let mut client = Client::clone(document);
    // Of two logins the one that began first may end last: what was read later counts, or a client that has turned to keys
    // would be public again.
    let kept = server.store.client(&client.client_id).await?;
    if let Some(newer) = kept.filter(|kept| kept.registered_at > client.registered_at) {
        return Ok(Some(newer));
    }
    if let Some(ClientKeys::Remote { uri, last }) = &mut client.keys {
        *last = jwks(server, uri, None).await.ok();
    }
    server.store.keep_client(&client).await?;
    Ok(Some(client))
}

/// What the client of a login calls itself; nothing is fetched.
pub(super) async fn name_of_login(server: &Server, login: &Login) -> Result<Option<String>, StoreError> {
    if login.way == Way::Page {
        return Ok(plain::client().client_name);
    }
    let known = match &login.document {
        Some(document) => Some(Client::clone(document)),
        None => at_token_endpoint(server, &login.client_id).await?.map(|known| known.client),
    };
    Ok(known.and_then(|client| client.client_name))
}

/// A client that somebody signed in through, or one of the configuration; nothing is fetched.
pub(super) async fn at_token_endpoint(server: &Server, id: &str) -> Result<Option<Known>, StoreError> {
    if !client_metadata::is_url(id) || server.clients.configured(id).is_some() {
        return find(server, id).await;
    }
    // The operator may have thought better of a host.
    let Some(host) = server.clients.trusted_host(id) else { return Ok(None) };
    let client = server.store.client(id).await?;
    Ok(client.map(|client| Known { client, source: Source::Document { host } }))
}

/// The keys of a client for this assertion. A key that is not known yet is looked for where they are published.
pub(super) async fn keys(server: &Server, keys: &ClientKeys, token: &str) -> Option<client_assertion::ClientKeys> {
    let parse = |set: &Value| client_assertion::ClientKeys::parse(set).ok();
    let (uri, last) = match keys {
        ClientKeys::Inline(set) => return parse(set),
        ClientKeys::Remote { uri, last } => (uri, last),
    };
    let kept = jwks(server, uri, None).await.ok().or_else(|| last.clone());
    let kept = kept.as_ref().and_then(parse);
    if kept.as_ref().is_some_and(|keys| keys.has_key_for(token)) {
        return kept;
    }
    let fresh = jwks(server, uri, Some(KEYS_COOL_DOWN)).await.ok();
    fresh.as_ref().and_then(parse).or(kept)
}

async fn jwks(server: &Server, uri: &str, age: Option<Duration>) -> Result<Value, NotAvailable> {
    let documents = server.clients.documents.as_ref().ok_or(NotAvailable)?;
    match age {
        Some(age) => documents.keys.get_since(uri, age, &read_jwks).await,
        None => documents.keys.get(uri, &read_jwks).await,
    }
}

fn read_jwks(body: &[u8]) -> Result<Value, &'static str> {
    let text = std::str::from_utf8(body).map_err(|_error| "it is not UTF-8")?;
    json::check(text, MAX_DEPTH).map_err(|_error| "it is not JSON that can be read in one way only")?;
    let set: Value = serde_json::from_str(text).map_err(|_error| "it is not JSON")?;
    client_assertion::ClientKeys::parse(&set).map_err(|_error| "it is no set of public keys")?;
    Ok(set)
}
