//! Runs the identity provider: `identity --listen 127.0.0.1:9400 --redirect-uri http://127.0.0.1:8080/auth/callback`.

use std::net::SocketAddr;

use clap::Parser;
use identity::{Options, Running};

/// An Entra-shaped identity provider for a laptop: loopback only, users without passwords.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen; only loopback addresses are accepted.
    #[arg(long, default_value = "127.0.0.1:9400")]
    listen: SocketAddr,
    /// The redirect URI of the app registration.
    #[arg(long, default_value = "http://127.0.0.1:8080/auth/callback")]
    redirect_uri: Vec<String>,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    let Arguments { listen, redirect_uri } = Arguments::parse();
    let running = Running::start(Options { listen, redirect_uris: redirect_uri, ..Options::default() }).await?;
    tracing::info!("the identity provider is at {}", running.origin());
    running.wait().await;
    Ok(())
}
