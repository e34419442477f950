//! Heads of requests: whatever the gate admits, a strict reader takes apart in one way, and takes for the same request.

use std::sync::LazyLock;

use portcullis::proxy::fuzzing::admit;
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().enable_all().build().unwrap());

/// Bytes of a connection, as far as the end of the first head.
pub fn check(data: &[u8]) -> bool {
    let Some(end) = data.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = &data[..end + 4];
    let Some(admitted) = RUNTIME.block_on(admit(head)) else { return false };
    // Every byte as one character, so that positions are those of the bytes.
    let text: String = head[..end].iter().map(|byte| char::from(*byte)).collect();
    let text = text.trim_start_matches("\r\n");
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap();
    let (method, rest) = line.split_once(' ').expect("a request line in one part");
    let (target, version) = rest.rsplit_once(' ').expect("a request line in two parts");
    assert_eq!(method, admitted.method.as_str());
    assert!(matches!(version, "HTTP/1.1" | "HTTP/1.0"), "{version}");
    // Pingora takes what does not belong in a query for its percent-encoded form; in a path nothing is mended.
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    assert!(path.starts_with('/') && path.bytes().all(|byte| (0x21..0x7f).contains(&byte)), "{path}");
    assert_eq!(path, admitted.path);
    // What ends a line for nobody, a byte of a longer UTF-8 character for instance, puts nothing out of step.
    assert!(
        !query.contains(|byte: char| byte.is_ascii_control()) || !admitted.keeps,
        "a connection out of step goes on"
    );
    let fields: Vec<(String, &str)> = lines
        .map(|line| {
            let (name, value) = line.split_once(':').expect("a line without a colon");
            assert!(!name.is_empty() && name.bytes().all(is_token), "{name:?}");
            (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']))
        })
        .collect();
    let after = text.get(line.len()..).unwrap_or_default().replace("\r\n", "");
    assert!(!after.contains(['\r', '\n', '\0']));
    let of = |name: &str| fields.iter().filter(|(known, _)| known == name).map(|(_, value)| *value).collect::<Vec<_>>();
    let (lengths, codings) = (of("content-length"), of("transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "{lengths:?} {codings:?}");
    assert!(lengths.iter().all(|length| !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit())));
    assert!(codings.iter().all(|coding| coding.eq_ignore_ascii_case("chunked") && version == "HTTP/1.1"));
    assert_eq!(of("host").len(), 1);
    for once in ["authorization", "content-type", "mcp-session-id", "mcp-method", "mcp-name", "mcp-protocol-version"] {
        assert!(of(once).len() <= admitted.fields.get_all(once).iter().count(), "{once}");
    }
    assert!(of("upgrade").iter().all(|offer| offer.eq_ignore_ascii_case("h2c")));
    true
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
