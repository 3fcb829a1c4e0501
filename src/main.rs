//! The `s3haul` program: limits, runtime, exit code. The rest is in the library.

use std::process::ExitCode;

use s3haul::cli;

/// Signing and headers are many small allocations: a quarter less CPU a request than with glibc's malloc.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    raise_file_limit();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return cli::cannot_start(&error),
    };
    let code = runtime.block_on(cli::run(std::env::args_os().collect()));
    // What still blocks (a name look-up, a terminal) is not worth waiting for.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// A connection is a file descriptor, and many systems begin with 1,024 of them or fewer.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const WANTED: u64 = 16_384;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    if limit.current.is_some_and(|current| current < most) {
        let raised = Rlimit {
            current: Some(most),
            maximum: limit.maximum,
        };
        // Without it a job of high concurrency fails with "too many open files", and says so.
        let _ = setrlimit(Resource::Nofile, raised);
    }
}
