//! The program over HTTP, against the sandbox: one binary, since each that links the SDK is large.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod access;
mod corpus;
mod faults;
mod given;
mod guards;
mod input;
mod inspect;
mod inventory;
mod keys;
mod listing;
mod objects;
mod previous;
mod promises;
mod remote;
mod resume;
mod same;
mod settings;
mod settle;
mod structure;
mod support;
mod throttle;
mod verify;
mod versions;
mod words;
