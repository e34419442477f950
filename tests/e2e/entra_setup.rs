//! The script that makes the app registration asks Entra for what the gateway needs; a stand-in answers for `az`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use portcullis_tests::process::file;
use serde_json::Value;

fn setup(directory: &Path, arguments: &[&str]) -> Output {
    prepared(directory, arguments).output().unwrap()
}

fn prepared(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"PATH="$0:$PATH" exec "$@""#])
        .args([file("fixtures"), file("../deploy/entra/setup.sh")])
        .args(arguments)
        .env("AZ_STATE", directory.join("az.json"));
    command
}

fn asked(directory: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(directory.join("az.json")).unwrap()).unwrap()
}

const APP: &str = "aaaaaaaa-0000-4000-8000-00000000c1d1";
const CREATE: [&str; 5] = ["create", "Portcullis", "https://mcp.example.com/", "Task.Read", "Task.All"];

#[test]
fn the_registration_is_what_the_gateway_needs_and_stays_so_when_run_again() {
    let directory = tempfile::tempdir().unwrap();
    let made = setup(directory.path(), &CREATE);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let printed: Value = serde_saphyr::from_slice(&made.stdout).unwrap();
    assert_eq!(printed["entra"]["client_id"], "aaaaaaaa-0000-4000-8000-00000000c1d1");
    let first = asked(directory.path());
    let body = &first["requests"][0]["body"];
    assert_eq!(body["web"]["redirectUris"], serde_json::json!(["https://mcp.example.com/auth/callback"]));
    assert_eq!(body["api"]["requestedAccessTokenVersion"], 2);
    assert_eq!(body["api"]["oauth2PermissionScopes"][0]["value"], "access_as_user");
    let roles: Vec<&str> =
        body["appRoles"].as_array().unwrap().iter().map(|role| role["value"].as_str().unwrap()).collect();
    assert_eq!(roles, ["Task.Read", "Task.All"]);
    let permissions = &first["requests"][1]["body"]["requiredResourceAccess"];
    assert_eq!(permissions[0]["resourceAppId"], "aaaaaaaa-0000-4000-8000-00000000c1d1");
    assert_eq!(permissions[0]["resourceAccess"][0]["id"], body["api"]["oauth2PermissionScopes"][0]["id"]);
    assert_eq!(permissions[1]["resourceAccess"].as_array().unwrap().len(), 3);
    assert!(setup(directory.path(), &CREATE).status.success());
    let again = asked(directory.path());
    assert_eq!(again["requests"][2]["body"], *body, "the IDs of what is there must stay");
    assert_eq!(again["requests"][3], first["requests"][1]);
    // A role that is not named stays, and who has it keeps it, until it is taken out by its name: disabled first, or Entra
    // would refuse.
    let fewer = setup(directory.path(), &CREATE[..4]);
    assert!(fewer.status.success(), "{}", String::from_utf8_lossy(&fewer.stderr));
    let state = asked(directory.path());
    assert_eq!(state["applications"][0]["appRoles"], body["appRoles"]);
    let retired = setup(directory.path(), &["retire", APP, "Task.All"]);
    assert!(retired.status.success(), "{}", String::from_utf8_lossy(&retired.stderr));
    let state = asked(directory.path());
    assert_eq!(state["applications"][0]["appRoles"], serde_json::json!([body["appRoles"][0]]));
    assert!(!setup(directory.path(), &["retire", APP, "Task.All"]).status.success(), "it is none any more");
}

/// A registration that somebody else has made.
fn another(app: &str, redirect_uri: &str) -> Value {
    serde_json::json!({
        "appId": app, "id": format!("the-object-of-{app}"), "displayName": "Portcullis",
        "web": { "redirectUris": [redirect_uri] }, "identifierUris": ["api://theirs"],
        "appRoles": [{ "id": "r", "value": "Theirs", "isEnabled": true }],
        "api": { "oauth2PermissionScopes": [{ "id": "s", "value": "theirs" }] },
        "requiredResourceAccess": [
            { "resourceAppId": "their-api", "resourceAccess": [{ "id": "p", "type": "Scope" }] },
            { "resourceAppId": "00000003-0000-0000-c000-000000000000", "resourceAccess": [{ "id": "mail", "type": "Scope" }] },
        ],
        "optionalClaims": { "accessToken": [{ "name": "email" }], "idToken": [] },
    })
}

