//! The app registration's credential: exactly one. What the environment says was filled in before (`config::names`).

use std::path::PathBuf;

use super::values::Resolver;
use crate::config::document;
use crate::config::secret::Secret;
use crate::config::settings::Credential;
use crate::entra::Certificate;

const MISSING: &str = "no credential is configured; write `entra.client_secret_file` (the secret's value, not its ID), `entra.certificate` or `entra.federated_token_file`, or set `AZURE_CLIENT_SECRET`, `AZURE_CLIENT_CERTIFICATE_PATH` or `AZURE_FEDERATED_TOKEN_FILE`";

pub(super) fn resolve(resolver: &mut Resolver<'_>, written: &document::Entra) -> Option<Credential> {
    let secret = written.client_secret.as_ref();
    let (secret_file, token_file) = (written.client_secret_file.as_ref(), written.federated_token_file.as_ref());
    let certificate = written.certificate.as_ref();
    let places = [secret, secret_file, certificate.map(|certificate| &certificate.key_file), token_file];
    if places.iter().flatten().count() > 1 {
        let second = places.into_iter().flatten().nth(1);
        resolver.fault(second, "two credentials are configured; keep one of `client_secret`, `client_secret_file`, `certificate` and `federated_token_file`");
        return None;
    }
    if let Some(text) = secret {
        if !text.value.contains("${") {
            resolver.warn(
                "`entra.client_secret` is written in the file; use `client_secret_file` or `${AZURE_CLIENT_SECRET}`",
            );
        }
        return resolver.text(text).map(|value| Credential::Secret(Secret::new(value)));
    }
    if let Some(file) = secret_file {
        return resolver.secret_file(file).map(Credential::Secret);
    }
    if let Some(pair) = certificate {
        let key_file = resolver.path(&pair.key_file)?;
        let certificate_file = match &pair.certificate_file {
            Some(file) => resolver.path(file)?,
            None => key_file.clone(),
        };
        return usable(resolver, Some(&pair.key_file), key_file, certificate_file);
    }
    if let Some(text) = token_file {
        let path = resolver.path(text)?;
        return token(resolver, path);
    }
    resolver.fault(None, MISSING);
    None
}

/// A pair that can be used now, so that a mistake shows before anybody signs in.
fn usable(
    resolver: &mut Resolver<'_>,
    at: Option<&document::Text>,
    key_file: PathBuf,
    certificate_file: PathBuf,
) -> Option<Credential> {
    match Certificate::open(&key_file, &certificate_file) {
        Ok(_) => Some(Credential::Certificate { key_file, certificate_file }),
        Err(error) => {
            resolver.fault(at, error.to_string());
            None
        }
    }
}

fn token(resolver: &mut Resolver<'_>, path: PathBuf) -> Option<Credential> {
    resolver.read(&path)?;
    Some(Credential::FederatedToken(path))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Files;
    use crate::config::{Environment, names};

    fn found(directory: &Path, entra: &str, variables: &[(&str, &str)]) -> Result<Credential, String> {
        let mut document = document::read(&format!("entra: {{ {entra} }}\nbackends: {{}}\npolicy: {{}}")).unwrap();
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment = Environment::of(environment);
        assert!(names::apply(&mut document, &environment).faults.is_empty());
        let mut resolver = Resolver::new(&directory.join("gateway.yaml"), &environment, Files::default());
        let credential = resolve(&mut resolver, &document.entra);
        let (faults, ..) = resolver.finish();
        let faults: Vec<String> = faults.into_iter().map(|fault| fault.message).collect();
        credential.filter(|_| faults.is_empty()).ok_or_else(|| faults.join("\n"))
    }

    #[test]
    fn one_credential_is_used_and_the_file_comes_before_the_environment() {
        let directory = tempfile::tempdir().unwrap();
        let pair = rcgen::generate_simple_self_signed(vec!["gateway".to_owned()]).unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(path("secret"), "from the file\n").unwrap();
        std::fs::write(path("token"), "a.b.c").unwrap();
        std::fs::write(path("elliptic.pem"), pair.cert.pem() + &pair.signing_key.serialize_pem()).unwrap();
        let found = |entra: &str, variables: &[(&str, &str)]| found(directory.path(), entra, variables);
        let secret = |found: Result<Credential, String>| match found.unwrap() {
            Credential::Secret(secret) => secret.expose().to_owned(),
            other => format!("{other:?}"),
        };
        let environment = [("AZURE_CLIENT_SECRET", "from the environment"), ("AZURE_FEDERATED_TOKEN_FILE", "token")];
        assert_eq!(secret(found("client_secret_file: secret", &environment)), "from the file");
        assert_eq!(secret(found("", &environment)), "from the environment");
        assert!(matches!(found("federated_token_file: token", &environment), Ok(Credential::FederatedToken(_))));
        let token = [("AZURE_FEDERATED_TOKEN_FILE", &*path("token"))];
        assert!(matches!(found("", &token), Ok(Credential::FederatedToken(_))));
        assert!(found("", &[]).unwrap_err().contains("AZURE_FEDERATED_TOKEN_FILE"));
        assert!(found("client_secret: x, federated_token_file: token", &[]).unwrap_err().contains("two credentials"));
        assert!(found("certificate: { key_file: elliptic.pem }", &[]).unwrap_err().contains("RSA"));
        assert!(found("certificate: { key_file: none.pem }", &[]).is_err());
        assert!(found("federated_token_file: none", &[]).is_err());
    }
}
