//! Enters: the process's arguments. Leaves: an exit code. Everything between is `qantra_user::cli`.

use std::process::ExitCode;

/// The proxy allocates on every request; mimalloc is the quicker allocator for many threads with short-lived blocks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    qantra_user::cli::main()
}
