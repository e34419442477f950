//! The control: asked for, a `Permitted` is there.
use portcullis_policy::{Act, Action, BackendName, Kind, Permitted, Policy, Subject};

struct Ping(BackendName);

impl Act for Ping {
    fn backend(&self) -> &BackendName {
        &self.0
    }

    fn action(&self) -> Action<'_> {
        Action::Protocol
    }
}

fn main() {
    let weather = BackendName::try_from("weather").unwrap();
    let text = "roles: { R: { opens: [read] } }\ntools: { weather: { read: [get] } }";
    let policy = Policy::from_yaml(text, std::slice::from_ref(&weather)).unwrap();
    let subject = Subject::new(Kind::User, "tenant", "object");
    let permitted: Permitted<Ping> = policy.authorize(&subject, Ping(weather)).ok().unwrap();
    assert_eq!(permitted.act().0.as_ref(), "weather");
}
