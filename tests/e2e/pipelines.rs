//! The pipelines of `examples/ci/`, run step by step as their hosts run them, in repositories with a change to review.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portcullis_tests::process::{binary, file};
use portcullis_tests::{Backend, WorldBuilder};
use serde_json::{Value, json};

const POLICY: &str = r#"roles:
  Task.Read:  { opens: [read] }
  Task.Write: { opens: [read, write] }
tools:
  weather: { read: ["get_*"], write: [add_station] }
tests:
  catalogue: { weather: [get_forecast, add_station] }
  cases:
    - { name: readers read, as: { roles: [Task.Read] }, call: weather/get_forecast, expect: allow }
    - { name: nobody writes without a role, as: {}, call: weather/add_station, expect: deny }
"#;

/// A step: what it is called, and what a shell runs of it.
type Step = (String, String);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Host {
    GitHub,
    GitLab,
}

impl Host {
    fn pipeline(self) -> Value {
        let name = match self {
            Self::GitHub => "github-actions.yml",
            Self::GitLab => "gitlab-ci.yml",
        };
        let text = std::fs::read_to_string(file("../examples/ci").join(name)).unwrap();
        serde_saphyr::from_str(&text).unwrap()
    }

    /// The steps that run where the change has the label, or has not.
    fn steps(self, labelled: bool) -> Vec<Step> {
        let pipeline = self.pipeline();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        if self == Self::GitLab {
            return pipeline["policy"]["script"]
                .as_array()
                .unwrap()
                .iter()
                .map(|line| (text(line), text(line)))
                .collect();
        }
        assert_eq!(
            pipeline["defaults"]["run"]["shell"], "bash",
            "the host's own choice does not see a failure in a pipe"
        );
        let without_label = "${{ !contains(github.event.pull_request.labels.*.name, 'widens-access') }}";
        let steps = pipeline["jobs"]["policy"]["steps"].as_array().unwrap().iter();
        let runs = steps.filter(|step| step["run"].is_string()).filter(|step| match &step["if"] {
            Value::Null => true,
            condition => {
                assert_eq!(condition, without_label);
                !labelled
            }
        });
        runs.map(|step| (text(&step["name"]), text(&step["run"]))).collect()
    }

    fn variables(self, labelled: bool, summary: &Path) -> Vec<(String, String)> {
        let pipeline = self.pipeline();
        let (own, of_host) = match self {
            Self::GitHub => (&pipeline["jobs"]["policy"]["env"], vec![("GITHUB_BASE_REF", "main")]),
            Self::GitLab => {
                let labels = if labelled { "urgent,widens-access" } else { "urgent" };
                let of_host =
                    vec![("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main"), ("CI_MERGE_REQUEST_LABELS", labels)];
                (&pipeline["variables"], of_host)
            }
        };
        let own =
            own.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
        let of_host = of_host.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let summary = ("GITHUB_STEP_SUMMARY".to_owned(), summary.display().to_string());
        own.chain(of_host).chain([summary]).collect()
    }
}

/// A clone with a change of the policy, and the branch that it is meant for.
struct Review {
    directory: tempfile::TempDir,
    clone: PathBuf,
}

fn git(directory: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]);
    let output = command.args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", said(&output));
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

impl Review {
    /// Of a change from one set of files to another.
    fn of(before: &[(&str, &str)], after: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (origin, clone) = (directory.path().join("origin"), directory.path().join("clone"));
        std::fs::create_dir(&origin).unwrap();
        git(&origin, &["init", "--quiet"]);
        let commit = |at: &Path, files: &[(&str, &str)]| {
            for (name, text) in files {
                std::fs::create_dir_all(at.join(name).parent().unwrap()).unwrap();
                std::fs::write(at.join(name), text).unwrap();
            }
            git(at, &["add", "--all"]);
            git(at, &["commit", "--quiet", "--message", "A change"]);
        };
        commit(&origin, &[&[("README.md", "Ours\n")], before].concat());
        git(directory.path(), &["clone", "--quiet", "origin", "clone"]);
        git(&clone, &["checkout", "--quiet", "--detach"]);
        commit(&clone, after);
        Self { directory, clone }
    }

