//! The program over HTTP, against the sandbox: one binary, since each that links the SDK is large.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod access;
mod archived;
mod both;
mod bucket;
mod check;
mod conditions;
#[cfg(target_os = "linux")]
mod container;
mod corpus;
mod deploy;
mod encryption;
mod evidence;
mod faults;
mod given;
mod guards;
mod huge;
mod identity;
mod input;
mod inspect;
mod inventory;
mod keys;
mod listing;
#[cfg(target_os = "linux")]
mod machine;
mod made_up;
mod merge;
mod metrics;
mod model;
mod network;
mod objects;
mod overwritten;
mod ownership;
mod policy;
mod previous;
mod promises;
mod random;
mod remote;
mod resume;
mod rich;
mod same;
mod settings;
mod settle;
mod shards;
mod structure;
mod support;
mod throttle;
mod verify;
mod versions;
mod walk;
mod words;