fn directory_of(applications: &[Value]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let state = serde_json::json!({ "applications": applications, "requests": [], "principal": true });
    std::fs::write(directory.path().join("az.json"), state.to_string()).unwrap();
    directory
}

#[test]
fn a_registration_of_the_same_name_is_not_taken_over() {
    let (one, other) =
        (another("app-1", "https://other.example/cb"), another("app-2", "https://mcp.example.com/auth/callback"));
    for (applications, words) in [
        (&[one.clone()][..], &["app-1", "https://other.example/cb", "APP_ID=app-1"][..]),
        (&[one, other], &["app-1, app-2", "APP_ID="]),
    ] {
        let directory = directory_of(applications);
        let before = asked(directory.path());
        let refused = setup(directory.path(), &CREATE);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && words.iter().all(|word| said.contains(word)), "{said}");
        assert_eq!(asked(directory.path()), before, "it is as it was");
        // By its ID it is meant, and by another name there is none.
        let named = prepared(directory.path(), &CREATE).env("APP_ID", "app-1").output().unwrap();
        assert!(named.status.success(), "{}", String::from_utf8_lossy(&named.stderr));
        assert!(String::from_utf8_lossy(&named.stdout).contains("client_id: app-1"));
        let apart = [&["create", "It's another"], &CREATE[2..]].concat();
        let apart = setup(directory.path(), &apart);
        assert!(apart.status.success(), "{}", String::from_utf8_lossy(&apart.stderr));
        assert!(String::from_utf8_lossy(&apart.stdout).contains(APP));
    }
    let directory = directory_of(&[]);
    assert!(!prepared(directory.path(), &CREATE).env("APP_ID", "app-9").output().unwrap().status.success());
    assert_eq!(asked(directory.path())["applications"], serde_json::json!([]), "none is made in its place");
}

#[test]
fn what_somebody_has_added_stays() {
    let theirs = another(APP, "https://mcp.example.com/auth/callback");
    let directory = directory_of(std::slice::from_ref(&theirs));
    let again = setup(directory.path(), &CREATE);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let now = &asked(directory.path())["applications"][0];
    for list in [
        "/web/redirectUris",
        "/identifierUris",
        "/appRoles",
        "/api/oauth2PermissionScopes",
        "/optionalClaims/accessToken",
    ] {
        let (now, before) = (now.pointer(list).unwrap().as_array().unwrap(), theirs.pointer(list).unwrap());
        assert!(before.as_array().unwrap().iter().all(|item| now.contains(item)), "{list}: {now:?}");
    }
    let asked_for = now["requiredResourceAccess"].as_array().unwrap();
    let of =
        |resource: &str| asked_for.iter().find(|of| of["resourceAppId"] == resource).unwrap()["resourceAccess"].clone();
    assert_eq!(asked_for.len(), 3, "the gateway's own, Graph and theirs: {asked_for:?}");
    assert_eq!(of("their-api"), theirs["requiredResourceAccess"][0]["resourceAccess"]);
    let graph = of("00000003-0000-0000-c000-000000000000");
    assert_eq!((graph.as_array().unwrap().len(), &graph[3]["id"]), (4, &serde_json::json!("mail")));
}

#[test]
fn a_question_that_is_not_answered_changes_nothing() {
    let directory = directory_of(&[another(APP, "https://mcp.example.com/auth/callback")]);
    let before = asked(directory.path());
    for part in [
        "app list",
        "web.redirectUris --output tsv",
        "web.redirectUris[?@",
        "identifierUris[?",
        "api.oauth2PermissionScopes[?value==",
        "api.oauth2PermissionScopes[?value!=",
        "appRoles[?value==",
        "appRoles[?value!=",
        "optionalClaims.idToken",
    ] {
        let failed = prepared(directory.path(), &CREATE).env("AZ_FAILS", part).output().unwrap();
        assert!(!failed.status.success(), "{part}");
        assert_eq!(asked(directory.path()), before, "{part}");
    }
    let failed = prepared(directory.path(), &CREATE).env("AZ_FAILS", "requiredResourceAccess[?").output().unwrap();
    let now = asked(directory.path());
    assert!(!failed.status.success());
    assert_eq!(now["applications"][0]["requiredResourceAccess"], before["applications"][0]["requiredResourceAccess"]);
    assert!(setup(directory.path(), &CREATE).status.success(), "the control");
}

