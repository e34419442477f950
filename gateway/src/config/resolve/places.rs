//! The files of a trail, held against each other and against those of the gateway's state: two that write to one file, each
//! as if it were alone, leave neither.

use std::path::{Component, Path, PathBuf};

use super::values::Resolver;
use crate::audit::Destination;
use crate::config::Fault;
use crate::config::document;

/// What the gateway itself has in its state directory.
const OWN: [&str; 8] = [
    "portcullis.db",
    "portcullis.db-wal",
    "portcullis.db-shm",
    "seal.key",
    "upgrade.sock",
    "portcullis.pid",
    "dev-tls.crt",
    "dev-tls.key",
];

/// Reports files that are named twice, and those that are the gateway's own; `state` is its directory.
pub(super) fn check(
    resolver: &mut Resolver<'_>,
    written: &document::Audit,
    destinations: &[Destination],
    state: &Path,
) {
    let mut known: Vec<PathBuf> = Vec::new();
    for destination in destinations {
        let (Destination::File { path, .. } | Destination::Sqlite { path, .. }) = destination else { continue };
        let at = match destination {
            Destination::File { .. } => written.path.as_ref(),
            _ => written.sqlite.as_ref().or(written.path.as_ref()),
        };
        let place = plain(path);
        if OWN.iter().any(|name| place == plain(&state.join(name))) {
            resolver.fault(at, format!("`{}` is the gateway's own; name another file", path.display()));
        }
        if known.contains(&place) {
            let what = format!("`{}` is named twice, for lines and for a database; name another file", path.display());
            resolver.fault(at, what);
        }
        known.push(place);
    }
}

/// Reports `rotate` and `keep` where they would do nothing.
pub(super) fn check_rotation(resolver: &mut Resolver<'_>, written: &document::Audit, is_file: bool) {
    match (&written.rotate, &written.keep) {
        (Some(at), _) | (None, Some(at)) if !is_file => {
            resolver.push(Fault::at(at.referenced, "`rotate` and `keep` are for a file; name one in `audit.path`"));
        }
        (None, Some(keep)) => {
            let what = "`keep` says how many files stay that were set aside, and none is; write `rotate` as well";
            resolver.push(Fault::at(keep.referenced, what));
        }
        _ => {}
    }
}

/// A path without detours, links of its directory followed where it is there.
fn plain(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_error| path.to_owned());
    if let (Some(Ok(directory)), Some(name)) = (absolute.parent().map(std::fs::canonicalize), absolute.file_name()) {
        return directory.join(name);
    }
    let mut plain = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}
