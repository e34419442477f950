//! From the configured identity provider to key sets, a verifier and the sign-in; and from issuers of identity assertions to
//! those who are trusted.

use std::sync::Arc;

use super::{StartError, start};
use crate::clock::Clock;
use crate::config::{Config, settings};
use crate::entra::{self, Certificate, Credential, Entra};
use crate::jose::claims::{AssertionExpectations, EntraExpectations, Tenant, VersionOne};
use crate::jose::entra_token::Verifier;
use crate::jose::identity_assertion;
use crate::jose::key_set::{EntraKeys, IssuerKeys, KeySet, KeySource};
use crate::oauth::Trusted;
use crate::outbound::Outbound;

/// What the gateway knows of the identity provider, for as long as it runs.
pub(super) struct IdentityProvider {
    /// The home directory's keys.
    pub(super) keys: Arc<KeySet>,
    /// Those of further directories and of version 1.0 tokens, by issuer.
    pub(super) other_keys: Vec<(String, Arc<KeySet>)>,
    /// Those of issuers of identity assertions, by issuer, in the order of the configuration.
    pub(super) assertion_keys: Vec<(String, Arc<KeySet>)>,
}

impl IdentityProvider {
    pub(super) fn new(config: &Config, outbound: &Outbound, clock: &Arc<dyn Clock>) -> Self {
        let settings = &config.entra;
        let source = |tenant: &str| EntraKeys::new(outbound.clone(), settings.authority.host(), tenant);
        let any = |source: Box<dyn KeySource>, issuer: &str| KeySet::new(source, Arc::clone(clock)).of(issuer);
        let set = |source: EntraKeys| {
            let issuer = source.issuer();
            any(Box::new(source), &issuer)
        };
        // Nobody of the home directory waits for the keys of another.
        let further = |source: EntraKeys| Arc::new(set(source).further());
        let mut other_keys = Vec::new();
        for tenant in &settings.tenants {
            other_keys.push((settings.authority.issuer(tenant), further(source(tenant))));
        }
        if let Some(one) = expectations(settings).version_one {
            for tenant in [&settings.tenant_id].into_iter().chain(&settings.tenants) {
                let issuer = one.issuer_of(tenant);
                other_keys.push((issuer.clone(), further(source(tenant).version_one(tenant, issuer))));
            }
        }
        let assertion_keys = config.identity_assertions.iter().map(|trusted| {
            let keys = IssuerKeys::new(outbound.clone(), &trusted.issuer, trusted.jwks_uri.as_deref());
            (trusted.issuer.clone(), Arc::new(any(Box::new(keys), &trusted.issuer).further()))
        });
        Self { keys: Arc::new(set(source(&settings.tenant_id))), other_keys, assertion_keys: assertion_keys.collect() }
    }

    /// Believes what a configuration lets in. A directory that a reload added has no keys here before a restart, and
    /// nobody of it is believed until then.
    pub(super) fn verifier(&self, config: &Config) -> Verifier {
        let verifier = Verifier::new(expectations(&config.entra), Arc::clone(&self.keys));
        let with = |verifier: Verifier, (issuer, keys): &(String, Arc<KeySet>)| {
            verifier.with_keys(issuer.clone(), Arc::clone(keys))
        };
        self.other_keys.iter().fold(verifier, with)
    }

    /// The issuers whose assertions a configuration takes. One that a reload added has no keys here before a restart, and is not
    /// trusted until then.
    pub(super) fn trusted(&self, config: &Config) -> Vec<Trusted> {
        let of = |written: &settings::IdentityAssertions| {
            let (_, keys) = self.assertion_keys.iter().find(|(issuer, _)| *issuer == written.issuer)?;
            let expectations = AssertionExpectations {
                issuer: written.issuer.clone(),
                tenant: written.tenant.clone(),
                claim: written.claim.clone(),
            };
            let verifier = identity_assertion::Verifier::new(expectations, Arc::clone(keys));
            Some(Trusted { verifier, roles: written.roles.clone(), clients: written.clients.clone() })
        };
        config.identity_assertions.iter().filter_map(of).collect()
    }

    /// Every key set of the identity provider.
    pub(super) fn all_keys(&self) -> impl Iterator<Item = &Arc<KeySet>> {
        [&self.keys].into_iter().chain(self.other_keys.iter().map(|(_, keys)| keys))
    }

    /// The sign-in with the configured app registration.
    pub(super) fn sign_in(
        &self,
        config: &Config,
        outbound: &Outbound,
        clock: &Arc<dyn Clock>,
    ) -> Result<Entra, StartError> {
        let written = &config.entra;
        let settings = entra::Settings {
            authority: written.authority.clone(),
            tenant_id: written.tenant_id.clone(),
            several_tenants: !written.tenants.is_empty(),
            client_id: written.client_id.clone(),
            credential: credential(&written.credential)?,
            scopes: written.scopes.clone(),
            redirect_uri: format!("{}/auth/callback", config.server.public_url),
            clock_skew: written.clock_skew,
        };
        tracing::info!(
            authority = written.authority.host(),
            tenant = %written.tenant_id,
            further_tenants = written.tenants.len(),
            credential = settings.credential.kind(),
            "people sign in at the identity provider"
        );
        Ok(Entra::new(settings, outbound.client().clone(), self.verifier(config), Arc::clone(clock)))
    }
}

fn credential(written: &settings::Credential) -> Result<Credential, StartError> {
    Ok(match written {
        settings::Credential::Secret(secret) => Credential::Secret(secret.expose().to_owned()),
        settings::Credential::Certificate { key_file, certificate_file } => {
            let certificate = Certificate::open(key_file, certificate_file);
            Credential::Certificate(certificate.map_err(start("the sign-in"))?)
        }
        settings::Credential::FederatedToken(path) => Credential::FederatedToken(path.clone()),
    })
}

fn expectations(settings: &settings::Entra) -> EntraExpectations {
    let short = |scope: &String| scope.rsplit('/').next().unwrap_or_default().to_owned();
    let tenant = |tenant: &String| Tenant { tenant_id: tenant.clone(), issuer: settings.authority.issuer(tenant) };
    EntraExpectations {
        issuer: settings.authority.issuer(&settings.tenant_id),
        tenant_id: settings.tenant_id.clone(),
        client_id: settings.client_id.clone(),
        allowed_tenants: settings.tenants.iter().map(tenant).collect(),
        scopes: settings.scopes.iter().map(short).collect(),
        clock_skew: settings.clock_skew,
        version_one: settings.accept_v1_tokens.then(|| VersionOne {
            issuer: settings.authority.version_one_issuer("{tenantid}"),
            app_id_uri: settings.app_id_uri.clone(),
        }),
        claims: settings.claims.clone(),
    }
}
