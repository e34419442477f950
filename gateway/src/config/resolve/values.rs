//! Single values: texts, addresses, durations, sizes, files; and the faults found on the way.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_saphyr::{Location, Spanned};
use url::{Host, Url};

use crate::config::document::Text;
use crate::config::{Environment, Fault, Files, Secret};

/// Reads values and collects what is wrong with them.
pub(super) struct Resolver<'a> {
    directory: PathBuf,
    environment: &'a Environment,
    faults: Vec<Fault>,
    warnings: Vec<String>,
    files: Files,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(path: &Path, environment: &'a Environment, files: Files) -> Self {
        let directory = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        Self { directory, environment, faults: Vec::new(), warnings: Vec::new(), files }
    }

    /// Faults, warnings, and the files that were read.
    pub(super) fn finish(self) -> (Vec<Fault>, Vec<String>, Files) {
        (self.faults, self.warnings, self.files)
    }

    pub(super) fn push(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// What was found before anything was resolved.
    pub(super) fn report(&mut self, faults: Vec<Fault>, warnings: Vec<String>) {
        self.faults.extend(faults);
        self.warnings.extend(warnings);
    }

    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Reports a fault at the place of `text`, or of the whole file when the key is absent.
    pub(super) fn fault(&mut self, text: Option<&Text>, message: impl Into<String>) {
        let fault = match text {
            // Of an environment name that stands in for a key: there is no place, but there is a name.
            Some(text) if text.referenced == Location::UNKNOWN && text.value.contains("${") => {
                Fault::whole(format!("`{}`: {}", text.value, message.into()))
            }
            Some(text) => Fault::at(text.referenced, message),
            None => Fault::whole(message),
        };
        self.faults.push(fault);
    }

    pub(super) fn policy_fault(&mut self, file: Option<&Path>, fault: &portcullis_policy::Fault) {
        self.faults.push(match file {
            Some(file) => Fault::whole(format!("{}:{fault}", file.display())),
            None => Fault { line: Some(fault.line), column: Some(fault.column), message: fault.to_message() },
        });
    }

    /// The text with its variables expanded.
    pub(super) fn text(&mut self, text: &Text) -> Option<String> {
        match self.environment.expand(&text.value) {
            Ok(value) if value.is_empty() => {
                self.fault(Some(text), "is empty; write a value or leave the key out");
                None
            }
            Ok(value) => Some(value),
            Err(message) => {
                self.fault(Some(text), message);
                None
            }
        }
    }

    /// The text, or else the environment variable; `missing` when there is neither.
    pub(super) fn text_or_env(&mut self, text: Option<&Text>, variable: &str, missing: &str) -> Option<String> {
        if let Some(text) = text {
            return self.text(text);
        }
        let value = self.environment.get(variable);
        if value.is_none() {
            self.faults.push(Fault::whole(format!("{missing}, or set `{variable}`")));
        }
        value
    }

    /// A file name relative to the configuration file.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn path(&mut self, text: &Text) -> Option<PathBuf> {
        self.text(text).map(|name| self.beside(&name))
    }

    pub(super) fn read(&mut self, path: &Path) -> Option<String> {
        match self.files.read(path) {
            Ok(text) => Some(text),
            Err(error) => {
                self.faults.push(Fault::whole(format!(
                    "`{}` cannot be read: {error}; check the name and its permissions",
                    path.display()
                )));
                None
            }
        }
    }

    /// The content of a secret's file, without its final line break.
    pub(super) fn secret_file(&mut self, text: &Text) -> Option<Secret> {
        let path = self.path(text)?;
        let content = self.read(&path)?;
        if let Ok(metadata) = std::fs::metadata(&path) {
            let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
            if mode & 0o007 != 0 {
                self.warn(format!(
                    "`{}` is a secret, and open to everybody (mode {mode:o}); set it to 600",
                    path.display()
                ));
            }
        }
        let secret = content.trim_end_matches(['\r', '\n']);
        if secret.is_empty() {
            self.fault(Some(text), format!("`{}` is empty; put the secret into it", path.display()));
            return None;
        }
        Some(Secret::new(secret))
    }

    pub(super) fn address(&mut self, text: Option<&Text>, default: SocketAddr) -> SocketAddr {
        let Some(written) = text else { return default };
        let Some(value) = self.text(written) else { return default };
        value.parse().unwrap_or_else(|_error| {
            self.fault(text, format!("`{value}` is not an address; write `IP:port`, such as `0.0.0.0:8080`"));
            default
        })
    }

    pub(super) fn duration(&mut self, text: Option<&Text>, default: Duration) -> Duration {
        let Some(written) = text else { return default };
        let Some(value) = self.text(written) else { return default };
        humantime::parse_duration(&value).unwrap_or_else(|_error| {
            self.fault(text, format!("`{value}` is not a duration; write `10s`, `15m` or `30d`"));
            default
        })
    }

    pub(super) fn size(
        &mut self,
        size: Option<&Spanned<usize>>,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> usize {
        let Some(size) = size else { return default };
        if !range.contains(&size.value) {
            let message =
                format!("`{}` is out of range; write bytes from {} to {}", size.value, range.start(), range.end());
            self.faults.push(Fault::at(size.referenced, message));
        }
        size.value
    }

    /// An origin (RFC 6454) in its one spelling: scheme, lower-case host, port when it is not the scheme's own.
    pub(super) fn origin(&mut self, at: Option<&Text>, value: &str) -> Option<String> {
        let url = match Url::parse(value) {
            Ok(url) if url.has_host() => url,
            _ => {
                self.fault(at, format!("`{value}` is not a URL; write `https://host`"));
                return None;
            }
        };
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            self.fault(at, format!("`{value}` is more than an origin; write scheme, host and port only"));
            return None;
        }
        if !(url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url)) {
            self.fault(at, format!("`{value}` is not https; plain http is for loopback addresses only"));
            return None;
        }
        Some(url.origin().ascii_serialization())
    }
}

/// Whether a URL names this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
