//! The environment names that people bring along, as the program takes them at its start.

use std::path::Path;
use std::process::Output;

use portcullis_tests::process::binary;

const FILE: &str = "
backends: { weather: { url: 'http://127.0.0.1:9000/mcp' } }
policy: { roles: { r: { opens: [read] } }, tools: { weather: { read: ['*'] } } }
";
const HONEST: [(&str, &str); 5] = [
    ("MREG_AZURE_TENANT_ID", "11111111-2222-4333-8444-555555555555"),
    ("MREG_AZURE_CLIENT_ID", "aaaaaaaa-0000-4000-8000-00000000c1d1"),
    ("MREG_AZURE_CLIENT_SECRET", "hunter2"),
    ("AZURE_REDIRECT_URI", "http://localhost:8080/auth/callback"),
    ("MREG_FASTMCP_ENABLE_AUDIT_LOGGING", "true"),
];

async fn check(directory: &Path, variables: &[(&str, &str)]) -> (bool, String) {
    std::fs::write(directory.join("gateway.yaml"), FILE).unwrap();
    let mut command = tokio::process::Command::new(binary("portcullis"));
    command.args(["check", "gateway.yaml"]).current_dir(directory).env_clear();
    let output: Output = command.envs(variables.iter().copied()).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

#[tokio::test]
async fn a_set_up_from_elsewhere_starts_and_what_it_cannot_have_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let (fine, said) = check(directory.path(), &HONEST).await;
    assert!(fine, "{said}");
    for (name, value) in [
        ("MREG_FASTMCP_ENABLE_TOOL_ACCESS_CONTROL", "false"),
        ("MREG_FASTMCP_ENABLE_RATE_LIMITING", "false"),
        ("AZURE_VALIDATE_WITH_GRAPH", "true"),
        ("OAUTH_CALLBACK_URL", "http://localhost:8080/oauth/callback"),
        ("AZURE_TENANT_ID", "99999999-2222-4333-8444-555555555555"),
        ("AZURE_TOKEN_CACHE_TTL", "600"),
        ("FASTMCP_SERVER_PORT", "http"),
    ] {
        let variables: Vec<_> = HONEST.into_iter().chain([(name, value)]).collect();
        let (fine, said) = check(directory.path(), &variables).await;
        assert!(!fine && (said.contains(name) || said.contains(value)), "{name}={value}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let (fine, said) = check(directory.path(), &[]).await;
    assert!(!fine && said.contains("MCP_BASE_URL") && said.contains("AZURE_TENANT_ID"), "{said}");
}
