//! What is to be said where the program runs in a container: it may be run again at any time, by whoever
//! started it, and what it wrote into its own file system is gone then.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::exit::Failed;

/// Variables that say that this is a container: of ECS (and of AWS Batch, which runs on it or on
/// Kubernetes), of Kubernetes, and what systemd asks of other engines (podman sets it, our image does).
///
/// Files such as `/.dockerenv` are no sign: people work in containers too, and builds are tested in them.
///
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4.html>,
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>,
/// <https://systemd.io/CONTAINER_INTERFACE/>
const SIGNS: [&str; 3] = [
    "ECS_CONTAINER_METADATA_URI_V4",
    "KUBERNETES_SERVICE_HOST",
    "container",
];

/// Whether the program runs in a container.
pub(super) fn is_container() -> bool {
    let given = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    SIGNS.iter().any(given)
}

/// A report in S3 is found again only by its ID.
pub(super) fn no_job_id() -> Failed {
    Failed::usage(
        "this is a container, and the report in S3 has no --job-id: when the container is run again it would \
         begin a new job",
    )
    .hinted(
        "give --job-id or S3HAUL_JOB_ID, the same each time the same job is to go on (AWS Batch's jobs have \
         one of their own)"
            .to_owned(),
    )
}

/// Warns of a report that will be gone with the container.
pub(super) fn warn_of_report(report: &Path) {
    let Ok(mounts) = std::fs::read("/proc/self/mountinfo") else {
        return;
    };
    let place = place_of(report);
    let why = match kept(&place, &mounts) {
        Kept::Yes if !place.starts_with(place_of(&std::env::temp_dir())) => return,
        Kept::Yes => "it lies among temporary files",
        Kept::Root => "it lies in the container's own file system",
        Kept::Memory => "it lies in memory",
    };
    tracing::warn!(
        report = %report.display(),
        "the report is gone when this container is, and no resume will find it: {why}; mount a volume there, \
         or keep it in S3"
    );
}

/// The folder that a path lies in or will: the part of it that is there, without links.
fn place_of(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find_map(|path| path.canonicalize().ok());
    there.unwrap_or(path)
}

/// Where a folder lies.
#[derive(Debug, PartialEq, Eq)]
enum Kept {
    /// On a mount.
    Yes,
    /// On that of `/`.
    Root,
    /// On one that is memory.
    Memory,
}

/// Where a folder lies by `/proc/self/mountinfo`.
///
/// <https://docs.kernel.org/filesystems/proc.html#proc-pid-mountinfo-information-about-mounts>
fn kept(folder: &Path, mounts: &[u8]) -> Kept {
    let mounts = mounts.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let place = PathBuf::from(OsStr::from_bytes(&unescaped(fields.nth(4)?)));
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        folder.starts_with(&place).then_some((place, kind))
    });
    // Of mounts at one place the last one hides the others.
    let mount = mounts.max_by_key(|(place, _)| place.as_os_str().len());
    match mount {
        Some((_, b"tmpfs" | b"ramfs")) => Kept::Memory,
        Some((place, _)) if place == Path::new("/") => Kept::Root,
        _ => Kept::Yes,
    }
}

/// A path of mountinfo: blanks, tabs, newlines and backslashes are written in octal.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_lies_on_the_longest_mount() {
        let mounts = br"
22 1 0:21 / / ro,relatime - overlay overlay rw,lowerdir=/a
23 22 0:22 / /proc rw - proc proc rw
24 22 0:23 / /dev rw - tmpfs tmpfs rw
25 22 259:1 /volumes/x /data rw master:1 - ext4 /dev/nvme1n1 rw
26 25 0:30 / /data/scratch rw shared:7 master:2 - tmpfs tmpfs rw,size=64k
27 22 259:1 /v /my\040volume\134 rw - xfs /dev/nvme1n1 rw
";
        let table = [
            ("/", Kept::Root),
            ("/home/reports", Kept::Root),
            ("/database", Kept::Root),
            ("/data", Kept::Yes),
            ("/data/reports", Kept::Yes),
            ("/data/scratch/reports", Kept::Memory),
            ("/my volume\\/reports", Kept::Yes),
        ];
        for (folder, expected) in table {
            assert_eq!(kept(Path::new(folder), mounts), expected, "{folder}");
        }
    }

    #[test]
    fn a_mount_hides_what_was_mounted_there_before() {
        let mounts = b"1 0 0:1 / / rw - overlay o rw\n2 1 0:2 / /r rw - tmpfs t rw\n3 2 8:1 / /r rw - ext4 d rw\n";
        assert_eq!(kept(Path::new("/r/x"), mounts), Kept::Yes);
    }

    #[test]
    fn a_folder_that_is_not_there_lies_where_its_parent_does() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().canonicalize().unwrap();
        assert_eq!(place_of(&folder.path().join("not/there")), place);
    }
}
