//! From a configured backend to one that the data plane knows.

use std::sync::Arc;

use portcullis_policy::TagInfo;

use super::{StartError, start};
use crate::authn::Audience;
use crate::backend::Replicas;
use crate::backend::caller::{Asserter, Caller};
use crate::backend::catalogue::Listing;
use crate::clock::Clock;
use crate::config::{Config, settings};
use crate::entra::StepUp;
use crate::metrics::Metrics;
use crate::oauth;
use crate::outbound::guarded::Guarded;
use crate::proxy::{Exchanger, Mount, OnBehalfOf};

pub(super) fn scopes(config: &Config, backend: &settings::Backend) -> Vec<oauth::Scope> {
    let tags = config.policy.tags(&backend.name).into_iter();
    let scope = |tag: TagInfo| oauth::Scope {
        title: tag.title.unwrap_or_else(|| tag.name.clone()),
        name: tag.name,
        step_up: tag.step_up.map(|wanted| StepUp {
            // Entra's authentication contexts are `c1` to `c99`, and asked for by that name.
            acrs: wanted.acr.into_iter().map(|acr| acr.to_ascii_lowercase()).collect(),
            max_age: wanted.max_age,
        }),
    };
    tags.map(scope).collect()
}

/// Who may be a client.
pub(super) fn clients(
    config: &settings::Clients,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> Result<oauth::Clients, StartError> {
    let guarded = Guarded::new(config.double.as_ref()).map_err(start("the client for documents"))?;
    Ok(oauth::Clients::default()
        .with_configured(config.configured.clone())
        .with_redirect_hosts(config.redirect_hosts.clone())
        .with_documents(config.domains.clone(), guarded, clock)
        .counting(&metrics.identity))
}

/// A backend of these servers under its path.
pub(super) fn mount(
    config: &Config,
    backend: &settings::Backend,
    replicas: &Arc<Replicas>,
    (asserter, exchanger): (&Arc<Asserter>, &Arc<Exchanger>),
    metrics: &Metrics,
) -> Mount {
    let on_behalf_of = |scope: &String| OnBehalfOf { exchanger: Arc::clone(exchanger), scope: scope.as_str().into() };
    let usual = scopes(config, backend).into_iter().filter(|scope| scope.step_up.is_none());
    let scope: Vec<String> = usual.map(|scope| scope.name).collect();
    Mount {
        name: backend.name.clone(),
        path: backend.path.clone(),
        audience: Audience {
            resource: backend.resource.clone(),
            accept_entra_tokens: backend.accept_entra_tokens,
            public: backend.public,
        },
        resource_metadata: format!("{}/.well-known/oauth-protected-resource{}", config.server.public_url, backend.path),
        scope: scope.join(" "),
        caller: Caller::new(backend.identity, backend.url.to_string(), Arc::clone(asserter)),
        on_behalf_of: backend.on_behalf_of.as_ref().map(on_behalf_of),
        features: backend.features,
        series: metrics.backend(backend.name.as_ref()),
        listing: config.server.auth_endpoints.then(|| Arc::new(listing(config, backend, replicas))),
        replicas: Arc::clone(replicas),
    }
}

fn listing(config: &Config, backend: &settings::Backend, replicas: &Arc<Replicas>) -> Listing {
    Listing::new(super::catalogues::client(config, backend, Arc::clone(replicas)), backend.catalogue_refresh)
}
