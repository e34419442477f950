//! What `deploy/` promises: the unit is hardened, the manifests render, the image's files run, the alerts fire.
//!
//! A tool that is not on the machine is said to be missing; what `tests/setup.sh` installs has to be there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portcullis_tests::process::{binary, file};
use serde_json::Value;

fn deploy(name: &str) -> PathBuf {
    file("../deploy").join(name)
}

/// Runs a program; `None`, and a word about it, where it is not installed.
fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("`{program}` is not here ({error}); what it would check is unchecked");
            None
        }
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_unit_is_sound_and_can_do_little() {
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("portcullis.service");
    let written = std::fs::read_to_string(deploy("systemd/portcullis.service")).unwrap();
    let program = binary("portcullis").display().to_string();
    std::fs::write(&unit, written.replace("/usr/local/bin/portcullis", &program)).unwrap();
    let unit = unit.display().to_string();
    let Some(verified) = run("systemd-analyze", &["verify", &unit]) else { return };
    assert!(verified.status.success() && verified.stderr.is_empty(), "{}", text(&verified));
    let judged = |unit: &str| run("systemd-analyze", &["security", "--offline=true", "--threshold=20", unit]).unwrap();
    assert!(judged(&unit).status.success(), "{}", text(&judged(&unit)));
    let lax = directory.path().join("lax.service");
    std::fs::write(&lax, format!("[Service]\nExecStart={program} serve\n")).unwrap();
    assert!(!judged(&lax.display().to_string()).status.success(), "the control is judged too kindly");
}

#[test]
fn the_manifests_render_and_say_one_thing() {
    let rendered = |directory: &str| {
        let output = run("kubectl", &["kustomize", &deploy(directory).display().to_string()])?;
        assert!(output.status.success(), "{}", text(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        Some(text.split("\n---\n").map(|part| serde_saphyr::from_str::<Value>(part).unwrap()).collect::<Vec<_>>())
    };
    let Some(objects) = rendered("kubernetes") else { return };
    let of = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"));
    let pod = &of("Deployment")["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
    let labels = &pod["metadata"]["labels"];
    assert!(labels.as_object().is_some_and(|labels| !labels.is_empty()));
    for selector in [&of("Deployment")["spec"]["selector"]["matchLabels"], &of("Service")["spec"]["selector"]] {
        assert_eq!(selector, labels);
    }
    let ports: Vec<&Value> = container["ports"].as_array().unwrap().iter().map(|port| &port["name"]).collect();
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert!(ports.contains(&&container[probe]["httpGet"]["port"]), "{probe}");
    }
    let mounts: Vec<&str> = container["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["mountPath"].as_str().unwrap())
        .collect();
    let config = of("ConfigMap")["data"]["gateway.yaml"].as_str().unwrap();
    for path in ["/var/lib/portcullis", "/run/secrets/entra"] {
        assert!(mounts.contains(&path) && config.contains(path), "{path}");
    }
    let backends = rendered("kubernetes/backends").unwrap();
    let from = &backends[0]["spec"]["ingress"][0]["from"][0];
    assert_eq!(&from["podSelector"]["matchLabels"], labels);
    assert_eq!(
        from["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
        of("Namespace")["metadata"]["name"]
    );
}

#[test]
fn the_configurations_that_are_deployed_are_sound() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("client-secret"), "a-secret-of-some-length").unwrap();
    for name in ["gateway.yaml", "kubernetes/gateway.yaml"] {
        let written = std::fs::read_to_string(deploy(name)).unwrap();
        let secrets = directory.path().display().to_string();
        let path = directory.path().join("gateway.yaml");
        std::fs::write(&path, written.replace("/run/secrets/entra", &secrets)).unwrap();
        let checked = Command::new(binary("portcullis"))
            .arg("check")
            .arg(&path)
            .env("AZURE_TENANT_ID", "11111111-2222-4333-8444-555555555555")
            .env("AZURE_CLIENT_ID", "aaaaaaaa-0000-4000-8000-00000000c1d1")
            .env("AZURE_CLIENT_SECRET", "a-secret-of-some-length")
            .output()
            .unwrap();
        assert!(checked.status.success(), "{name}: {}", text(&checked));
    }
}

#[test]
fn the_files_of_the_image_run_where_nothing_else_is_writable() {
    let root = tempfile::tempdir().unwrap();
    let program = binary("portcullis").display().to_string();
    let script = deploy("image.sh").display().to_string();
    let made = run(&script, &["root", &root.path().display().to_string(), &program]).unwrap();
    assert!(made.status.success(), "{}", text(&made));
    let placed = root.path().join("usr/local/bin/portcullis");
    let version = run(&placed.display().to_string(), &["--version"]).unwrap();
    assert!(text(&version).starts_with("portcullis "), "{}", text(&version));
    assert!(mode(&root.path().join("var/lib/portcullis")) == 0o700);
    let dockerfile = std::fs::read_to_string(deploy("Dockerfile")).unwrap();
    let passwd = std::fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    let user = passwd.split(':').nth(2).unwrap();
    assert!(dockerfile.contains(&format!("USER {user}:{user}")) && dockerfile.contains("deploy/image.sh root"));
    let refused = run(&script, &["nonsense"]).unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777
}

#[test]
fn the_alerts_fire_when_they_should_and_ask_for_series_that_exist() {
    let rules = std::fs::read_to_string(deploy("monitoring/alerts.yaml")).unwrap();
    // A unit test of the gateway holds this list to what is exported.
    let exported = std::fs::read_to_string(file("../docs/metrics.md")).unwrap();
    let names = rules.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let series: Vec<&str> = names.filter(|name| name.starts_with("portcullis_")).collect();
    assert!(series.len() >= 5);
    for name in series {
        let family = ["_bucket", "_count", "_sum"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        assert!(exported.contains(&format!("| `{family}` |")), "nothing exports `{name}`");
    }
    let Some(tested) =
        run("promtool", &["test", "rules", &deploy("monitoring/alerts_test.yaml").display().to_string()])
    else {
        return;
    };
    assert!(tested.status.success(), "{}", text(&tested));
}
