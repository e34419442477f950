//! A weather service that speaks MCP (2025-03-26 to 2026-07-28) and asks nobody who they are.
//!
//! It is there to stand behind a gateway: its tools read, write, delete and maintain, it has prompts and resources,
//! and it logs every call that reaches it, so that one sees which never do. Loopback only, unless it is told by which
//! names a gateway reaches it: the network has to keep everybody else away.

mod server;
mod stations;

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Parser;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use server::Weather;
use stations::Stations;

/// An MCP server without any authentication.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen; an address of the network wants `--host`.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// A name that the gateway reaches it by; may be repeated.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).with_env_filter("weather=info").init();
    let Arguments { listen, hosts } = Arguments::parse();
    if !listen.ip().is_loopback() && hosts.is_empty() {
        let why = "is not a loopback address, and this server asks nobody who they are";
        return Err(format!("`{listen}` {why}; name with --host how a gateway, and nobody else, reaches it").into());
    }
    let stations = Arc::new(Stations::default());
    let service = StreamableHttpService::new(
        move || Ok(Weather::new(Arc::clone(&stations))),
        Arc::new(LocalSessionManager::default()),
        config(hosts),
    );
    let router = axum::Router::new().nest_service("/mcp", service);
    let listener = tokio::net::TcpListener::bind(listen).await?;
    tracing::info!("weather is at http://{}/mcp", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}

/// Loopback names are always its own.
fn config(hosts: Vec<String>) -> StreamableHttpServerConfig {
    let config = StreamableHttpServerConfig::default();
    let known = config.allowed_hosts.clone();
    config.with_allowed_hosts(known.into_iter().chain(hosts))
}
