//! Policies: whatever compiles decides the same each time, opens nothing to a caller of no role or tenant it names, and a
//! role that it does not know changes nothing.

use portcullis_policy::{Act, Action, BackendName, Document, Kind, Policy, Subject};

const NAMES: [&str; 6] = ["get_forecast", "list_stations", "delete_station", "rotate_keys", "a", ""];

#[derive(Debug)]
struct Call<'a>(&'a BackendName, &'a str);

impl Act for Call<'_> {
    fn backend(&self) -> &BackendName {
        self.0
    }

    fn action(&self) -> Action<'_> {
        Action::CallTool { name: self.1 }
    }
}

/// A policy file.
pub fn check(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let backends = [BackendName::try_from("weather").unwrap()];
    let Ok(document) = Document::from_yaml(text) else { return false };
    let Ok(policy) = Policy::compile(&document, &backends) else { return false };
    let again = Policy::from_yaml(text, &backends).unwrap();
    assert_eq!(policy.hash(), again.hash());
    let _ = (policy.lint(&document), policy.run_cases(&document));
    let caller = |roles: &[&str]| {
        Subject::new(Kind::User, "11111111-2222-4333-8444-555555555555", "o")
            .with_roles(roles.iter().map(|role| (*role).to_owned()).collect())
    };
    for backend in &backends {
        for name in NAMES {
            let opens = |policy: &Policy, roles: &[&str]| policy.authorize(&caller(roles), Call(backend, name)).is_ok();
            for roles in [&["Task.Read"][..], &["Task.All", "MCPServer.Admin"], &[]] {
                let more: Vec<&str> = roles.iter().copied().chain(["a role that nobody\u{0}declares"]).collect();
                let first = opens(&policy, roles);
                assert_eq!(first, opens(&again, roles), "{name}");
                assert_eq!(first, opens(&policy, &more), "an unknown role changes {name}");
                let shown = policy.view(&caller(roles), backend).tool(name);
                assert_eq!(shown, first, "{name} is listed when it can be called");
            }
        }
    }
    true
}