    /// Runs a pipeline as far as it goes; the step that fails, and everything that was said.
    fn run(&self, host: Host, labelled: bool, more: &[(&str, &str)]) -> (Option<String>, String) {
        let (mut all, summary) = (String::new(), self.directory.path().join("summary"));
        let program = binary("portcullis");
        let path = format!("PATH={}:\"$PATH\"\n", quoted(&program.parent().unwrap().display().to_string()));
        let shell = |script: &str| {
            let mut command = Command::new("bash");
            command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &format!("{path}{script}")]);
            command.current_dir(&self.clone).envs(host.variables(labelled, &summary)).envs(more.iter().copied());
            command.output().unwrap()
        };
        let mut steps = host.steps(labelled);
        let mut failed = None;
        if host == Host::GitLab {
            // One shell runs all lines, and says which it is at.
            let line = |(name, script): &Step| format!("echo \"at \"{}\n{script}", quoted(name));
            let output = shell(&steps.iter().map(line).collect::<Vec<_>>().join("\n"));
            all = said(&output);
            let at = |(name, _): &Step| all.rfind(&format!("at {name}\n"));
            steps.retain(|step| at(step).is_some());
            failed = steps.iter().max_by_key(|step| at(step)).map(|(name, _)| name.clone());
            return (failed.filter(|_| !output.status.success()), all);
        }
        for (name, script) in steps {
            let output = shell(&script);
            all.push_str(&said(&output));
            if !output.status.success() {
                failed = Some(name);
                break;
            }
        }
        all.push_str(&std::fs::read_to_string(summary).unwrap_or_default());
        (failed, all)
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn policy(text: &str) -> [(&str, &str); 1] {
    [("policy/policy.yaml", text)]
}

/// Before, after, whether it has the label, what fails, what is said.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, bool, Option<&'a str>, &'a str);

#[test]
fn a_change_is_let_through_shown_or_stopped_where_the_pipeline_says() {
    let wider = POLICY.replace("Task.Read:  { opens: [read] }", "Task.Read:  { opens: [read, write] }");
    let narrower = POLICY.replace("opens: [read, write] }", "opens: [write] }");
    let faulty = POLICY.replace("opens: [read] }", "open: [read] }");
    let failing = POLICY.replace("get_forecast, expect: allow", "add_station, expect: allow");
    let gains = "gains       weather/add_station";
    let cases: [Case<'_>; 8] = [
        (&policy(POLICY), &narrower, false, None, "loses       weather/get_forecast"),
        (&policy(POLICY), &wider, false, Some("gains"), gains),
        (&policy(POLICY), &wider, true, None, gains),
        (&policy(POLICY), &faulty, true, Some("check"), "policy/policy.yaml:2:17: `open` is not a key of a role"),
        (&policy(POLICY), &failing, true, Some("check"), "the test `readers read` fails"),
        (&policy(&wider), POLICY, false, None, "loses       weather/add_station"),
        (&[], POLICY, false, Some("gains"), gains),
        (&[], POLICY, true, None, gains),
    ];
    for host in [Host::GitHub, Host::GitLab] {
        for (before, after, labelled, fails, words) in &cases {
            let review = Review::of(before, &policy(after));
            let (failed, all) = review.run(host, *labelled, &[]);
            let step = failed.map(|step| match step.as_str() {
                "Check" | "portcullis check \"$POLICY\"" => "check",
                step if step.contains("--fail-on gains") || step.starts_with("Wider access") => "gains",
                _ => "another",
            });
            assert_eq!(step, *fails, "{host:?} {before:?} {after}: {all}");
            assert!(all.contains(words), "{host:?}: {words} is not in {all}");
            if host == Host::GitLab && *fails != Some("check") {
                let kept = std::fs::read(review.clone.join("difference.json")).unwrap();
                let kept: Value = serde_json::from_slice(&kept).unwrap();
                assert!(kept["differences"].as_array().is_some_and(|all| !all.is_empty()), "{kept}");
            }
        }
    }
}

#[tokio::test]
async fn where_there_is_a_lock_file_the_tools_are_those_of_it() {
    let tools =
        ["get_forecast", "add_station"].map(|name| json!({ "name": name, "inputSchema": { "type": "object" } }));
    let backend = Backend::with_tools(&tools).await;
    let drift =
        WorldBuilder::new(&backend).backend_more("drift: { lock: weather.lock.json }").before(&["tools", "pin"]);
    let world = drift.start().await;
    let lock = std::fs::read_to_string(world.directory().join("weather.lock.json")).unwrap();
    let untested = POLICY.split("tests:").next().unwrap();
    let wider = untested.replace("Task.Read:  { opens: [read] }", "Task.Read:  { opens: [read, write] }");
    let files = |policy| [("policy/policy.yaml", policy), ("policy/weather.lock.json", lock.as_str())];
    for host in [Host::GitHub, Host::GitLab] {
        for (locks, noted) in [("--lock weather=policy/weather.lock.json", false), ("", true)] {
            let (failed, all) = Review::of(&files(untested), &files(&wider)).run(host, false, &[("LOCKS", locks)]);
            assert!(failed.is_some() && all.contains("gains       weather/add_station"), "{host:?}: {all}");
            assert_eq!(all.contains("the tools of weather are not known"), noted, "{host:?} {locks}: {all}");
        }
    }
}
