//! `s3haul demo`
use clap::Args;
use super::exit::Failed;
/// The flags of `demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {}
pub(super) async fn run(_args: DemoArgs) -> Result<u8, Failed> { Ok(0) }
