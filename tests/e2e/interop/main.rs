//! Real clients that know nothing but the gateway's URL, against three kinds of servers, with an Entra-shaped identity
//! provider made of a certified OpenID provider.
//!
//! Each signs in, sees what the roles open, calls, is refused, outlives its token, and calls again.

mod programs;
mod rust;
mod scripts;
mod setting;
mod step_up;
