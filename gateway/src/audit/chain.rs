//! The chain of lines: each line bears the SHA-256 of itself and of the one before, and now and then the gateway signs
//! how far the chain has come. A line that is changed, taken out or put in breaks it.
//!
//! A line is `{…,"chain":{"instance":"<hex>","number":<n>,"hash":"<base64url>"}}`; its hash is
//! SHA-256(hash of the line before ‖ the bytes of the line without `,"chain":{…}`). An instance is one run of the
//! gateway on one trail; its first line has the number 1 and stands on SHA-256 of its name.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;

/// The media type of a checkpoint's signature (`typ`): good for nothing else.
pub(super) const CHECKPOINT: &str = "audit-checkpoint+jwt";
const MARK: &str = ",\"chain\":{";

/// How far a chain has come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Head {
    /// The run of the gateway.
    pub instance: String,
    /// The number of the last line; 0 before the first.
    pub number: u64,
    /// Its hash, base64url.
    pub hash: String,
}

/// `instance:number:hash`, as the log names what was signed.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.instance, self.number, self.hash)
    }
}

/// The text is no `instance:number:hash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no `instance:number:hash`; copy it from the gateway's log (`head`) or from an earlier `audit verify`")]
pub struct NotAHead;

impl Head {
    /// Every head that a text names, such as a gateway's log, in whatever form its lines are.
    #[must_use]
    pub fn named_in(text: &str) -> BTreeSet<Self> {
        let is_of_head = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_');
        text.split(|c| !is_of_head(c)).filter_map(|word| word.parse().ok()).collect()
    }
}

impl FromStr for Head {
    type Err = NotAHead;

    fn from_str(text: &str) -> Result<Self, NotAHead> {
        let mut parts = text.split(':');
        let (Some(instance), Some(number), Some(hash), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAHead);
        };
        let number = number.parse().map_err(|_error| NotAHead)?;
        decode(hash).ok_or(NotAHead)?;
        Ok(Self { instance: instance.to_owned(), number, hash: hash.to_owned() })
    }
}

/// What a checkpoint signs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Signed {
    /// The gateway's issuer.
    pub(super) iss: String,
    /// When, in seconds since the Unix epoch.
    pub(super) iat: u64,
    /// The line before the checkpoint's own.
    pub(super) head: Head,
}

/// A chain that is being written.
#[derive(Debug)]
pub(super) struct Chain {
    instance: String,
    number: u64,
    hash: [u8; 32],
}

impl Chain {
    /// The chain of a new run.
    pub(super) fn new(instance: String) -> Self {
        let hash = genesis(&instance);
        Self { instance, number: 0, hash }
    }

    /// The number of its last line.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// How far it has come.
    pub(super) fn head(&self) -> Head {
        let hash = URL_SAFE_NO_PAD.encode(self.hash);
        Head { instance: self.instance.clone(), number: self.number, hash }
    }

    /// Makes a line the next one: `json` is an object, and gets its place in the chain.
    pub(super) fn link(&mut self, json: &mut Vec<u8>) {
        self.hash = next(&self.hash, json);
        self.number += 1;
        // INVARIANT: events serialise to objects with members, so the last byte is the closing brace.
        json.pop();
        let hash = URL_SAFE_NO_PAD.encode(self.hash);
        let place =
            format!("{MARK}\"instance\":\"{}\",\"number\":{},\"hash\":\"{hash}\"}}}}", self.instance, self.number);
        json.extend_from_slice(place.as_bytes());
    }
}

fn genesis(instance: &str) -> [u8; 32] {
    Sha256::digest(instance.as_bytes()).into()
}

fn next(before: &[u8; 32], json: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(before).chain_update(json).finalize().into()
}

/// A line of a trail, taken apart.
#[derive(Debug)]
pub(super) struct Line {
    /// The line as it was before it was linked.
    pub(super) json: String,
    /// Its place.
    pub(super) head: Head,
}

impl Line {
    /// Takes a line apart; `None` when it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Tail {
            chain: Head,
        }
        // Inside a string the quotation marks of the mark would be escaped: the last one is the line's own.
        let (body, place) = text.rsplit_once(MARK)?;
        let tail: Tail = serde_json::from_str(&format!("{{\"chain\":{{{place}")).ok()?;
        let json = format!("{body}}}");
        serde_json::from_str::<serde::de::IgnoredAny>(&json).ok()?;
        Some(Self { json, head: tail.chain })
    }

    /// When it was, in whole seconds since the Unix epoch.
    pub(super) fn time(&self) -> Option<Timestamp> {
        #[derive(Deserialize)]
        struct Told {
            time: f64,
        }
        let told: Told = serde_json::from_str(&self.json).ok()?;
        Some(Timestamp::from_secs(Duration::try_from_secs_f64(told.time).ok()?.as_secs()))
    }

    /// Whether it is the line after `before`; after nothing when it is the first of its run.
    pub(super) fn follows(&self, before: Option<&Head>) -> bool {
        let base = match before {
            Some(before) if before.instance == self.head.instance && before.number + 1 == self.head.number => {
                decode(&before.hash)
            }
            None if self.head.number == 1 => Some(genesis(&self.head.instance)),
            _ => None,
        };
        base.is_some_and(|base| URL_SAFE_NO_PAD.encode(next(&base, self.json.as_bytes())) == self.head.hash)
    }
}

fn decode(hash: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(hash).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_follows_the_one_before_and_no_other() {
        let mut chain = Chain::new("a1".to_owned());
        let texts: Vec<String> = [r#"{"x":1}"#, r#"{"x":",\"chain\":{\"instance\":\"a1\"}"}"#, r#"{"x":3}"#]
            .map(|json| {
                let mut line = json.as_bytes().to_vec();
                chain.link(&mut line);
                String::from_utf8(line).unwrap()
            })
            .into();
        let lines: Vec<Line> = texts.iter().map(|text| Line::parse(text).unwrap()).collect();
        assert_eq!(lines[1].json, r#"{"x":",\"chain\":{\"instance\":\"a1\"}"}"#);
        assert!(lines[0].follows(None));
        assert!(lines[1].follows(Some(&lines[0].head)) && lines[2].follows(Some(&lines[1].head)));
        assert!(!lines[2].follows(Some(&lines[0].head)) && !lines[1].follows(None));
        let changed = texts[1].replace("\"x\"", "\"y\"");
        assert!(!Line::parse(&changed).unwrap().follows(Some(&lines[0].head)));
        for bad in ["", "{}", r#"{"x":1,"chain":{}}"#, r#"{"x":1,"chain":{"instance":"a","number":1,"hash":"h"}"#] {
            assert!(Line::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(chain.head().number, 3);
        assert_eq!(chain.head().to_string().parse(), Ok(chain.head()));
        let log =
            format!("INFO signed head={0}\n{{\"head\":\"{0}\"}}\n12:30:45 head={1}.\n", chain.head(), lines[0].head);
        assert_eq!(Head::named_in(&log), BTreeSet::from([chain.head(), lines[0].head.clone()]));
        for bad in ["", "a1", "a1:3", "a1:x:AAAA", "a1:3:AAAA", &format!("{}:1", chain.head())] {
            assert_eq!(bad.parse::<Head>(), Err(NotAHead), "{bad}");
        }
    }
}
