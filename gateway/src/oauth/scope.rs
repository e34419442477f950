//! Scopes of a request: tags of the resource's backend, and the ones that `OpenID` Connect reserves.

use super::Resource;

/// Scopes that ask for something other than a tag.
const RESERVED: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// The scopes that a request would be granted: what it asks for, or everything that any sign-in is enough for. Those that only
/// others of `all` resources have are passed over: the server's metadata names the scopes of all of them, and clients ask for
/// what they read there.
///
/// # Errors
///
/// Returns an error for a scope that no resource has, and where all that is asked for is another's.
pub(super) fn granted(requested: Option<&str>, resource: &Resource, all: &[Resource]) -> Result<Vec<String>, ()> {
    let has = |resource: &Resource, name: &str| resource.scopes.iter().any(|scope| scope.name == name);
    let mut is_anothers = false;
    let mut scopes: Vec<String> = Vec::new();
    for name in requested.unwrap_or_default().split(' ').filter(|name| !name.is_empty()) {
        if RESERVED.contains(&name) {
            continue;
        }
        if !has(resource, name) {
            if !all.iter().any(|other| has(other, name)) {
                return Err(());
            }
            is_anothers = true;
            continue;
        }
        if !scopes.iter().any(|scope| scope == name) {
            scopes.push(name.to_owned());
        }
    }
    if scopes.is_empty() && is_anothers {
        return Err(());
    }
    if scopes.is_empty() {
        scopes = resource.usual_scopes().map(|scope| scope.name.clone()).collect();
    }
    Ok(scopes)
}

/// What of `granted` a refresh asks for: less, never more (RFC 6749 section 6). The grant keeps what it has.
///
/// # Errors
///
/// Returns an error for a scope that was not granted.
pub(super) fn narrowed(requested: Option<&str>, granted: &[String]) -> Result<Vec<String>, ()> {
    let names = requested.unwrap_or_default().split(' ');
    let asked: Vec<&str> = names.filter(|name| !name.is_empty() && !RESERVED.contains(name)).collect();
    if asked.iter().any(|name| !granted.iter().any(|scope| scope == name)) {
        return Err(());
    }
    Ok(granted.iter().filter(|scope| asked.is_empty() || asked.contains(&scope.as_str())).cloned().collect())
}

/// What of `granted` a request asks for, where its client asks for what it would like and takes what there is (RFC 6749
/// section 3.3); all of it when it asks for nothing.
pub(super) fn shared(requested: Option<&str>, granted: &[String]) -> Vec<String> {
    let names = requested.unwrap_or_default().split(' ');
    let asked: Vec<&str> = names.filter(|name| !name.is_empty() && !RESERVED.contains(name)).collect();
    granted.iter().filter(|scope| asked.is_empty() || asked.contains(&scope.as_str())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::Scope;
    use super::*;
    use crate::entra::StepUp;

    #[test]
    fn what_is_asked_for_is_granted_and_nothing_asked_means_everything() {
        let scope = |name: &str| Scope { name: name.to_owned(), title: name.to_owned(), step_up: None };
        let strong = StepUp { acrs: ["c1".to_owned()].into(), max_age: None };
        let delete = Scope { step_up: Some(strong), ..scope("delete") };
        let resource = Resource {
            url: "https://r/mcp".to_owned(),
            path: "/mcp".to_owned(),
            name: "r".to_owned(),
            scopes: vec![scope("read"), scope("write"), delete],
        };
        let crm = Resource { scopes: vec![scope("read"), scope("pii")], ..resource.clone() };
        let all = [resource.clone(), crm];
        assert_eq!(granted(Some("pii read"), &resource, &all), Ok(vec!["read".to_owned()]), "of another resource");
        assert_eq!(granted(Some("pii"), &resource, &all), Err(()), "nothing must not come to mean all");
        assert_eq!(granted(Some("pii openid"), &resource, &all), Err(()));
        assert_eq!(granted(Some("read offline_access read"), &resource, &all), Ok(vec!["read".to_owned()]));
        assert_eq!(granted(Some("openid"), &resource, &all).map(|scopes| scopes.len()), Ok(2));
        assert_eq!(granted(None, &resource, &all).map(|scopes| scopes.len()), Ok(2));
        assert_eq!(granted(Some("delete"), &resource, &all), Ok(vec!["delete".to_owned()]), "by name only");
        assert_eq!(granted(Some("read admin"), &resource, &all), Err(()));
        assert_eq!(granted(Some("Read"), &resource, &all), Err(()));
    }

    #[test]
    fn who_asks_for_more_than_there_is_gets_what_there_is() {
        let all = ["read".to_owned(), "write".to_owned()];
        assert_eq!(shared(None, &all), all);
        assert_eq!(shared(Some("offline_access"), &all), all);
        assert_eq!(shared(Some("admin write"), &all), ["write"]);
        assert!(shared(Some("admin"), &all).is_empty());
    }

    #[test]
    fn a_refresh_may_ask_for_less_and_never_for_more() {
        let all = ["read".to_owned(), "write".to_owned()];
        assert_eq!(narrowed(None, &all), Ok(all.to_vec()));
        assert_eq!(narrowed(Some("offline_access openid"), &all), Ok(all.to_vec()));
        assert_eq!(narrowed(Some("write write"), &all), Ok(vec!["write".to_owned()]));
        assert_eq!(narrowed(Some("write admin"), &all), Err(()));
    }
}
