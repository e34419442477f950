//! The documents say nothing that is not so: every command, option, key, metric, file and link that they name exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_tests::process::{binary, file};
use portcullis_tests::{Backend, WorldBuilder};
use serde_json::Value;

/// A document: its name, and its text.
type Document = (String, String);

/// What a reader is sent to, from the root of the repository. The changelog tells of what was.
fn documents() -> Vec<Document> {
    let mut names = vec!["README.md".to_owned(), "ARCHITECTURE.md".to_owned(), "SECURITY.md".to_owned()];
    let mut directories = vec!["docs".to_owned(), "deploy".to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(root().join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{directory}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                directories.push(name);
            } else if Path::new(&name).extension().is_some_and(|it| it == "md") {
                names.push(name);
            }
        }
    }
    names.sort();
    let read = |name: String| (name.clone(), std::fs::read_to_string(root().join(&name)).unwrap());
    names.into_iter().map(read).collect()
}

fn root() -> PathBuf {
    file("..")
}

/// The blocks between fences, with the word behind the first.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, usize, String)> = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        match (&mut open, trimmed.strip_prefix("```")) {
            (None, Some(word)) => open = Some((word.to_owned(), line.len() - trimmed.len(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(word, _, body)| (word, body))),
            (Some((_, indent, body)), None) => {
                body.push_str(line.get(*indent..).unwrap_or_default());
                body.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    blocks
}

/// What stands between single backticks outside of blocks.
fn words(text: &str) -> Vec<String> {
    let mut fenced = false;
    let outside = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        !is_fence && !fenced
    });
    let outside: Vec<&str> = outside.collect();
    outside.join(" ").split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every command line that begins with our program, wherever it stands.
fn commands(text: &str) -> Vec<String> {
    let inline = words(text).into_iter();
    let fenced = blocks(text).into_iter().filter(|(word, _)| word != "yaml" && word != "json");
    let fenced = fenced.flat_map(|(_, body)| body.lines().map(str::to_owned).collect::<Vec<_>>());
    let indented = text.lines().filter(|line| line.starts_with("    ")).map(str::to_owned);
    let called = |line: String| -> Vec<String> {
        let starts = line.match_indices("portcullis ").filter(|(at, _)| {
            let before = line.get(..*at).unwrap_or_default();
            // Not a directory, not a host, not an argument of another program.
            before.is_empty()
                || before.ends_with(['$', '|', '('])
                || before.trim_end().is_empty()
                || before.ends_with("| ")
        });
        starts.map(|(at, _)| line.get(at..).unwrap_or_default().to_owned()).collect()
    };
    inline.chain(fenced).chain(indented).flat_map(called).collect()
}

/// The help of a subcommand, asked for word by word: as far as the words are subcommands.
fn help(words: &[&str]) -> Result<(usize, String), String> {
    let mut known = (0, String::new());
    for count in 1..=words.len().min(2) {
        let output = Command::new(binary("portcullis")).args(&words[..count]).arg("--help").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_of_it = output.status.success() && text.contains(&format!("portcullis {}", words[..count].join(" ")));
        if !is_of_it {
            break;
        }
        known = (count, text);
    }
    if known.0 == 0 { Err(format!("no subcommand `{}`", words.join(" "))) } else { Ok(known) }
}

