//! Programs that must not compile: everything one could try to get a [`crate::Permitted`] without asking the policy.
//!
//! They run as documentation tests, each forgery beside what it forges; this module is compiled for nothing else.

/// An act is permitted by the policy alone.
///
/// ```
/// use portcullis_policy::{Act, Action, BackendName, Kind, Permitted, Policy, Subject};
/// struct Ping(BackendName);
/// impl Act for Ping {
///     fn backend(&self) -> &BackendName { &self.0 }
///     fn action(&self) -> Action<'_> { Action::Protocol }
/// }
/// let weather = BackendName::try_from("weather").unwrap();
/// let text = "roles: { R: { opens: [read] } }\ntools: { weather: { read: [get] } }";
/// let policy = Policy::from_yaml(text, std::slice::from_ref(&weather)).unwrap();
/// let subject = Subject::new(Kind::User, "tenant", "object");
/// let permitted: Permitted<Ping> = policy.authorize(&subject, Ping(weather)).ok().unwrap();
/// assert_eq!(permitted.act().0.as_ref(), "weather");
/// ```
/// The constructor is the policy's own.
/// ```compile_fail,E0624
/// use portcullis_policy::{Permit, Permitted};
/// fn forge(permit: Permit) -> Permitted<&'static str> { Permitted::new("delete everything", permit) }
/// ```
/// A permit is not something one writes down.
/// ```compile_fail,E0451
/// use portcullis_policy::{Permit, Permitted};
/// fn forge(permit: Permit) -> Permitted<&'static str> { Permitted { act: "delete everything", permit } }
/// ```
/// Nothing is permitted by default.
/// ```compile_fail,E0277
/// use portcullis_policy::Permitted;
/// fn forge() -> Permitted<()> { Default::default() }
/// ```
/// One answer is good for one request.
/// ```compile_fail,E0308
/// use portcullis_policy::Permitted;
/// fn twice(permitted: &Permitted<String>) -> Permitted<String> { permitted.clone() }
/// ```
/// A permit does not come in from outside.
/// ```compile_fail,E0277
/// use portcullis_policy::Permitted;
/// fn read<T: serde::de::DeserializeOwned>() {}
/// read::<Permitted<String>>();
/// ```
/// What was decided about is what is permitted: it cannot be changed afterwards.
/// ```compile_fail,E0596
/// use portcullis_policy::Permitted;
/// fn change(permitted: &mut Permitted<String>) { permitted.act().push_str("/everything"); }
/// ```
pub struct PermitIsAskedFor;

/// A name that was not parsed is no name.
///
/// ```
/// use portcullis_policy::BackendName;
/// assert!(BackendName::try_from("weather").is_ok() && BackendName::try_from("../../etc").is_err());
/// ```
/// ```compile_fail,E0423
/// use portcullis_policy::BackendName;
/// let _ = BackendName("../../etc".into());
/// ```
pub struct NameIsParsed;
