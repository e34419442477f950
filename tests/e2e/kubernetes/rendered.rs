//! Runs Kustomize and Helm, and reads what comes out as a cluster would.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portcullis_tests::process::{file, tool};
use tempfile::TempDir;

use super::objects::Objects;

/// The files of the secret, by name.
pub const SECRETS: [&str; 5] = ["client-secret", "token", "seal-key", "redis-url", "audit-url"];

/// Something that passes for a secret.
pub fn secret(name: &str) -> String {
    match name {
        "seal-key" => "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned(),
        "redis-url" => "rediss://portcullis:secret@redis.data.svc:6379".to_owned(),
        "audit-url" => "postgres://portcullis_audit:secret@postgres.data.svc/audit".to_owned(),
        _ => format!("the-{name}-of-the-gateway"),
    }
}

/// Every rendering of the gateway that is shipped, by name.
pub fn all() -> Vec<(&'static str, Objects)> {
    let from_file = policy_from_file();
    let from_file = from_file.each_ref().map(String::as_str);
    vec![
        ("overlays/single", single(&[])),
        ("overlays/single with both components", single(&["workload-identity", "ingress"])),
        ("overlays/single without a secret", without_secret("single")),
        ("overlays/fleet without a secret of Entra's", without_secret("fleet")),
        ("overlays/fleet", fleet()),
        ("overlays/fleet with both components", overlay("fleet", &["workload-identity", "ingress"])),
        ("chart", chart(&[])),
        ("chart of a fleet", chart_of_a_fleet(&[])),
        (
            "chart with everything",
            chart(&["--set", "ingress.enabled=true,podMonitor.enabled=true,workloadIdentity.enabled=true"]),
        ),
        ("chart with a policy of its own", chart(&from_file)),
    ]
}

/// The arguments that give the chart a policy of its own file.
pub fn policy_from_file() -> [String; 4] {
    let policy = file("../examples/policies/task-roles.yaml").display().to_string();
    ["--set", "config.policy=null", "--set-file", &format!("policy={policy}")].map(str::to_owned)
}

/// Another policy than that, in a file.
pub fn another_policy() -> tempfile::NamedTempFile {
    let written = tempfile::NamedTempFile::new().unwrap();
    let text = std::fs::read_to_string(file("../examples/policies/task-roles.yaml")).unwrap();
    std::fs::write(written.path(), format!("{text}# another\n")).unwrap();
    written
}

/// One pod, with these components.
pub fn single(components: &[&str]) -> Objects {
    overlay("single", components)
}

/// An overlay whose pods have a token in place of Entra's secret, changed as the head of the component says.
pub fn without_secret(name: &str) -> Objects {
    overlay_with(name, &["workload-identity"], |directory| {
        std::fs::remove_file(directory.join("client-secret")).unwrap();
        for (file, from, to) in [
            ("kustomization.yaml", "secretGenerator:\n  - name: portcullis-secrets\n    files: [client-secret]\n", ""),
            ("kustomization.yaml", "files: [client-secret, ", "files: ["),
            (
                "gateway.yaml",
                "client_secret_file: ${SECRETS:-/run/secrets/portcullis}/client-secret",
                "federated_token_file: ${TOKEN:-/run/secrets/entra/token}",
            ),
        ] {
            let text = std::fs::read_to_string(directory.join(file)).unwrap();
            std::fs::write(directory.join(file), text.replace(from, to)).unwrap();
        }
    })
}

/// Several pods.
pub fn fleet() -> Objects {
    overlay("fleet", &[])
}

/// The chart with the values of a fleet.
pub fn chart_of_a_fleet(arguments: &[&str]) -> Objects {
    chart(&[&["-f", fleet_values().as_str()], arguments].concat())
}

/// The file with those.
pub fn fleet_values() -> String {
    file("../deploy/helm/fleet-values.yaml").display().to_string()
}

/// The example server and the policy of its namespace.
pub fn example() -> Objects {
    Objects::read(&kustomize(&file("../deploy/kubernetes/example")))
}

/// An overlay of which a file is another.
pub fn changed(name: &str, changed: &str) -> Objects {
    overlay_with(name, &[], |directory| {
        let file = directory.join(changed);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("{text}# another\n")).unwrap();
    })
}

fn overlay(name: &str, components: &[&str]) -> Objects {
    overlay_with(name, components, |_| {})
}

fn overlay_with(name: &str, components: &[&str], change: impl FnOnce(&Path)) -> Objects {
    let copy = TempDir::new().unwrap();
    let copied = Command::new("cp").arg("-r").arg(file("../deploy/kubernetes")).arg(copy.path()).status().unwrap();
    assert!(copied.success());
    let directory = copy.path().join("kubernetes/overlays").join(name);
    for name in SECRETS {
        std::fs::write(directory.join(name), secret(name)).unwrap();
    }
    change(&directory);
    let kustomization = directory.join("kustomization.yaml");
    let mut text = std::fs::read_to_string(&kustomization).unwrap();
    if !components.is_empty() {
        let listed = components.iter().map(|component| format!("  - ../../components/{component}\n"));
        text.push_str("components:\n");
        text.extend(listed);
        std::fs::write(&kustomization, text).unwrap();
    }
    Objects::read(&kustomize(&directory))
}

/// The chart with the values of the tests, and these arguments.
pub fn chart(arguments: &[&str]) -> Objects {
    chart_with("portcullis", arguments)
}

/// As [`chart`], under a name of its own.
pub fn chart_with(name: &str, arguments: &[&str]) -> Objects {
    let output = helm(name, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The cluster reads YAML as Go does: so does Kustomize, and prints it plainly.
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("all.yaml"), &output.stdout).unwrap();
    std::fs::write(directory.path().join("kustomization.yaml"), "resources: [all.yaml]\n").unwrap();
    Objects::read(&kustomize(directory.path()))
}

/// The chart does not render with these arguments, and says why.
pub fn refused(arguments: &[&str], why: &str) {
    let output = helm("portcullis", arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why), "{arguments:?}: {said}");
}

/// `helm lint`.
pub fn lint() {
    let mut command = Command::new(program("helm"));
    command
        .args(["lint", "--strict"])
        .arg(file("../deploy/helm/portcullis"))
        .arg("-f")
        .arg(file("fixtures/values.yaml"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn helm(name: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program("helm"));
    command.args(["template", name]).arg(file("../deploy/helm/portcullis"));
    command.args(["-n", "portcullis", "-f"]).arg(file("fixtures/values.yaml")).args(arguments).output().unwrap()
}

fn kustomize(directory: &Path) -> String {
    let output = Command::new(program("kubectl")).arg("kustomize").arg(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The program that `tests/setup.sh` installs; on a machine that it cannot be installed on, the path's.
fn program(name: &str) -> PathBuf {
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return tool(&format!("deploy/node_modules/.programs/{name}/{name}"));
    }
    PathBuf::from(name)
}
