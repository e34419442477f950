//! From a configured backend to one that the data plane knows.

use std::sync::Arc;

use super::{StartError, start};
use crate::authn::Audience;
use crate::backend::caller::{Asserter, Caller};
use crate::backend::{self, Replicas, Upstream};
use crate::config::{Config, settings};
use crate::oauth;
use crate::proxy::Mount;

pub(super) fn scopes(config: &Config, backend: &settings::Backend) -> Vec<oauth::Scope> {
    let tags = config.policy.tags(&backend.name).into_iter();
    tags.map(|tag| oauth::Scope { title: tag.title.unwrap_or_else(|| tag.name.clone()), name: tag.name }).collect()
}

/// A backend under its path.
pub(super) fn mount(
    config: &Config,
    backend: &settings::Backend,
    asserter: &Arc<Asserter>,
) -> Result<Mount, StartError> {
    let scope: Vec<String> = scopes(config, backend).into_iter().map(|scope| scope.name).collect();
    Ok(Mount {
        name: backend.name.clone(),
        path: backend.path.clone(),
        audience: Audience { resource: backend.resource.clone(), accept_entra_tokens: backend.accept_entra_tokens },
        resource_metadata: format!("{}/.well-known/oauth-protected-resource{}", config.server.public_url, backend.path),
        scope: scope.join(" "),
        caller: Caller::new(backend.identity, backend.url.to_string(), Arc::clone(asserter)),
        features: backend.features,
        replicas: Arc::new(replicas(backend)?),
    })
}

/// The servers of a backend.
pub(super) fn replicas(backend: &settings::Backend) -> Result<Replicas, StartError> {
    let server = |url: &url::Url| {
        let upstream = Upstream::new(backend::Settings {
            name: backend.name.clone(),
            url: url.clone(),
            ca_file: backend.ca_file.clone(),
            connect_timeout: backend.connect_timeout,
            timeout: backend.timeout,
            idle_timeout: backend.idle_timeout,
        });
        upstream.map(Arc::new).map_err(start("a backend"))
    };
    let others = backend.replicas.iter().map(server).collect::<Result<_, _>>()?;
    Ok(Replicas::new(server(&backend.url)?, others))
}
