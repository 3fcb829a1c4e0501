//! The program over HTTP, against the sandbox: one binary, since each that links the SDK is large.

mod promises;
mod support;
