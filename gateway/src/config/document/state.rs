//! What survives a restart, as written.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Text;

/// What survives a restart.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// A directory that only the gateway's user can read.
    pub path: Option<Text>,
    /// A Redis that the gateways of a fleet share.
    pub redis: Option<Redis>,
    /// Files of keys that seal what is kept, the newest first; each 32 bytes, or base64 of them.
    #[serde(default)]
    pub seal_key_files: Vec<Text>,
}

/// A Redis that the gateways of a fleet share.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// `rediss://host:6380/0` of one server; also `MREG_REDIS_URL`, or `REDIS_HOST` with `REDIS_PORT` and `REDIS_SSL`.
    pub url: Option<Text>,
    /// A file that holds it.
    pub url_file: Option<Text>,
    /// URLs of some nodes of a cluster.
    #[serde(default)]
    pub cluster: Vec<Text>,
    /// Sentinels, and what they watch.
    pub sentinel: Option<Sentinel>,
    /// The user's name.
    pub username: Option<Text>,
    /// The user's password; also `REDIS_PASSWORD`.
    pub password: Option<Text>,
    /// A file that holds it.
    pub password_file: Option<Text>,
    /// A PEM file with the authority that signs the servers' certificates, in place of the system's.
    pub ca_file: Option<Text>,
    /// What every key begins with.
    pub prefix: Option<Text>,
    /// Replicas that must have a change before it counts as made.
    pub wait_replicas: Option<Spanned<usize>>,
    /// Connections at most.
    pub connections: Option<Spanned<usize>>,
}

/// Sentinels, and what they watch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sentinel {
    /// Their URLs.
    pub urls: Vec<Text>,
    /// The name of the primary.
    pub primary: Text,
}
