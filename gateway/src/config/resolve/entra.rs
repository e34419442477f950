//! The identity provider's part of the configuration, with the names of the Azure SDKs as stand-ins.

use std::time::Duration;

use url::Url;
use uuid::Uuid;

use super::credential;
use super::values::{Resolver, is_loopback};
use crate::config::document;
use crate::config::settings::Entra;
use crate::entra::cloud::{Authority, CLOUDS, PERSONAL_ACCOUNTS};

const DEFAULT_SCOPE: &str = "access_as_user";
const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(60);
/// As much as Microsoft's own validators allow.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(300);

pub(super) fn resolve(resolver: &mut Resolver<'_>, written: &document::Entra) -> Option<Entra> {
    let tenant_id = resolver.text_or_env(
        written.tenant_id.as_ref(),
        "AZURE_TENANT_ID",
        "`entra.tenant_id` is missing; write the directory (tenant) ID of your Entra tenant",
    );
    let tenant_id = tenant_id.and_then(|value| tenant(resolver, written.tenant_id.as_ref(), &value));
    let tenants = tenants(resolver, &written.tenants, tenant_id.as_deref());
    let client_id = resolver.text_or_env(
        written.client_id.as_ref(),
        "AZURE_CLIENT_ID",
        "`entra.client_id` is missing; write the application (client) ID of the gateway's app registration",
    );
    let client_id = client_id.and_then(|value| guid(resolver, written.client_id.as_ref(), &value));
    let credential = credential::resolve(resolver, written);
    let authority = authority(resolver, written);
    let clock_skew = resolver.duration(written.clock_skew.as_ref(), DEFAULT_CLOCK_SKEW);
    if clock_skew > MAX_CLOCK_SKEW {
        resolver.fault(written.clock_skew.as_ref(), "a clock skew is at most `5m`; set the machine's clock instead");
    }
    let (tenant_id, client_id) = (tenant_id?, client_id?);
    let app_id_uri = match &written.app_id_uri {
        Some(text) => resolver.text(text)?,
        None => format!("api://{client_id}"),
    };
    let scopes = scopes(resolver, written.scopes.as_deref(), &app_id_uri)?;
    let claims = written.claims.iter().filter_map(|claim| resolver.text(claim)).collect();
    Some(Entra {
        claims,
        tenant_id,
        tenants: tenants?,
        client_id,
        credential: credential?,
        authority: authority?,
        app_id_uri,
        accept_v1_tokens: written.accept_v1_tokens,
        scopes,
        clock_skew,
    })
}

fn guid(resolver: &mut Resolver<'_>, text: Option<&document::Text>, value: &str) -> Option<String> {
    if let Ok(guid) = Uuid::try_parse(value) {
        return Some(guid.hyphenated().to_string());
    }
    resolver
        .fault(text, format!("`{value}` is not a GUID; `common`, `organizations` and domain names are not accepted"));
    None
}

/// A directory of an organization.
fn tenant(resolver: &mut Resolver<'_>, text: Option<&document::Text>, value: &str) -> Option<String> {
    let tenant = guid(resolver, text, value)?;
    if tenant == PERSONAL_ACCOUNTS {
        resolver.fault(text, format!("`{value}` is the tenant of personal accounts; name your organization's"));
        return None;
    }
    Some(tenant)
}

/// The further directories, each once and none of them the home directory.
fn tenants(resolver: &mut Resolver<'_>, written: &[document::Text], home: Option<&str>) -> Option<Vec<String>> {
    let mut tenants: Vec<String> = Vec::with_capacity(written.len());
    let mut all = true;
    for text in written {
        let found = resolver.text(text).and_then(|value| tenant(resolver, Some(text), &value));
        let Some(found) = found else {
            all = false;
            continue;
        };
        if tenants.contains(&found) || home == Some(&found) {
            resolver.fault(Some(text), format!("`{found}` is there twice; `tenant_id` is let in without being listed"));
            all = false;
        }
        tenants.push(found);
    }
    all.then_some(tenants)
}

