//! Envoy in the table: it verifies the token (`jwt_authn`, verified tokens cached), reads the message (`mcp`) and decides by
//! tool and role (`rbac`). It hides nothing of lists, and calls its `mcp` filter unfinished itself.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::peers::Trust;
use crate::process::Process;

const MCP: &str = "envoy.filters.http.mcp";
const JWT: &str = "envoy.filters.http.jwt_authn";

/// Starts Envoy, the program of this name.
pub(crate) fn start(
    core: usize,
    program: &str,
    files: &Path,
    (listen, backend): (SocketAddr, SocketAddr),
    trust: &Trust,
) -> io::Result<Process> {
    let file = files.join("envoy.json");
    let filters =
        [jwt_authn(trust), filter(MCP, "mcp.v3.Mcp", json!({ "traffic_mode": "REJECT_NO_MCP" })), rbac(), router()];
    let manager = json!({
        "@type": named("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench", "codec_type": "HTTP1", "generate_request_id": false,
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
            { "match": { "prefix": "/" }, "route": { "cluster": "backend", "timeout": "0s" } }] }] },
        "http_filters": filters,
    });
    let chain = json!({ "filters": [{ "name": "http", "typed_config": manager }] });
    let config = json!({ "static_resources": {
        "listeners": [{ "name": "bench", "address": address(listen), "filter_chains": [chain] }],
        "clusters": [cluster("backend", backend), cluster("identity", trust.keys_at)],
    } });
    std::fs::write(&file, config.to_string())?;
    let arguments = ["-c", &file.display().to_string(), "--concurrency", "1", "--log-level", "off"];
    // Runs beside another Envoy, if there is one.
    let own = ["--use-dynamic-base-id"];
    let arguments: Vec<String> = arguments.iter().chain(&own).map(ToString::to_string).collect();
    Process::start(core, program, &arguments)
}

fn jwt_authn(trust: &Trust) -> Value {
    let keys = json!({ "uri": trust.keys, "cluster": "identity", "timeout": "5s" });
    let provider = json!({
        "issuer": trust.issuer, "audiences": [trust.audience], "payload_in_metadata": "jwt",
        "jwt_cache_config": { "jwt_cache_size": 1000 },
        "remote_jwks": { "http_uri": keys, "cache_duration": "3600s", "async_fetch": {} },
    });
    let rules = [json!({ "match": { "prefix": "/" }, "requires": { "provider_name": "entra" } })];
    filter(JWT, "jwt_authn.v3.JwtAuthentication", json!({ "providers": { "entra": provider }, "rules": rules }))
}

/// What the gateway's policy says: readers list, introduce themselves, and call what begins with `get_`.
fn rbac() -> Value {
    let is = |text: &str| json!({ "string_match": { "exact": text } });
    let method = |name: &str| metadata(MCP, &["method"], &is(name));
    let tool = metadata(MCP, &["params", "name"], &json!({ "string_match": { "prefix": "get_" } }));
    let call = json!({ "and_rules": { "rules": [method("tools/call"), tool] } });
    let reader = metadata(JWT, &["jwt", "roles"], &json!({ "list_match": { "one_of": is("Task.Read") } }));
    let policy = json!({ "permissions": [method("initialize"), method("tools/list"), call], "principals": [reader] });
    filter(
        "envoy.filters.http.rbac",
        "rbac.v3.RBAC",
        json!({ "rules": { "action": "ALLOW", "policies": { "read": policy } } }),
    )
}

fn router() -> Value {
    filter("envoy.filters.http.router", "router.v3.Router", json!({ "suppress_envoy_headers": true }))
}

fn filter(name: &str, kind: &str, mut config: Value) -> Value {
    if let Some(members) = config.as_object_mut() {
        members.insert("@type".to_owned(), named(&format!("filters.http.{kind}")).into());
    }
    json!({ "name": name, "typed_config": config })
}

fn metadata(filter: &str, path: &[&str], value: &Value) -> Value {
    let path: Vec<Value> = path.iter().map(|key| json!({ "key": key })).collect();
    json!({ "metadata": { "filter": filter, "path": path, "value": value } })
}

fn named(kind: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{kind}")
}

fn address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

fn cluster(name: &str, at: SocketAddr) -> Value {
    let endpoint = json!({ "endpoint": { "address": address(at) } });
    let endpoints = json!({ "cluster_name": name, "endpoints": [{ "lb_endpoints": [endpoint] }] });
    let circuit =
        json!({ "thresholds": [{ "max_connections": 16384, "max_pending_requests": 16384, "max_requests": 16384 }] });
    json!({ "name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": endpoints, "circuit_breakers": circuit })
}
