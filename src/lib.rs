//! s3haul: a bulk copy engine that moves what a manifest lists from an S3 bucket in one AWS account
//! to a bucket in another, and writes a completion report from which a failed or interrupted job
//! resumes.
//!
//! ```text
//! manifest ──Row──▶ plan ──Task──▶ workers: copy ──Event──▶ report
//!  (reader)   bounded        bounded   │               bounded (journal → results, failed)
//!                                      └─ each request: credentials → permit → rate token → send →
//!                                         classify → settle or retry
//! ```
//!
//! In the order of the flow: [`job::access`] settles who copies and between which buckets,
//! [`job::manifest`] hands out rows, [`job::plan`] says which way each goes, [`job::copy`] copies one
//! object, [`job::outcome`] is where copying and reporting meet, [`job::report`] records how each row
//! ended. [`job`] wires them, and [`cli`] turns flags into a job and a job into an exit code.
//! [`listing`] makes manifests: it lists a bucket in parallel. [`preflight`] looks at what a job will meet.

pub mod job;

pub mod listing;

pub mod policy;

pub mod preflight;

pub mod cli;
