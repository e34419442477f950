//! The `portcullis` binary: arguments to a command to an exit code.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // INVARIANT: one rustls provider for the whole process, installed before anything can install another.
    let _ = rustls::crypto::ring::default_provider().install_default();
    portcullis::cli::run()
}