#[test]
fn credentials_and_roles_are_added_to_it() {
    let directory = tempfile::tempdir().unwrap();
    assert!(setup(directory.path(), &CREATE).status.success());
    let app = "aaaaaaaa-0000-4000-8000-00000000c1d1";
    let secret = directory.path().join("secret");
    assert!(setup(directory.path(), &["secret", app, secret.to_str().unwrap()]).status.success());
    assert_eq!(std::fs::read_to_string(&secret).unwrap().trim(), "the-secret-of-the-registration");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&secret).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let subject = "system:serviceaccount:portcullis:portcullis";
    assert!(setup(directory.path(), &["federated", app, "cluster", "https://oidc.example/", subject]).status.success());
    assert!(setup(directory.path(), &["assign", app, "Task.All", "a-group"]).status.success());
    assert!(setup(directory.path(), &["consent", app]).status.success());
    // Each can be run again, and changes what is there to what is wanted.
    let other = "system:serviceaccount:portcullis:other";
    for step in
        [&["federated", app, "cluster", "https://oidc.example/", other][..], &["assign", app, "Task.All", "a-group"]]
    {
        let again = setup(directory.path(), step);
        assert!(again.status.success(), "{step:?}: {}", String::from_utf8_lossy(&again.stderr));
    }
    let state = asked(directory.path());
    assert_eq!(state["requests"].as_array().unwrap().len(), 3, "one assignment");
    assert_eq!(state["federated"]["subject"], other);
    assert_eq!(state["consented"], state["applications"][0]["requiredResourceAccess"]);
    let assigned = &state["requests"][2];
    assert_eq!(assigned["url"], "https://graph.microsoft.com/v1.0/servicePrincipals/the-principal/appRoleAssignedTo");
    assert_eq!(assigned["body"]["appRoleId"], state["applications"][0]["appRoles"][1]["id"]);
}

#[test]
fn a_secret_is_replaced_as_a_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    assert!(setup(directory.path(), &CREATE).status.success());
    let secret = directory.path().join("secret");
    let with = |words: &str| {
        let arguments = ["secret", "aaaaaaaa-0000-4000-8000-00000000c1d1", secret.to_str().unwrap()];
        prepared(directory.path(), &arguments).env("AZ_SECRET", words).output().unwrap()
    };
    let mode = || PermissionsExt::mode(&std::fs::metadata(&secret).unwrap().permissions()) & 0o777;
    let files = || std::fs::read_dir(directory.path()).unwrap().count();
    let before = files();
    for words in ["fails", "", " "] {
        assert!(!with(words).status.success() && !secret.exists(), "`{words}`");
    }
    std::fs::write(&secret, "the-good-one").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o644)).unwrap();
    for words in ["fails", "", " "] {
        let failed = with(words);
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(!failed.status.success() && said.contains("is as it was"), "`{words}`: {said}");
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "the-good-one", "`{words}`");
    }
    // A reader of before holds the whole of what was there, and not a file that is being written.
    let mut reader = std::fs::File::open(&secret).unwrap();
    assert!(with("another").status.success());
    assert_eq!(std::fs::read_to_string(&secret).unwrap().trim(), "another");
    assert_eq!(std::io::read_to_string(&mut reader).unwrap(), "the-good-one");
    assert_eq!(mode(), 0o640, "no more is taken away than everybody's");
    assert_eq!(files(), before + 1, "nothing is left beside it");
}

#[test]
fn what_cannot_be_right_is_refused_before_anything_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    for bad in [
        &["create", "Portcullis", "http://mcp.example.com", "Task.Read"][..],
        &["create", "Portcullis", "https://mcp.example.com/mcp", "Task.Read"],
        &["create", "Portcullis", "https://mcp.example.com"],
        &["create", "Portcullis", "https://mcp.example.com", "Task.Read", "a role"],
        &["secret", "app"],
        &["remove", "app"],
        &["retire", "app"],
        &[],
    ] {
        assert!(!setup(directory.path(), bad).status.success(), "{bad:?}");
        assert!(!directory.path().join("az.json").exists(), "{bad:?}");
    }
}
