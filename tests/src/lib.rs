//! The world the end-to-end tests live in.
