//! The program over HTTP, against the sandbox: one binary, since each that links the SDK is large.

mod faults;
mod given;
mod input;
mod keys;
mod objects;
mod promises;
mod support;
