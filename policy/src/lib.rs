//! Who may do what: tags are locks, roles are rings of keys.
//!
//! 1. A **tag** is a lock. The operator puts tags on tools, prompts and resources.
//! 2. A **role** is a ring of keys. A key opens one tag on one backend; callers get roles through app-role values.
//! 3. A tool opens only to a caller who holds a key for **every** tag on it.
//! 4. A tool with no tag opens to nobody; a role nobody declared holds no keys. No rule means no.
//! 5. A **deny** rule beats everything.
//! 6. A tool that is not open to you does not exist for you.
//!
//! Pure: text in, decisions out; no IO, no async, no clock.
//!
//! ```
//! use portcullis_policy::{Act, Action, BackendName, Kind, Policy, Subject};
//!
//! #[derive(Debug)]
//! struct Call<'a>(BackendName, &'a str);
//! impl Act for Call<'_> {
//!     fn backend(&self) -> &BackendName { &self.0 }
//!     fn action(&self) -> Action<'_> { Action::CallTool { name: self.1 } }
//! }
//!
//! let weather = BackendName::try_from("weather")?;
//! let policy = Policy::from_yaml(
//!     r#"
//!     roles: { Task.Read: { opens: [read] } }
//!     tools: { weather: { read: ["get_*"], delete: ["delete_*"] } }
//!     "#,
//!     &[weather.clone()],
//! )?;
//! let reader = Subject::new(Kind::User, "tenant", "object").with_roles(vec!["Task.Read".to_owned()]);
//! assert!(policy.authorize(&reader, Call(weather.clone(), "get_forecast")).is_ok());
//! let denial = policy.authorize(&reader, Call(weather, "delete_station")).unwrap_err();
//! assert_eq!(denial.to_string(), "tag `delete` is not open");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod action;
mod authorize;
mod cases;
mod catalogue;
mod compile;
mod compiled;
mod condition;
mod decision;
mod diff;
mod document;
mod error;
mod explain;
mod glob;
mod inventory;
mod judge;
mod lint;
mod names;
mod pin;
mod policy;
#[cfg(doctest)]
pub mod proofs;
mod rate;
mod reach;
mod ring;
mod schema;
mod spelling;
mod step_up;
mod subject;
mod universe;
mod uri;
mod view;
mod who;
mod written;

pub use action::{Act, Action};
pub use cases::{CaseFailure, CaseReport};
pub use catalogue::{Catalogue, ToolDefinition};
pub use decision::{Denial, DenialKind, Permit, Permitted, Reason};
pub use diff::{Change, Difference, differences};
pub use document::Document;
pub use error::{Fault, Faults, Severity};
pub use explain::Explanation;
pub use inventory::Tagged;
pub use names::{BackendName, NameError, Role, Tag};
pub use policy::{Policy, Setting, TagInfo};
pub use rate::Rate;
pub use reach::Mask;
pub use spelling::{is_ignorable, is_literal, resembles};
pub use step_up::StepUp;
pub use subject::{Kind, Scopes, Subject};
pub use universe::{Item, Kind as ItemKind, Universe};
pub use view::View;
pub use who::{Holder, Terms};
pub use written::suggestion;
