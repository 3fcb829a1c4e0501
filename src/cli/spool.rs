//! Manifests that are kept with the report: stdin's always, and one on disk where the report is in S3, so
//! that a resume finds them wherever it runs.

use std::io::IsTerminal;
use std::path::{Component, Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Failed};
use crate::job::blocking;
use crate::job::manifest::{
    ManifestError, ManifestFile, ManifestOptions, Survey, digest_of, files_on_disk, md5_of,
};
use crate::job::report::store::bucket::{BucketFolder, Patience};
use crate::job::spec::JobFile;

/// Where a manifest from stdin is kept in the job's folder.
pub(super) const SPOOL: &str = "work/manifest.csv";

/// Takes the manifest from stdin.
pub(super) fn take_stdin(spool: &Path) -> Result<(), Failed> {
    let spooled = std::fs::File::create(spool).and_then(|mut file| {
        std::io::copy(&mut std::io::stdin().lock(), &mut file)?;
        file.sync_all()
    });
    spooled.map_err(|error| {
        let path = spool.display();
        Failed::usage(format!(
            "cannot spool the manifest from stdin into {path}: {error}"
        ))
    })
}

/// The manifest that comes in again is the one that was spooled, or none.
pub(super) fn check_stdin(survey: &Survey) -> Result<(), Failed> {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    let (found, bytes) = digest_of(std::io::stdin().lock())
        .map_err(|error| Failed::usage(format!("cannot read the manifest from stdin: {error}")))?;
    if bytes == 0 || found == survey.e_tag {
        return Ok(());
    }
    Err(
        Failed::usage("the manifest on stdin is not the one that this job began with").hinted(
            "give this job another --job-id, or nothing on stdin to go on with the old one"
                .to_owned(),
        ),
    )
}

/// What the manifest's files lie under, in a report in S3: another manifest is another folder.
fn folder_of(survey: &Survey) -> String {
    format!("work/manifest-{}/", survey.e_tag)
}

/// Sends a manifest on disk, with its data files, to a report in S3.
pub(super) async fn send(
    report: &BucketFolder,
    manifest: PathBuf,
    survey: &Survey,
    options: &ManifestOptions,
) -> Result<(), Failed> {
    let (path, surveyed, options) = (manifest.clone(), survey.clone(), options.clone());
    let files = blocking(move || files_on_disk(&path, &surveyed, &options)).await?;
    let folder = folder_of(survey);
    for (name, path) in files {
        let of = path.clone();
        let (md5, bytes) = blocking(move || md5_of(std::fs::File::open(&of)?))
            .await
            .map_err(|error| {
                let manifest = manifest.display();
                Failed::usage(format!(
                    "cannot read {name} of the manifest {manifest}: {error}"
                ))
            })?;
        report
            .send_file(&format!("{folder}{name}"), &path, md5, bytes)
            .await?;
    }
    Ok(())
}

/// Fetches the manifest of a job from its report in S3.
pub(super) async fn fetch(
    report: &BucketFolder,
    file: &JobFile,
    stop: &CancellationToken,
) -> Result<PathBuf, Failed> {
    let folder = folder_of(&file.survey);
    let mut found = Vec::new();
    for name in report
        .list(&folder, &Patience::default())
        .await?
        .into_keys()
    {
        found.push((report.file(&name, stop), name));
    }
    let (local, name) = (report.local().join("manifest"), file.spooled_name());
    let manifest = local.join(&name);
    blocking(move || {
        for (object, name) in found {
            let name = Path::new(name.strip_prefix(&folder).unwrap_or(&name));
            // Nothing is written outside of the temporary folder, whatever lies in the bucket.
            if name
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
            {
                save(&object, &local.join(name))?;
            }
        }
        Ok::<_, ManifestError>(())
    })
    .await
    .map_err(|error| {
        // As where the report itself is out.
        if error.may_pass() {
            Failed::new(error, Exit::Stopped)
        } else {
            error.into()
        }
    })?;
    Ok(manifest)
}

fn save(object: &ManifestFile, path: &Path) -> Result<(), ManifestError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| ManifestError::Io {
            path: folder.to_owned(),
            source,
        })?;
    }
    object.save(path)
}
