//! The yardstick: a bare Pingora proxy that looks at nothing, with the gateway's allocator, threads and keep-alive.
//!
//! `passthrough <listen> <backend>`

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct PassThrough {
    backend: String,
}

#[async_trait]
impl ProxyHttp for PassThrough {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, _context: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(&self.backend, false, String::new())))
    }
}

fn main() -> Result<(), &'static str> {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(backend)) = (arguments.next(), arguments.next()) else {
        return Err("usage: passthrough <listen> <backend>");
    };
    let mut server = Server::new_with_opt_and_conf(None, ServerConf { threads: 1, ..ServerConf::default() });
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, PassThrough { backend });
    service.threads = Some(1);
    service.add_tcp(&listen);
    server.add_service(service);
    server.run(RunArgs::default());
    Ok(())
}
