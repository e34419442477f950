//! The policy as its author works with it: checked, explained, compared, and completed by an editor.

use std::path::{Path, PathBuf};
use std::process::Output;

use portcullis_tests::process::{binary, file};
use portcullis_tests::{Backend, World, WorldBuilder};
use serde_json::{Value, json};

const OLD: &str = "
roles:
  Reader: { opens: [read] }
  Writer: { opens: [read, { tag: write, when: 'args.env == \"dev\"' }] }
  Robot: { members: { apps: [Robot] }, opens: [read] }
tools: { weather: { read: [\"get_*\"], write: [\"add_*\"] } }
tests:
  catalogue: { weather: [get_forecast, add_station] }
  cases:
    - { name: readers read, as: { roles: [Reader] }, sees: { weather: [get_forecast] } }
";

async fn command(arguments: &[&str], directory: &Path) -> Output {
    tokio::process::Command::new(binary("portcullis")).args(arguments).current_dir(directory).output().await.unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

/// A directory with the policy as it was, and as it is to be.
fn two_policies(new: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("old.yaml"), OLD).unwrap();
    std::fs::write(directory.path().join("new.yaml"), new).unwrap();
    directory
}

#[tokio::test]
async fn who_can_names_everybody_and_on_what_terms() {
    let directory = two_policies(OLD);
    let who = async |item: &str, more: &[&str]| {
        let arguments: Vec<&str> =
            ["who-can", item, "--config", "old.yaml"].into_iter().chain(more.iter().copied()).collect();
        command(&arguments, directory.path()).await
    };
    let reads = who("weather/get_forecast", &[]).await;
    assert!(reads.status.success(), "{}", said(&reads));
    for line in ["users with app role `Reader`", "users with app role `Writer`", "applications with app role `Robot`"] {
        assert!(said(&reads).contains(line), "{line}: {}", said(&reads));
    }
    let writes = parsed(&who("weather/add_station", &["--json"]).await);
    assert_eq!(writes["tags"], json!(["write"]));
    assert_eq!(writes["who"][0]["roles"], json!(["Writer"]));
    assert_eq!(writes["who"][0]["terms"], json!(["tag `write` when args.env == \"dev\""]));
    assert_eq!(writes["who"].as_array().unwrap().len(), 1);
    let nobody = who("weather/delete_station", &[]).await;
    assert_eq!(nobody.status.code(), Some(1));
    assert!(said(&nobody).contains("nobody"));
    assert!(said(&who("delete_station", &[]).await).contains("write `backend/delete_station`"));
}

#[tokio::test]
async fn a_difference_is_told_by_caller_and_by_tool_and_ends_with_one() {
    let wider = OLD.replace("Reader: { opens: [read] }", "Reader: { opens: [read, write] }");
    let narrower = OLD.replace("  Robot: { members: { apps: [Robot] }, opens: [read] }\n", "");
    for (new, fail_on, code, expected) in [
        (OLD.to_owned(), "any", 0, "nobody gains or loses anything"),
        (wider.clone(), "any", 1, "users with app role `Reader`\n  gains       weather/add_station"),
        (wider.clone(), "gains", 1, "1 gained, 0 lost, 0 on other terms"),
        (wider.clone(), "never", 0, "1 gained"),
        (narrower.clone(), "any", 1, "applications with app role `Robot`\n  loses       weather/get_forecast"),
        (narrower, "gains", 0, "0 gained, 1 lost"),
        (OLD.replace("dev", "prod"), "gains", 1, "no longer: tag `write` when args.env == \"dev\""),
    ] {
        let directory = two_policies(&new);
        let output = command(&["policy", "diff", "old.yaml", "new.yaml", "--fail-on", fail_on], directory.path()).await;
        assert_eq!(output.status.code(), Some(code), "{new}: {}", said(&output));
        assert!(said(&output).contains(expected), "{expected}: {}", said(&output));
    }
    let directory = two_policies(&wider);
    let output = command(&["policy", "diff", "old.yaml", "new.yaml", "--json"], directory.path()).await;
    let answer = parsed(&output);
    assert_eq!(answer["ok"], false);
    let difference = &answer["differences"][0];
    assert_eq!((&difference["change"], &difference["widens"]), (&json!("gains"), &json!(true)));
    assert_eq!(difference["item"], json!({ "backend": "weather", "kind": "tool", "name": "add_station" }));
}

#[tokio::test]
async fn without_a_catalogue_the_patterns_stand_for_the_tools() {
    let tests = OLD.find("tests:").unwrap();
    let directory = two_policies(OLD);
    std::fs::write(directory.path().join("old.yaml"), &OLD[..tests]).unwrap();
    let new = OLD[..tests].replace("Reader: { opens: [read] }", "Reader: { opens: [write] }");
    std::fs::write(directory.path().join("new.yaml"), new).unwrap();
    let output = command(&["policy", "diff", "old.yaml", "new.yaml"], directory.path()).await;
    for expected in ["the tools of weather are not known", "gains       weather/add_*", "loses       weather/get_*"] {
        assert!(said(&output).contains(expected), "{expected}: {}", said(&output));
    }
}

#[tokio::test]
async fn programs_read_every_answer_as_json() {
    let directory = two_policies(&OLD.replace("sees: { weather: [get_forecast] }", "sees: { weather: [] }"));
    let run = async |arguments: &[&str]| {
        let output = command(arguments, directory.path()).await;
        (output.status.code(), parsed(&output))
    };
    let (code, fine) = run(&["check", "old.yaml", "--json"]).await;
    assert_eq!((code, &fine["ok"], &fine["passed"]), (Some(0), &json!(true), &json!(1)), "{fine}");
    let (code, failed) = run(&["policy", "test", "new.yaml", "--json"]).await;
    assert_eq!((code, &failed["ok"], &failed["failed"][0]["name"]), (Some(1), &json!(false), &json!("readers read")));
    std::fs::write(
        directory.path().join("bad.yaml"),
        OLD.replace("opens: [read] }\n  Writer", "open: [read] }\n  Writer"),
    )
    .unwrap();
    let (code, bad) = run(&["check", "bad.yaml", "--json"]).await;
    assert_eq!(code, Some(1));
    let fault = &bad["faults"][0];
    assert_eq!(
        (&fault["file"], &fault["line"], &fault["severity"]),
        (&json!("bad.yaml"), &json!(3), &json!("error")),
        "{bad}"
    );
    let question = ["explain", "--config", "old.yaml", "--role", "Writer", "--call", "weather/add_station", "--json"];
    let (code, denied) = run(&question).await;
    assert_eq!((code, &denied["verdict"]), (Some(1), &json!("deny")), "{denied}");
    let with = [&question[..], &["--args", "{\"env\": \"dev\"}"]].concat();
    let (code, allowed) = run(&with).await;
    assert_eq!(
        (code, &allowed["verdict"], &allowed["roles"]),
        (Some(0), &json!("allow"), &json!(["Writer"])),
        "{allowed}"
    );
    let misspelt =
        run(&["explain", "--config", "old.yaml", "--role", "Writter", "--call", "weather/add_station", "--json"]).await;
    assert_eq!((misspelt.0, &misspelt.1["idle"]), (Some(1), &json!(["Writter"])), "{}", misspelt.1);
    let (code, missing) = run(&["who-can", "weather/x", "--config", "missing.yaml", "--json"]).await;
    assert_eq!((code, &missing["ok"]), (Some(1), &json!(false)));
}

/// A server with two tools, a gateway for it whose policy only says `get_*`, and the same with more for readers.
async fn live(drift: &str) -> (World, Backend) {
    let tool = |name: &str| json!({ "name": name, "inputSchema": { "type": "object" } });
    let tools = [tool("get_forecast"), tool("get_owner"), tool("add_station")];
    let backend = Backend::with_tools(&tools).await;
    let policy = "
  roles: { Task.Read: { opens: [read] }, Task.Write: { opens: [write] } }
  tools: { weather: { read: ['get_*'], write: ['add_*'] } }
";
    let mut builder = WorldBuilder::new(&backend).policy(policy);
    if !drift.is_empty() {
        builder = builder.backend_more(drift).before(&["tools", "pin"]);
    }
    let world = builder.start().await;
    let text = std::fs::read_to_string(world.directory().join("gateway.yaml")).unwrap();
    let wider = text.replace("Task.Read: { opens: [read] }", "Task.Read: { opens: [read, write] }");
    assert_ne!(wider, text);
    std::fs::write(world.directory().join("wider.yaml"), wider).unwrap();
    (world, backend)
}

#[tokio::test]
async fn what_changes_is_told_over_the_live_servers_or_over_lock_files() {
    let diff = ["policy", "diff", "gateway.yaml", "wider.yaml"];
    let gains = "users with app role `Task.Read`\n  gains       weather/add_station";
    for (drift, more, known) in
        [("", &[][..], false), ("", &["--live"][..], true), ("drift: { lock: weather.lock.json }", &[][..], true)]
    {
        let (world, backend) = live(drift).await;
        let output = world.command(&[&diff[..], more].concat()).await;
        let expected = if known { gains } else { "gains       weather/add_*" };
        assert_eq!(output.status.code(), Some(1), "{drift} {more:?}: {}", said(&output));
        assert!(said(&output).contains(expected), "{drift} {more:?}: {}", said(&output));
        assert_eq!(said(&output).contains("are not known"), !known, "{drift} {more:?}");
        let answer = parsed(&world.command(&[&diff[..], more, &["--json"]].concat()).await);
        let names: Vec<&Value> =
            answer["differences"].as_array().unwrap().iter().map(|one| &one["item"]["name"]).collect();
        assert_eq!(names, [if known { "add_station" } else { "add_*" }], "{answer}");
        assert_eq!(answer["note"].is_null(), known, "{answer}");
        if !more.is_empty() {
            backend.stop().await;
            let gone = world.command(&[&diff[..], more].concat()).await;
            assert_eq!(gone.status.code(), Some(1));
            assert!(said(&gone).contains("cannot be connected to"), "{}", said(&gone));
        }
    }
}

#[tokio::test]
async fn exit_codes_are_those_of_the_page() {
    let (world, backend) = live("drift: { lock: weather.lock.json }").await;
    std::fs::write(world.directory().join("old.yaml"), OLD).unwrap();
    let failing = OLD.replace("sees: { weather: [get_forecast] }", "sees: { weather: [] }");
    std::fs::write(world.directory().join("failing.yaml"), failing).unwrap();
    let warned = OLD.replace("[get_forecast, add_station]", "[get_forecast, add_station, untagged]");
    std::fs::write(world.directory().join("warned.yaml"), warned).unwrap();
    let before = [
        (0, "check old.yaml"),
        (0, "check warned.yaml"),
        (0, "check gateway.yaml"),
        (1, "check failing.yaml"),
        (1, "check missing.yaml"),
        (0, "policy test old.yaml"),
        (1, "policy test failing.yaml"),
        (0, "explain -c old.yaml -r Reader --call weather/get_forecast"),
        (1, "explain -c old.yaml -r Reader --call weather/add_station"),
        (1, "explain -c old.yaml -r Reader --scope other --call weather/get_forecast"),
        (0, "who-can weather/get_forecast -c old.yaml"),
        (1, "who-can weather/nothing -c old.yaml"),
        (0, "policy diff old.yaml old.yaml"),
        (1, "policy diff gateway.yaml wider.yaml"),
        (1, "policy diff gateway.yaml wider.yaml --fail-on gains"),
        (0, "policy diff wider.yaml gateway.yaml --fail-on gains"),
        (0, "policy diff gateway.yaml wider.yaml --fail-on never"),
        (2, "policy diff old.yaml"),
        (2, "explain -c old.yaml"),
        (2, "policy diff old.yaml old.yaml --fail-on something"),
        (0, "tools"),
        (0, "tools diff"),
        (0, "tools pin"),
        (0, "tools approve"),
        (1, "tools approve get_forecast"),
        (0, "schema --policy"),
    ];
    let after = [(1, "tools"), (1, "tools diff"), (1, "tools pin"), (1, "tools approve")];
    for (code, line) in before {
        let output = world.command(&line.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(output.status.code(), Some(code), "{line}: {}", said(&output));
    }
    backend.stop().await;
    for (code, line) in after {
        let output = world.command(&line.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(output.status.code(), Some(code), "{line}: {}", said(&output));
    }
}

/// The fenced blocks of a page, each with its word.
fn blocks(page: &str) -> Vec<(String, String)> {
    let fenced = page.split("\n```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n')).map(|(word, body)| (word.to_owned(), body.to_owned())).collect()
}

#[tokio::test]
async fn every_command_of_the_page_on_policies_prints_what_is_shown() {
    let page = std::fs::read_to_string(file("../docs/policy.md")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for (word, body) in blocks(&page) {
        match word.as_str() {
            // What a command is about: the policy above it, as it is, with a slip, and with a change.
            "yaml" => {
                let changed = [
                    ("policy.yaml", "", ""),
                    ("bad.yaml", "opens", "open"),
                    ("new.yaml", "[read] }", "[read, write] }"),
                ];
                for (name, from, to) in changed {
                    std::fs::write(directory.path().join(name), body.replacen(from, to, 1)).unwrap();
                }
            }
            "console" => {
                for shown in body.split("$ portcullis ").skip(1) {
                    let (line, expected) = shown.split_once('\n').unwrap();
                    let arguments: Vec<&str> = line.split_whitespace().collect();
                    let output = command(&arguments, directory.path()).await;
                    let printed = said(&output);
                    assert_eq!(printed.trim_end(), expected.trim_end(), "portcullis {line}");
                    checked += 1;
                }
            }
            _ => {}
        }
    }
    assert!(checked >= 8, "only {checked} commands were found");
}

/// The files below a directory that are of a kind.
fn samples(home: &Path, is_one: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(home).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            samples(&path, is_one, found);
        } else if is_one(&path) {
            found.push(path);
        }
    }
}

#[tokio::test]
async fn the_schemas_are_committed_and_let_every_sample_through() {
    let root = file("..");
    let is_configuration = |path: &Path| path.ends_with("gateway.yaml");
    let is_policy = |path: &Path| path.parent().is_some_and(|home| home.ends_with("examples/policies"));
    let mut configurations = vec![root.join("gateway.yaml")];
    for home in ["deploy", "examples"] {
        samples(&root.join(home), &is_configuration, &mut configurations);
    }
    let mut policies = Vec::new();
    samples(&root.join("examples"), &is_policy, &mut policies);
    assert!(configurations.len() >= 5 && policies.len() >= 8, "{configurations:?} {policies:?}");
    for (arguments, committed, samples) in [
        (&["schema"][..], "docs/schema/gateway.schema.json", configurations),
        (&["schema", "--policy"], "docs/schema/policy.schema.json", policies),
    ] {
        let output = command(arguments, &root).await;
        let written = std::fs::read_to_string(root.join(committed)).unwrap();
        assert!(said(&output) == written, "write it anew: portcullis {} > {committed}", arguments.join(" "));
        let validator = jsonschema::validator_for(&parsed(&output)).unwrap();
        for sample in samples {
            let text = std::fs::read_to_string(&sample).unwrap();
            let sample_value: Value = serde_saphyr::from_str(&text).unwrap();
            let errors: Vec<String> = validator
                .iter_errors(&sample_value)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert_eq!(errors, Vec::<String>::new(), "{}", sample.display());
            let line = text.lines().find_map(|line| line.strip_prefix("# yaml-language-server: $schema="));
            let schema = line.map(|schema| sample.parent().unwrap().join(schema));
            assert!(schema.is_some_and(|schema| schema.exists()), "{} names no schema for editors", sample.display());
        }
        let wrong = json!({ "servr": {}, "roles": [] });
        assert!(!validator.is_valid(&wrong));
    }
}
