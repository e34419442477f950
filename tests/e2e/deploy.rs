//! What `deploy/` promises: the unit is hardened, the image's files run, the alerts fire. Manifests have suites of
//! their own, `kubernetes` and `compose`.
//!
//! A tool that is not on the machine is said to be missing; what `tests/setup.sh` installs has to be there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portcullis_tests::process::{binary, file};

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
    let verified = run("systemd-analyze", &["verify", &unit]).expect("`tests/setup.sh` installs it");
    assert!(verified.status.success() && verified.stderr.is_empty(), "{}", text(&verified));
    assert_eq!(exposure(&unit).map(|score| score < 20), Some(true));
    let lax = directory.path().join("lax.service");
    std::fs::write(&lax, format!("[Service]\nExecStart={program} serve\n")).unwrap();
    assert_eq!(exposure(&lax.display().to_string()).map(|score| score < 80), Some(false), "the control");
    // The same unit with the one capability that a low port wants, and the group that may read the certificate.
    let more = directory.path().join("portcullis.service.d");
    std::fs::create_dir(&more).unwrap();
    for name in ["low-port.conf", "tls.conf"] {
        std::fs::copy(deploy("systemd").join(name), more.join(name)).unwrap();
    }
    let verified = run("systemd-analyze", &["verify", &unit]).unwrap();
    assert!(verified.status.success() && verified.stderr.is_empty(), "{}", text(&verified));
    assert_eq!(exposure(&unit).map(|score| score < 25), Some(true));
}

/// What `systemd-analyze` makes of a unit: tenths of points, 100 for one that can do anything. It is printed as well.
fn exposure(unit: &str) -> Option<u32> {
    let judged = run("systemd-analyze", &["security", "--offline=true", "--no-pager", unit])?;
    let said = text(&judged);
    let line = said.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{said}"));
    println!("{line}");
    let score = line.split_whitespace().find_map(|word| word.parse::<f64>().ok()).unwrap();
    Some(format!("{:.0}", score * 10.0).parse().unwrap())
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
    // It is added to the image's own users: put over them, the files of the program would leave no root.
    assert!(!root.path().join("etc/passwd").exists() && !root.path().join("etc/group").exists());
    let script = std::fs::read_to_string(&script).unwrap();
    let user = script.lines().find_map(|line| line.strip_prefix("readonly USER_ID=")).unwrap();
    for line in
        [format!("USER {user}:{user}"), format!("--uid {user} --gid {user} "), "deploy/image.sh root".to_owned()]
    {
        assert!(dockerfile.contains(&line), "`{line}`");
    }
    let refused = run(&deploy("image.sh").display().to_string(), &["nonsense"]).unwrap();
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
