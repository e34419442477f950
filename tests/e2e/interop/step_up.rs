//! A person who left a scope out and needs it after all: the call says so, and the client asks for it.

use serde_json::{Value, json};

use super::setting::{Setting, patient, weather};

async fn run(setting: &Setting, line: &str, station: &str) -> Value {
    let mut command = setting.script("step_up.mjs", "max");
    command.args([line, &setting.world.mcp(), "max", station]);
    setting.found(command).await
}

#[tokio::test]
async fn the_typescript_sdk_gets_a_scope_that_was_left_out_and_keeps_the_others() {
    let setting = patient(weather).await;
    // The first line refreshes instead of asking, and has to be told to sign in again.
    for (line, station, steps_up) in [("1.x", "oslo", false), ("2.x", "quito", true)] {
        let found = run(&setting, line, station).await;
        assert!(!found["before"].as_str().unwrap().contains("delete"), "{found}");
        assert_eq!(found["stepsUp"], steps_up, "{line}: {found}");
        assert!(found["refused"].is_object(), "{line}: {found}");
        assert_eq!(found["asked"].as_array().unwrap().len(), 2, "one sign-in more, and no other: {found}");
        assert!(found["deleted"]["result"].is_object(), "{found}");
        assert!(found["read"]["result"].is_object(), "{found}");
        let scope: Vec<&str> = found["after"].as_str().unwrap().split(' ').collect();
        assert!(scope.contains(&"read") && scope.contains(&"delete"), "{line}: {found}");
        assert_eq!(found["hidden"], json!([]), "{found}");
    }
}
