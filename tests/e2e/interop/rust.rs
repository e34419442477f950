//! The official Rust SDK, `rmcp`, with its `auth` feature.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{CallToolRequestParams, CallToolResult, ProtocolVersion};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, RoleClient, RunningService, ServiceError, ServiceExt};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{AuthClient, AuthorizationCallback, AuthorizationRequest, OAuthState};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::json;

use super::setting::{LIFETIME, Setting, TOOLS, patient, setting, weather};

const REDIRECT: &str = "http://127.0.0.1:33419/callback";

type Client = RunningService<RoleClient, ()>;

/// Asks without a token, goes where the challenge says, and signs a person in.
async fn signed_in(setting: &Setting, person: &str, without: &str) -> AuthClient<reqwest_13::Client> {
    let url = setting.world.mcp();
    let refused = ().serve(StreamableHttpClientTransport::from_uri(url.as_str())).await.unwrap_err();
    let challenge = refused.auth_challenge().expect("a challenge").to_owned();
    let mut state = OAuthState::new(&url, None).await.unwrap();
    let request = AuthorizationRequest::new(REDIRECT).with_client_name("Rust SDK").with_challenge(challenge);
    state.start_authorization(request).await.unwrap();
    let address = state.get_authorization_url().await.unwrap();
    state.handle_callback_url(&setting.browse(&address, person, without).await).await.unwrap();
    AuthClient::new(reqwest_13::Client::default(), state.into_authorization_manager().unwrap())
}

async fn connect(setting: &Setting, http: AuthClient<reqwest_13::Client>, mode: ClientLifecycleMode) -> Client {
    let config = StreamableHttpClientTransportConfig::with_uri(setting.world.mcp());
    let transport = StreamableHttpClientTransport::with_client(http, config);
    ().serve_with_lifecycle(transport, mode).await.unwrap()
}

async fn call(client: &Client, tool: &'static str) -> Result<CallToolResult, ServiceError> {
    let arguments = json!({ "station": "oslo" }).as_object().unwrap().clone();
    client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await
}

#[tokio::test]
async fn the_rust_sdk_signs_in_calls_is_refused_and_refreshes() {
    let setting = setting(weather).await;
    let modern = ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
    for mode in [ClientLifecycleMode::Initialize, modern] {
        let client = connect(&setting, signed_in(&setting, "rita", "").await, mode.clone()).await;
        let tools = client.list_all_tools().await.unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        assert!(names.contains(&TOOLS[0]) && !names.contains(&TOOLS[1]), "{mode:?}: {names:?}");
        assert_ne!(call(&client, TOOLS[0]).await.unwrap().is_error, Some(true), "{mode:?}");
        let refused = call(&client, TOOLS[1]).await.unwrap_err().to_string();
        assert!(refused.contains("Unknown tool: delete_station"), "{mode:?}: {refused}");
        let before = setting.refreshes().await;
        tokio::time::sleep(Duration::from_secs(LIFETIME + 1)).await;
        assert_ne!(call(&client, TOOLS[0]).await.unwrap().is_error, Some(true), "{mode:?}");
        assert!(setting.refreshes().await > before, "{mode:?}");
        let _ = client.cancel().await;
    }
}

#[tokio::test]
async fn the_rust_sdk_says_which_scope_is_missing_and_steps_up() {
    let setting = patient(weather).await;
    let http = signed_in(&setting, "max", "delete").await;
    let manager = Arc::clone(&http.auth_manager);
    let client = connect(&setting, http, ClientLifecycleMode::Initialize).await;
    let refused = call(&client, "delete_station").await.unwrap_err();
    assert!(format!("{refused:?}").contains("required_scope: Some(\"delete\")"), "{refused:?}");
    let manager = manager.lock().await;
    let address = manager.request_scope_upgrade("delete").await.unwrap();
    assert!(address.contains("read") && address.contains("delete"), "it asks for what it had too: {address}");
    let back = AuthorizationCallback::from_redirect_url(&setting.browse(&address, "max", "").await).unwrap();
    let issuer = back.issuer.as_deref();
    manager.exchange_code_for_token_with_issuer(&back.code, &back.csrf_token, issuer).await.unwrap();
    drop(manager);
    for tool in ["delete_station", "list_stations"] {
        assert_ne!(call(&client, tool).await.unwrap().is_error, Some(true), "{tool}");
    }
}
