//! The identity provider's part of the configuration, with the names of the Azure SDKs as stand-ins.

use std::time::Duration;

use url::Url;
use uuid::Uuid;

use super::values::{Resolver, is_loopback};
use crate::config::document;
use crate::config::secret::Secret;
use crate::config::settings::Entra;

const GLOBAL_CLOUD: &str = "https://login.microsoftonline.com";
const DEFAULT_SCOPE: &str = "access_as_user";
const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(60);
/// As much as Microsoft's own validators allow.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(300);

pub(super) fn resolve(resolver: &mut Resolver<'_>, written: &document::Entra) -> Option<Entra> {
    let tenant_id = guid(
        resolver,
        written.tenant_id.as_ref(),
        "AZURE_TENANT_ID",
        "`entra.tenant_id` is missing; write the directory (tenant) ID of your Entra tenant",
    );
    let client_id = guid(
        resolver,
        written.client_id.as_ref(),
        "AZURE_CLIENT_ID",
        "`entra.client_id` is missing; write the application (client) ID of the gateway's app registration",
    );
    let client_secret = client_secret(resolver, written);
    let authority_host = authority_host(resolver, written.authority_host.as_ref());
    let clock_skew = resolver.duration(written.clock_skew.as_ref(), DEFAULT_CLOCK_SKEW);
    if clock_skew > MAX_CLOCK_SKEW {
        resolver.fault(written.clock_skew.as_ref(), "a clock skew is at most `5m`; set the machine's clock instead");
    }
    let (tenant_id, client_id) = (tenant_id?, client_id?);
    let scopes = scopes(resolver, written, &client_id)?;
    Some(Entra {
        tenant_id,
        client_id,
        client_secret: client_secret?,
        authority_host: authority_host?,
        scopes,
        clock_skew,
    })
}

fn guid(resolver: &mut Resolver<'_>, text: Option<&document::Text>, variable: &str, missing: &str) -> Option<String> {
    let value = resolver.text_or_env(text, variable, missing)?;
    if let Ok(guid) = Uuid::try_parse(&value) {
        return Some(guid.hyphenated().to_string());
    }
    resolver
        .fault(text, format!("`{value}` is not a GUID; `common`, `organizations` and domain names are not accepted"));
    None
}

fn client_secret(resolver: &mut Resolver<'_>, written: &document::Entra) -> Option<Secret> {
    match (&written.client_secret, &written.client_secret_file) {
        (Some(text), Some(_)) => {
            resolver.fault(Some(text), "two credentials are configured; keep `client_secret` or `client_secret_file`");
            None
        }
        (None, Some(file)) => resolver.secret_file(file),
        (Some(text), None) => {
            if !text.value.contains("${") {
                resolver.warn("`entra.client_secret` is written in the file; use `client_secret_file` or `${AZURE_CLIENT_SECRET}`");
            }
            resolver.text(text).map(Secret::new)
        }
        (None, None) => resolver
            .text_or_env(
                None,
                "AZURE_CLIENT_SECRET",
                "no credential is configured; write `entra.client_secret_file` (the secret's value, not its ID)",
            )
            .map(Secret::new),
    }
}

/// The Azure SDKs allow both a host and a URL.
fn authority_host(resolver: &mut Resolver<'_>, text: Option<&document::Text>) -> Option<String> {
    let value = match text {
        Some(text) => resolver.text(text)?,
        None => resolver.env("AZURE_AUTHORITY_HOST").unwrap_or_else(|| GLOBAL_CLOUD.to_owned()),
    };
    let value = if value.contains("://") { value } else { format!("https://{value}") };
    match Url::parse(&value) {
        Ok(url) if url.has_host() && (url.scheme() == "https" || is_loopback(&url)) => {
            Some(url.as_str().trim_end_matches('/').to_owned())
        }
        _ => {
            resolver.fault(text, format!("`{value}` is not an https URL; write `{GLOBAL_CLOUD}` or your cloud's"));
            None
        }
    }
}

/// Full names: without the `api://…/` prefix Entra would ask Microsoft Graph for them.
fn scopes(resolver: &mut Resolver<'_>, written: &document::Entra, client_id: &str) -> Option<Vec<String>> {
    let app_id_uri = match &written.app_id_uri {
        Some(text) => resolver.text(text)?,
        None => format!("api://{client_id}"),
    };
    let Some(names) = &written.scopes else { return Some(vec![format!("{app_id_uri}/{DEFAULT_SCOPE}")]) };
    let mut scopes = Vec::with_capacity(names.len());
    for name in names {
        let value = resolver.text(name)?;
        if value.contains('/') {
            resolver.fault(
                Some(name),
                format!("`{value}` is not a short name; the prefix `{app_id_uri}/` is added for you"),
            );
            return None;
        }
        scopes.push(format!("{app_id_uri}/{value}"));
    }
    Some(scopes)
}