/// The Azure SDKs allow both a host and a URL.
fn authority(resolver: &mut Resolver<'_>, written: &document::Entra) -> Option<Authority> {
    let text = written.authority_host.as_ref();
    let value = match text {
        Some(text) => resolver.text(text)?,
        None => public_cloud(),
    };
    let value = if value.contains("://") { value } else { format!("https://{value}") };
    let url = Url::parse(&value).ok().filter(|url| {
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        url.has_host() && bare && (url.scheme() == "https" || is_loopback(url))
    });
    let Some(url) = url else {
        resolver.fault(text, format!("`{value}` is not an https origin; write `{}` or your cloud's", public_cloud()));
        return None;
    };
    let authority = Authority::new(&url.origin().ascii_serialization());
    if !authority.is_listed() && !written.allow_unlisted_authority {
        let listed = CLOUDS.map(|cloud| format!("`{}` ({})", cloud.authority, cloud.name)).join(", ");
        resolver.fault(
            text,
            format!(
                "`{value}` is none of Microsoft's clouds, which are {listed}; set `entra.allow_unlisted_authority: true` to sign people in there nevertheless"
            ),
        );
        return None;
    }
    Some(authority)
}

fn public_cloud() -> String {
    let [public, ..] = CLOUDS;
    public.authority.to_owned()
}

/// Full names: without the `api://…/` prefix Entra would ask Microsoft Graph for them.
fn scopes(resolver: &mut Resolver<'_>, names: Option<&[document::Text]>, app_id_uri: &str) -> Option<Vec<String>> {
    let Some(names) = names else { return Some(vec![format!("{app_id_uri}/{DEFAULT_SCOPE}")]) };
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Files;
    use crate::config::{Environment, names};

    const HOME: &str = "11111111-2222-4333-8444-555555555555";

    fn found(entra: &str, variables: &[(&str, &str)]) -> Result<Entra, String> {
        let mut document = document::read(&format!(
            "entra: {{ tenant_id: {HOME}, client_id: aaaaaaaa-0000-4000-8000-00000000c1d1, client_secret: s, {entra} }}\nbackends: {{}}\npolicy: {{}}"
        ))
        .unwrap();
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment = Environment::of(environment);
        assert!(names::apply(&mut document, &environment).faults.is_empty());
        let mut resolver = Resolver::new(Path::new("gateway.yaml"), &environment, Files::default());
        let entra = resolve(&mut resolver, &document.entra);
        let (faults, ..) = resolver.finish();
        let faults: Vec<String> = faults.into_iter().map(|fault| fault.message).collect();
        entra.filter(|_| faults.is_empty()).ok_or_else(|| faults.join("\n"))
    }

    #[test]
    fn only_clouds_of_microsoft_are_asked_unless_the_operator_says_so() {
        for (written, host) in [
            ("", "https://login.microsoftonline.com"),
            ("authority_host: login.microsoftonline.us", "https://login.microsoftonline.us"),
            ("authority_host: 'https://login.partner.microsoftonline.cn/'", "https://login.partner.microsoftonline.cn"),
            ("authority_host: 'http://127.0.0.1:9400', allow_unlisted_authority: true", "http://127.0.0.1:9400"),
        ] {
            assert_eq!(found(written, &[]).unwrap().authority.host(), host, "{written}");
        }
        for bad in [
            "login.microsoftonline.com.evil.example",
            "https://login.microsoftonline.com:8443",
            "https://login.microsoftonline.com/tenant",
            "https://login.windows.net",
            "http://login.microsoftonline.com",
            "http://127.0.0.1:9400",
        ] {
            assert!(found(&format!("authority_host: '{bad}'"), &[]).is_err(), "{bad}");
            assert!(found("", &[("AZURE_AUTHORITY_HOST", bad)]).is_err(), "{bad}");
        }
        let error = found("authority_host: 'http://127.0.0.1:9400'", &[]).unwrap_err();
        assert!(error.contains("`entra.allow_unlisted_authority: true`") && error.contains("login.microsoftonline.us"));
    }

    #[test]
    fn tenants_are_guids_of_organizations_each_once() {
        let partner = "22222222-2222-4333-8444-555555555555";
        assert_eq!(found("", &[]).unwrap().tenants, [""; 0]);
        assert_eq!(found(&format!("tenants: [{partner}]"), &[]).unwrap().tenants, [partner]);
        for bad in ["common", "organizations", "contoso.com", PERSONAL_ACCOUNTS, HOME] {
            assert!(found(&format!("tenants: [{bad}]"), &[]).is_err(), "{bad}");
        }
        assert!(found(&format!("tenants: [{partner}, {partner}]"), &[]).is_err());
    }

    #[test]
    fn version_one_tokens_are_a_choice() {
        assert!(!found("", &[]).unwrap().accept_v1_tokens);
        assert!(found("accept_v1_tokens: true", &[]).unwrap().accept_v1_tokens);
    }
}
