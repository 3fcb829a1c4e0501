//! `s3haul manifest inspect`: what is in a manifest.

use tokio_util::sync::CancellationToken;

use super::InspectArgs;
use crate::cli::exit::Failed;
use crate::cli::flags::REQUESTS_PER_SECOND;
use crate::cli::inspection::Inspection;
use crate::cli::print_result;
use crate::cli::reach::Reach;
use crate::cli::read::manifest_path;
use crate::job::blocking;
use crate::job::copy::CopyOptions;
use crate::job::manifest::{ManifestFile, ManifestOptions, Rename, inspect};
use crate::job::shard::session_name;

/// Reads a manifest, whatever is wrong with its rows, and prints what was counted.
pub(super) async fn run(args: InspectArgs) -> Result<u8, Failed> {
    args.words.start_log();
    let output = args.words.output;
    let path = manifest_path(&args.manifest)?;
    let options = args.read.options()?;
    let manifest = if path.starts_with("s3://") {
        let mut access = args
            .access
            .options(args.again.profile, session_name("inspect", None))?;
        access.manifest_profile = args.read.manifest_profile;
        let speed = args.speed.options(REQUESTS_PER_SECOND);
        let reach = Reach::new(&access, &speed, args.again.mfa_code);
        let never = CancellationToken::new();
        Box::pin(reach.manifest(&path, &never)).await?
    } else if path.as_os_str() == "-" {
        return Err(Failed::usage(
            "a manifest is read twice: give a file, not -",
        ));
    } else {
        path.as_path().into()
    };
    let counted = blocking(move || count(&manifest, &options)).await?;
    print_result(output, &counted)?;
    Ok(0)
}

fn count(manifest: &ManifestFile, options: &ManifestOptions) -> Result<Inspection, Failed> {
    let mut counted = Inspection::new();
    let (rename, copy) = (Rename::default(), CopyOptions::default());
    let survey = inspect(manifest, options, &mut |met| match met {
        Ok(row) => counted.see(row, &rename, &copy),
        Err((file, row)) => counted.bad(file, row),
    })?;
    counted.close(&survey);
    Ok(counted)
}
