//! A second gateway beside that of a world, as a load balancer would have it: the same public URL, another port.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};

use crate::process::{Process, free_port};
use crate::world::{World, serve};

/// Another gateway of a fleet.
#[derive(Debug)]
pub struct Node {
    /// Its process.
    pub gateway: Process,
    /// Its port for clients.
    pub port: u16,
    /// Its port for operators.
    pub admin_port: u16,
    /// Its configuration.
    pub config: PathBuf,
}

impl Node {
    /// Starts one that shares what the world's gateway shares, and nothing else.
    pub async fn start(world: &World) -> Self {
        let (port, admin_port) = (free_port(), free_port());
        let directory = world.directory();
        let text = std::fs::read_to_string(directory.join("gateway.yaml")).unwrap();
        let text = text
            .replace(
                &format!("listen: '127.0.0.1:{}'", world.port),
                &format!("listen: '127.0.0.1:{port}', hosts: ['127.0.0.1:{port}']"),
            )
            .replace(
                &format!("admin_listen: '127.0.0.1:{}'", world.admin_port),
                &format!("admin_listen: '127.0.0.1:{admin_port}'"),
            )
            .replace("path: state", &format!("path: state-{port}"))
            .replace("path: audit.jsonl", &format!("path: audit-{port}.jsonl"));
        let config = directory.join(format!("gateway-{port}.yaml"));
        std::fs::write(&config, text).unwrap();
        let node = Self { gateway: serve(&config, &[], &[]), port, admin_port, config };
        for _ in 0..400 {
            if node.probe(world, "/readyz").await.is_ok_and(|response| response.status().is_success()) {
                return node;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the other gateway does not get ready; it said:\n{}", node.gateway.said());
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What its operator's listener answers.
    ///
    /// # Errors
    ///
    /// Returns an error while it does not listen.
    pub async fn probe(&self, world: &World, path: &str) -> reqwest::Result<Response> {
        world.http().get(format!("http://127.0.0.1:{}{path}", self.admin_port)).send().await
    }

    /// Asks it for the tools that open to a token.
    pub async fn list(&self, world: &World, token: &str) -> Response {
        self.ask(world, token, &json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" })).await
    }

    /// Sends it a JSON-RPC message with a token.
    pub async fn ask(&self, world: &World, token: &str, message: &Value) -> Response {
        let request = world.http().post(format!("{}/mcp", self.url())).bearer_auth(token);
        request.header("accept", "application/json, text/event-stream").json(message).send().await.unwrap()
    }
}