#[test]
fn every_command_and_option_is_one_of_the_program() {
    let mut checked = 0;
    for (name, text) in documents() {
        for line in commands(&text) {
            let end = line.find(['|', '#', ';', '>', '<', '`', '…', ')']).unwrap_or(line.len());
            let arguments: Vec<&str> = line[..end].split_whitespace().skip(1).collect();
            let Some(first) = arguments.first().filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
            else {
                continue;
            };
            if first.starts_with("--") {
                assert!(["--help", "--version"].contains(first), "{name}: `{line}`");
                continue;
            }
            let (_, help) = help(&arguments).unwrap_or_else(|error| panic!("{name}: `{line}`: {error}"));
            for option in arguments.iter().filter(|word| word.starts_with("--") && word.len() > 2) {
                let option = option.split('=').next().unwrap();
                let is_known = help.split_whitespace().any(|word| word.trim_end_matches(',') == option);
                assert!(is_known, "{name}: `{line}`: no option `{option}`");
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "only {checked} commands were found: is the reader of documents broken?");
}

#[test]
fn every_target_and_every_step_of_a_script_exists() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let setup = std::fs::read_to_string(root().join("deploy/entra/setup.sh")).unwrap();
    let mut checked = 0;
    for (name, text) in documents() {
        let fenced = blocks(&text).into_iter().map(|(_, body)| body);
        let indented = text.lines().filter(|line| line.starts_with("    ")).map(str::to_owned);
        for line in words(&text).into_iter().chain(fenced).chain(indented) {
            for start in ["make ", "deploy/entra/setup.sh "] {
                // At the beginning of a line, or after variables of its own.
                let calls = line.match_indices(start).filter(|(at, _)| {
                    let before = line[..*at].rsplit('\n').next().unwrap();
                    before.split_whitespace().all(|word| word.contains('='))
                });
                for (at, _) in calls {
                    let rest = line[at + start.len()..].lines().next().unwrap_or_default();
                    let word = rest.split_whitespace().next().unwrap_or_default();
                    let is_there = match start {
                        "make " => makefile.contains(&format!("\n{word}:")),
                        _ => setup.contains(&format!("#   deploy/entra/setup.sh {word} ")),
                    };
                    assert!(is_there, "{name}: `{start}{word}`");
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 12, "only {checked} were found");
}

fn schema(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(root().join("docs/schema").join(name)).unwrap()).unwrap()
}

/// An excerpt need not have everything: whatever is required is not, and so it may be of several forms.
fn lenient(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.remove("required");
            if let Some(forms) = members.remove("oneOf") {
                members.insert("anyOf".to_owned(), forms);
            }
            members.values_mut().for_each(lenient);
        }
        Value::Array(items) => items.iter_mut().for_each(lenient),
        _ => {}
    }
}

#[test]
fn every_piece_of_configuration_has_keys_that_the_gateway_knows() {
    let validators = ["gateway.schema.json", "policy.schema.json"].map(|name| {
        let mut schema = schema(name);
        lenient(&mut schema);
        jsonschema::validator_for(&schema).unwrap()
    });
    let mut checked = 0;
    for (name, text) in documents() {
        for (word, body) in blocks(&text) {
            if word != "yaml" {
                continue;
            }
            let value: Value = serde_saphyr::from_str(&body).unwrap_or_else(|error| panic!("{name}: {error}: {body}"));
            let faults = |validator: &jsonschema::Validator| -> Vec<String> {
                validator.iter_errors(&value).map(|fault| format!("{}: {fault}", fault.instance_path())).collect()
            };
            let [gateway, policy] = &validators;
            let (as_gateway, as_policy) = (faults(gateway), faults(policy));
            assert!(
                as_gateway.is_empty() || as_policy.is_empty(),
                "{name}: neither a configuration ({as_gateway:?}) nor a policy ({as_policy:?}):\n{body}"
            );
            checked += 1;
        }
    }
    assert!(checked > 10, "only {checked} pieces were found");
    let [gateway, policy] = &validators;
    let wrong = serde_json::json!({ "server": { "public_urll": "https://mcp.example.com" } });
    assert!(!gateway.is_valid(&wrong) && !policy.is_valid(&wrong), "the control");
}

#[test]
fn the_configuration_of_the_readme_is_whole_and_its_questions_have_answers() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (_, config) = blocks(&readme).into_iter().find(|(word, _)| word == "yaml").unwrap();
    std::fs::write(directory.path().join("gateway.yaml"), config).unwrap();
    let secret = directory.path().join("client-secret");
    std::fs::write(&secret, "a-secret-of-some-length").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let said = |line: &str| {
        let end = line.find('#').unwrap_or(line.len());
        let mut command = Command::new(binary("portcullis"));
        command.args(line[..end].split_whitespace().skip(1)).current_dir(directory.path());
        command.env("AZURE_TENANT_ID", "11111111-2222-4333-8444-555555555555");
        let output = command.env("AZURE_CLIENT_ID", "aaaaaaaa-0000-4000-8000-00000000c1d1").output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr)
    };
    let lines = commands(&readme);
    let line = |start: &str| lines.iter().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}"));
    assert!(said(line("portcullis check")).contains("fine"), "{}", said(line("portcullis check")));
    assert!(!said(line("portcullis check")).contains("warning"), "{}", said(line("portcullis check")));
    assert!(said(line("portcullis explain")).starts_with("deny"), "{}", said(line("portcullis explain")));
    assert!(said(line("portcullis who-can")).contains("Task.All"), "{}", said(line("portcullis who-can")));
}

#[tokio::test]
async fn every_client_is_sent_back_where_a_gateway_lets_it() {
    let world = WorldBuilder::new(&Backend::plain().await).start().await;
    let register = async |redirect_uri: &str| {
        let client = serde_json::json!({ "client_name": "A client", "redirect_uris": [redirect_uri], "token_endpoint_auth_method": "none" });
        world.http().post(format!("{}/register", world.url())).json(&client).send().await.unwrap().status().as_u16()
    };
    assert_eq!(register("https://evil.example/callback").await, 400, "the control");
    let text = std::fs::read_to_string(root().join("docs/clients.md")).unwrap();
    let mut checked = 0;
    for paragraph in text.split("\n\n") {
        let Some((_, after)) = paragraph.split_once("Sent back to") else { continue };
        for word in words(after).iter().filter(|word| word.contains("://")) {
            let uri = word.replace("<port>", "33418").replace("<id>", "abc123");
            assert_eq!(register(&uri).await, 201, "`{word}` is not let through by `oauth.redirect_hosts` as it is");
            checked += 1;
        }
    }
    assert!(checked >= 8, "only {checked} addresses were found");
}

