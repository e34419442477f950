//! Bodies that are built to be read in two ways, sent for real. Whatever reaches the backend is given, byte for byte as
//! it arrived, to other readers: Python's and Node's, keeping the first of two members or the last, and without regard
//! to case. None may see another method or tool in it than the one that was decided.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_tests::process::{file, node, tool};
use portcullis_tests::{Backend, World, WorldBuilder};
use serde_json::Value;

/// What stands for a tool that the caller must not reach.
const SHUT: &str = "delete_station";

fn call(params: &str) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#).into_bytes()
}

/// Bodies of our own, every class of confusion once or more.
fn crafted() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    for name in
        ["name", "n\\u0061me", "Name", "NAME", "na\u{200b}me", "name\\u0000", " name", "\u{ff4e}ame", "nam\u{435}"]
    {
        // The other is a tool that is shut, or one that is open as well.
        for other in [SHUT, "get_other"] {
            bodies.push(call(&format!(r#"{{"name":"get_forecast","{name}":"{other}"}}"#)));
            bodies.push(call(&format!(r#"{{"{name}":"{other}","name":"get_forecast"}}"#)));
        }
    }
    for method in ["method", "Method", "METHOD", "meth\\u006fd", "method\\u0000", "m\u{435}thod"] {
        let other = format!(r#""{method}":"tools/call","params":{{"name":"{SHUT}"}}"#);
        bodies.push(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping",{other}}}"#).into_bytes());
        bodies.push(format!(r#"{{"jsonrpc":"2.0","id":1,{other},"method":"ping"}}"#).into_bytes());
    }
    for params in ["params", "Params", "PARAM\u{17f}", "param\\u0073"] {
        let doubled = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"get_forecast"}},"{params}":{{"name":"{SHUT}"}}}}"#
        );
        bodies.push(doubled.into_bytes());
    }
    let good = call(r#"{"name":"get_forecast","arguments":{}}"#);
    let bad = call(&format!(r#"{{"name":"{SHUT}"}}"#));
    for glue in ["", "\n", "\u{0}", ",", "\u{1e}", "//", " "] {
        bodies.push([good.as_slice(), glue.as_bytes(), &bad].concat());
    }
    bodies.push([b"\xef\xbb\xbf".as_slice(), &good].concat());
    bodies.push(good.iter().flat_map(|byte| [*byte, 0]).collect());
    bodies.push([&good[..good.len() - 1], b",\"x\":\"\xff\"}"].concat());
    bodies.push(call(r#"{"name":"get_forecast","arguments":{"a":1,"a":2}}"#));
    bodies.push(call(r#"{"name":"get_forecast","arguments":{"x":"\ud800"}}"#));
    bodies.push(call(&format!(r#"{{"name":"get_forecast","arguments":{}{}}}"#, "[".repeat(5000), "]".repeat(5000))));
    bodies.push(call(&format!(
        r#"{{"name":"get_forecast","arguments":{}1{}}}"#,
        r#"{"a":"#.repeat(5000),
        "}".repeat(5000)
    )));
    for id in ["null", "1.0", "[1]", "{}", "true", "-0", "1e3"] {
        bodies.push(
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"get_forecast"}}}}"#)
                .into_bytes(),
        );
    }
    for name in [
        "delete_station\\u0000",
        "delete_station ",
        "Delete_station",
        "delete\u{200b}_station",
        "get_forecast/../delete_station",
        "\u{212a}eys",
    ] {
        bodies.push(call(&format!(r#"{{"name":"{name}"}}"#)));
    }
    for params in [
        "[]",
        "\"x\"",
        "1",
        "null",
        r#"["get_forecast"]"#,
        r#"{"name":["get_forecast"]}"#,
        r#"{"name":{"a":1}}"#,
        r#"{"name":null}"#,
    ] {
        bodies.push(call(params));
    }
    bodies
}

/// The files of a published suite, where it is at hand: each as a body, and as the arguments of a call.
fn published() -> Vec<Vec<u8>> {
    let directory: PathBuf = file("../../shared/corpora/JSONTestSuite");
    let mut bodies = Vec::new();
    for folder in ["test_parsing", "test_transform"] {
        let Ok(files) = std::fs::read_dir(directory.join(folder)) else {
            println!("{} is not here: the published suite is not run", directory.display());
            return Vec::new();
        };
        for entry in files {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let (before, after) = (
                br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_forecast","arguments":"#,
                b"}}",
            );
            bodies.push([before.as_slice(), &bytes, after].concat());
            bodies.push(bytes);
        }
    }
    assert!(bodies.len() > 500, "the published suite has {} bodies only", bodies.len());
    bodies
}

async fn send(world: &World, token: &str, body: Vec<u8>) -> u16 {
    let request = world.http().post(world.mcp()).bearer_auth(token).header("content-type", "application/json");
    request.body(body).send().await.unwrap().status().as_u16()
}

/// What other readers see in the bodies: (reader, method, name).
fn others_see(bodies: &[Vec<u8>]) -> Vec<Vec<(String, Value, Value)>> {
    let lines: String = bodies.iter().map(|body| STANDARD.encode(body) + "\n").collect();
    let readers = [(tool(".tools/venv/bin/python"), file("interop/readers.py")), (node(), file("interop/readers.mjs"))];
    let mut seen: Vec<Vec<(String, Value, Value)>> = vec![Vec::new(); bodies.len()];
    for (program, script) in readers {
        let mut reader =
            Command::new(program).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = reader.stdin.take().unwrap();
        let text = lines.clone();
        let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
        let output = reader.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), bodies.len());
        for (seen, line) in seen.iter_mut().zip(text.lines()) {
            seen.extend(serde_json::from_str::<Vec<(String, Value, Value)>>(line).unwrap());
        }
    }
    seen
}

#[tokio::test]
async fn no_reader_behind_sees_another_call_than_the_one_decided() {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let bodies: Vec<Vec<u8>> = crafted().into_iter().chain(published()).collect();
    let sent = bodies.len();
    for body in bodies {
        let status = send(&world, &token, body.clone()).await;
        assert!(matches!(status, 200 | 202 | 400 | 404 | 413), "{status}: {}", String::from_utf8_lossy(&body));
    }
    // The controls: honest calls pass, with everything in their arguments as it was.
    let before = backend.requests().len();
    let honest = [
        r#"{"Name":"x","method":"y","n":9007199254740993,"e":1E+2,"z":-0,"f":0.1000,"u":"\u0041\/"}"#,
        r#"{"name":"delete_station","params":{"name":"delete_station"},"jsonrpc":"1.0"}"#,
        r#"{"a":[[[{"b":null}]]],"":"","\u0000":"\ud83d\ude00"}"#,
        "{}",
    ];
    let honest = honest.map(|arguments| call(&format!(r#"{{"name":"get_forecast","arguments":{arguments}}}"#)));
    for body in &honest {
        assert_eq!(send(&world, &token, body.clone()).await, 200, "{}", String::from_utf8_lossy(body));
    }
    let arrived: Vec<Vec<u8>> = backend.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(arrived.get(before..), Some(honest.as_slice()));
    println!("{before} of {sent} bodies reached the backend");
    let lines = world.audit(2 * (sent + honest.len())).await;
    let allowed = lines.iter().filter(|line| line["type"] == "mcp.decision" && line["decision"] == "allow");
    let decided: Vec<&Value> = allowed.map(|line| &line["target"]).collect();
    assert_eq!(decided.len(), arrived.len());
    for ((body, seen), decided) in arrived.iter().zip(others_see(&arrived)).zip(decided) {
        assert_eq!(seen.len(), 5);
        for (reader, method, name) in seen {
            let same = method == decided["method"] && (name == decided["name"]);
            assert!(same, "{reader} sees {method} of {name}, not {decided}, in {}", String::from_utf8_lossy(body));
        }
    }
}
