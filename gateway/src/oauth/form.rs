//! Parameters of queries and forms: each at most once (RFC 6749 section 3.1), bounded, decoded strictly.

use std::collections::BTreeMap;

use http::{HeaderMap, header};

use super::error::OAuthError;
use crate::json;

/// Longer than any parameter but a code of the identity provider.
const MAX_VALUE: usize = 16 * 1024;

/// Parameters by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters(BTreeMap<String, String>);

/// A parameter is there twice, too long, or not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Parameters {
    pub(super) fn parse(encoded: &str) -> Result<Self, Malformed> {
        let mut parameters = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(encoded.as_bytes()) {
            if value.len() > MAX_VALUE || value.contains('\u{fffd}') || name.ends_with(']') {
                return Err(Malformed);
            }
            if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(Malformed);
            }
        }
        Ok(Self(parameters))
    }

    /// Appends pairs to the query of a URI, which stays as it is otherwise.
    pub(super) fn append(uri: &str, pairs: &[(&str, &str)]) -> String {
        let separator = if uri.contains('?') { '&' } else { '?' };
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs);
        format!("{uri}{separator}{}", query.finish())
    }

    /// The value of a parameter; one that is empty counts as absent (RFC 6749 section 3.1).
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// The parameters of a request to an endpoint that clients call, all of them in its body.
///
/// # Errors
///
/// `invalid_request` where there is a query, whose secrets would end up in logs (RFC 6749 section 3.2), or no form.
pub(super) fn read(headers: &HeaderMap, query: Option<&str>, body: &[u8]) -> Result<Parameters, OAuthError> {
    if !is_form(headers) || query.is_some_and(|query| !query.is_empty()) {
        return Err(OAuthError::InvalidRequest(
            "The parameters belong into a body of application/x-www-form-urlencoded",
        ));
    }
    let malformed = OAuthError::InvalidRequest("A parameter is there twice, or too long");
    let body = std::str::from_utf8(body).map_err(|_error| malformed)?;
    Parameters::parse(body).map_err(|_malformed| malformed)
}

/// As [`read`], where a JSON object of texts will do as well.
///
/// # Errors
///
/// As [`read`], and for JSON that is no such object, or could be read in two ways.
pub(super) fn read_any(headers: &HeaderMap, query: Option<&str>, body: &[u8]) -> Result<Parameters, OAuthError> {
    if is_form(headers) || query.is_some_and(|query| !query.is_empty()) {
        return read(headers, query, body);
    }
    let malformed = OAuthError::InvalidRequest("The body is a form, or a JSON object of texts, each once");
    let texts =
        std::str::from_utf8(body).ok().filter(|text| is(headers, "application/json") && json::check(text, 2).is_ok());
    let parameters: Option<BTreeMap<String, String>> = texts.and_then(|text| serde_json::from_str(text).ok());
    let is_short = |parameters: &BTreeMap<String, String>| parameters.values().all(|value| value.len() <= MAX_VALUE);
    parameters.filter(is_short).map(Parameters).ok_or(malformed)
}

/// Whether a request's body is a form.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    is(headers, "application/x-www-form-urlencoded")
}

fn is(headers: &HeaderMap, wanted: &str) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (first, second) = (types.next(), types.next());
    let media = first.and_then(|value| value.to_str().ok()).map(|value| value.split(';').next().unwrap_or("").trim());
    second.is_none() && media.is_some_and(|media| media.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_there_once_or_not_at_all() {
        let parameters = Parameters::parse("a=1&b=%2B+x&c=").unwrap();
        assert_eq!((parameters.get("a"), parameters.get("b"), parameters.get("c")), (Some("1"), Some("+ x"), None));
        for bad in ["a=1&a=1", "a=1&%61=2", "a[]=1", "a=%ff", &format!("a={}", "x".repeat(17_000))] {
            assert!(Parameters::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn json_is_an_object_of_texts_each_once_or_it_is_not_read() {
        let of = |media: &str, body: &str| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, media.parse().unwrap())]);
            read_any(&headers, None, body.as_bytes())
                .map(|parameters| parameters.get("a").unwrap_or_default().to_owned())
        };
        assert_eq!(of("application/json; charset=utf-8", r#"{"a":"1","b":""}"#).as_deref(), Ok("1"));
        assert_eq!(of("application/x-www-form-urlencoded", "a=1").as_deref(), Ok("1"));
        for (media, bad) in [
            ("application/json", r#"{"a":"1","a":"1"}"#),
            ("application/json", r#"{"a":"1","\u0061":"2"}"#),
            ("application/json", r#"{"a":1}"#),
            ("application/json", r#"{"a":["1"]}"#),
            ("application/json", r#"["a"]"#),
            ("application/json", "a=1"),
            ("text/plain", r#"{"a":"1"}"#),
            ("application/x-www-form-urlencoded", "a=1&a=2"),
        ] {
            assert!(of(media, bad).is_err(), "{media} {bad}");
        }
    }

    #[test]
    fn pairs_are_appended_encoded_and_the_uri_stays_as_it_is() {
        assert_eq!(Parameters::append("https://c/cb", &[("a", "x&y=z")]), "https://c/cb?a=x%26y%3Dz");
        assert_eq!(Parameters::append("https://c/cb?k=v", &[("s", "\r\n<")]), "https://c/cb?k=v&s=%0D%0A%3C");
        assert_eq!(Parameters::append("com.example.app:/cb", &[("a", "b")]), "com.example.app:/cb?a=b");
    }
}
