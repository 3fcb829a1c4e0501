//! An S3 and STS for tests, demos and benchmarks: in memory, in this process, with accounts, permissions and faults.
//!
//! It answers as S3 does, refuses as S3 does, and says 501 to what it does not implement. Requests pass, in order:
//!
//! * `wire`: connections, faults (`fault`) and the request log (`log`), around
//! * s3s, which checks signatures, parses requests and writes answers; `identity` gives it the keys
//! * `access`: sessions, signed headers, what is implemented (the table in `operation`), Regions, owners
//! * `authorize`: the policies of both sides, by [`iam`]
//! * `s3`, the operations, or what `routes` leads past s3s's own: `sts`, and the annotations in `s3`
//! * `store`: the buckets
//!
//! Above [`TRUE_DIGEST_BYTES`], declared objects have digests of their extents in place of true ones: equal content
//! has equal digests, which are not those of the bytes.
//!
//! ```
//! use s3haul_sandbox::{BucketSettings, Fault, FaultKind, ObjectProperties, Operation, Sandbox, SandboxOptions, When};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::start(SandboxOptions::default())?;
//! let store = sandbox.store();
//! store.create_bucket("source", "111111111111", "us-east-1", BucketSettings::default())?;
//! store.put_object("source", "small", "hello", ObjectProperties::default())?;
//! store.declare_object("source", "large", 6 << 30, 1, ObjectProperties::default())?;
//! let reset = sandbox.faults().add(Fault::on(Operation::CopyObject, FaultKind::Reset).when(When::First(2)));
//! // … a client at sandbox.endpoint() …
//! assert_eq!(reset.hits(), 0);
//! assert!(sandbox.log().of(Operation::CopyObject).is_empty());
//! sandbox.stop().await;
//! # Ok(())
//! # }
//! ```

mod access;
mod authorize;
mod clock;
mod conditions;
mod copy_source;
mod error;
mod exchange;
mod fault;
pub mod iam;
mod identity;
mod log;
mod operation;
mod routes;
mod s3;
mod sandbox;
mod store;
mod sts;
mod wire;

pub use fault::{Fault, FaultHandle, FaultKind, Faults, KeyFilter, When};
pub use iam::AccountsFile;
pub use identity::SessionKeys;
pub use log::{LogEntry, RequestLog};
pub use operation::{Operation, UnknownOperation};
pub use sandbox::{DEFAULT_REGION, Sandbox, SandboxOptions};
pub use store::bucket::{BucketSettings, LifecycleRule, ObjectOwnership, Versioning};
pub use store::checksum::{ChecksumAlgorithm, ChecksumType};
pub use store::content::TRUE_DIGEST_BYTES;
pub use store::fill::{Fill, FillBucket, FillObject};
pub use store::object::{ArchiveTier, RestoreTier, StorageClass, canonical_user_id};
pub use store::view::{
    ObjectProperties, ObjectView, RestoreState, Retention, UploadView, VersionView,
};
pub use store::{Store, StoreError};
pub use sts::MFA_CODE;