/// Whether a path of keys, where `X` stands for any name, is in a schema.
fn is_key(whole: &Value, at: &Value, path: &[&str]) -> bool {
    if let Some(reference) = at.get("$ref").and_then(Value::as_str) {
        return is_key(whole, whole.pointer(reference.trim_start_matches('#')).unwrap(), path);
    }
    let Some((key, rest)) = path.split_first() else { return true };
    let members = at.get("properties").and_then(|all| all.get(*key)).into_iter();
    let any = at.get("additionalProperties").filter(|any| any.is_object()).into_iter();
    if members.chain(any).any(|member| is_key(whole, member, rest)) {
        return true;
    }
    let choices = ["allOf", "anyOf", "oneOf"].iter().filter_map(|word| at.get(word)?.as_array()).flatten();
    let items = at.get("items").into_iter();
    choices.chain(items).any(|choice| is_key(whole, choice, path))
}

#[test]
fn every_key_that_is_named_exists() {
    let schema = schema("gateway.schema.json");
    let sections = ["server", "state", "entra", "oauth", "backends", "limits", "audit", "traces"];
    let mut checked = BTreeSet::new();
    for (name, text) in documents() {
        for word in words(&text) {
            let word = word.split([':', ' ']).next().unwrap().trim_end_matches('.');
            let path: Vec<&str> = word.split('.').collect();
            let is_path = path.len() > 1
                && path.iter().all(|key| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
            // Members of an answer of `/auth/me`.
            let is_answer = name == "docs/scripts.md" && word.starts_with("backends.X.");
            let is_file = ["rs", "db", "yaml", "json", "jsonl", "md"].contains(path.last().unwrap());
            if !is_path || is_file || is_answer || !sections.contains(&path[0]) {
                continue;
            }
            assert!(is_key(&schema, &schema, &path), "{name}: no key `{word}`");
            checked.insert(word.to_owned());
        }
    }
    assert!(checked.len() > 20, "only {checked:?} were found");
    assert!(!is_key(&schema, &schema, &["server", "public_urll"]), "the control");
}

#[test]
fn every_metric_that_is_named_is_exported() {
    let mut sources = vec![file("../gateway/src/metrics.rs")];
    sources.extend(std::fs::read_dir(file("../gateway/src/metrics")).unwrap().map(|entry| entry.unwrap().path()));
    let exported: String = sources.iter().map(|source| std::fs::read_to_string(source).unwrap()).collect();
    let mut checked = BTreeSet::new();
    for (name, text) in documents() {
        for word in words(&text) {
            let series = word.split('{').next().unwrap();
            let is_series =
                series.starts_with("portcullis_") && series.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if !is_series || ["portcullis_audit", "portcullis_policy", "portcullis_tests"].contains(&series) {
                continue;
            }
            assert!(exported.contains(&format!("\"{series}\"")), "{name}: nothing exports `{series}`");
            checked.insert(series.to_owned());
        }
    }
    assert!(checked.len() > 5, "only {checked:?} were found");
}

/// As GitHub makes the name of a heading.
fn anchor(heading: &str) -> String {
    let plain = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = plain.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut checked = 0;
    for (name, text) in documents() {
        let home = root().join(&name).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
            if target.contains("://") || target.starts_with("mailto:") || target.contains(' ') {
                continue;
            }
            let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
            let there = if path.is_empty() { root().join(&name) } else { home.join(path) };
            assert!(there.exists(), "{name}: `{target}` is not there");
            if !fragment.is_empty() {
                let other = std::fs::read_to_string(&there).unwrap();
                let mut headings = other.lines().filter(|line| line.starts_with('#')).map(anchor);
                assert!(headings.any(|heading| heading == fragment), "{name}: no heading for `{target}`");
            }
            checked += 1;
        }
    }
    assert!(checked > 20, "only {checked} links were found");
}

#[test]
fn every_file_that_is_named_is_in_the_repository() {
    let mut checked = 0;
    for (name, text) in documents() {
        let fenced: Vec<String> = blocks(&text)
            .into_iter()
            .flat_map(|(_, body)| body.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        for word in words(&text)
            .into_iter()
            .flat_map(|word| word.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .chain(fenced)
        {
            let path = word.trim_matches(|c: char| "\"'();,:".contains(c)).trim_end_matches('/');
            let is_ours = ["deploy/", "docs/", "examples/"].iter().any(|start| path.starts_with(start));
            if !is_ours || path.contains(['*', '<', '$', '{', '…']) {
                continue;
            }
            assert!(root().join(path).exists(), "{name}: `{path}` is not there");
            checked += 1;
        }
    }
    assert!(checked > 20, "only {checked} files were found");
}
