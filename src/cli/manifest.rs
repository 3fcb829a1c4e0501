//! `s3haul manifest`: make manifests, and see what is in them.

mod create;
mod inspect;

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use time::OffsetDateTime;

use super::access::AccessArgs;
use super::exit::Failed;
use super::flags::{AgainArgs, SpeedArgs, WordsArgs, repeated};
use super::progress::ProgressMode;
use super::read::ReadArgs;
use super::values::{self, Location};
use crate::job::manifest::Field;
use crate::listing::rows::{MAX_RUNS, RowOptions, Selection};

/// What is done with manifests.
#[derive(Debug, Subcommand)]
pub(super) enum ManifestCommand {
    /// List a bucket into a CSV manifest, with S3 Batch Operations' filters
    Create(Box<CreateArgs>),
    /// Count rows, bytes, versions, storage classes, sizes, bad rows, requests and their cost
    Inspect(Box<InspectArgs>),
}

/// The flags of `manifest inspect`. Those under Access are for a manifest in S3.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// A CSV manifest or an S3 Inventory's manifest.json, here or in S3
    #[arg(value_name = "PATH|s3://BUCKET/KEY")]
    manifest: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    again: AgainArgs,
    #[command(flatten)]
    speed: SpeedArgs,
    #[command(flatten)]
    words: WordsArgs,
}

/// The flags of `manifest create`.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// The bucket to list, and what keys begin with
    #[arg(value_name = "s3://BUCKET[/PREFIX]", value_parser = values::location)]
    from: Location,
    #[command(flatten)]
    manifest: ManifestArgs,
    #[command(flatten)]
    filters: FilterArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    again: AgainArgs,
    #[command(flatten)]
    speed: SpeedArgs,
    /// How progress is shown on stderr
    #[arg(long, env = "S3HAUL_PROGRESS", value_enum, default_value_t = ProgressMode::Auto, help_heading = "Running")]
    progress: ProgressMode,
    #[command(flatten)]
    words: WordsArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Manifest")]
struct ManifestArgs {
    /// Where the manifest goes; - is stdout
    #[arg(long, env = "S3HAUL_OUTPUT_FILE", value_name = "PATH|s3://BUCKET/KEY|-", value_parser = destination, default_value = "-")]
    output_file: Destination,
    /// Which versions
    #[arg(long, env = "S3HAUL_VERSIONS", value_enum, default_value_t = VersionsFlag::Latest)]
    versions: VersionsFlag,
    /// Columns, of Bucket,Key,VersionId,Size,ETag,LastModifiedDate,StorageClass,IsLatest [default: Bucket,Key,
    /// and VersionId with --versions all]
    #[arg(long, env = "S3HAUL_FIELDS", value_name = "FIELD,…", value_parser = fields)]
    fields: Option<Fields>,
    /// Cut the listing into so many runs and deal rows from them in turn, so that a job is at many
    /// places of the bucket at once
    #[arg(long, env = "S3HAUL_SHUFFLE", value_name = "N", value_parser = clap::value_parser!(u32).range(2..=i64::from(MAX_RUNS)))]
    shuffle: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Destination {
    Stdout,
    File(PathBuf),
    Object(Location),
}

fn destination(text: &str) -> Result<Destination, String> {
    match text {
        "" => Err("a path is missing".to_owned()),
        "-" => Ok(Destination::Stdout),
        _ if text.starts_with("s3://") => {
            let location = values::location(text)?;
            if location.prefix.is_empty() || location.prefix.ends_with('/') {
                return Err("the key is missing: write s3://BUCKET/KEY".to_owned());
            }
            Ok(Destination::Object(location))
        }
        _ => Ok(Destination::File(text.into())),
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("-"),
            Self::File(path) => path.display().fmt(f),
            Self::Object(Location { bucket, prefix }) => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VersionsFlag {
    /// Each object as it stands.
    Latest,
    /// Every version of each object; delete markers are left out.
    All,
}

/// A type of its own: clap would read a `Vec` as a repeated flag.
#[derive(Debug, Clone)]
struct Fields(Vec<Field>);

fn fields(text: &str) -> Result<Fields, String> {
    let fields = values::fields(text)?;
    if fields.contains(&Field::Ignore) {
        return Err("a column to ignore is not written".to_owned());
    }
    Ok(Fields(fields))
}

/// The filters of `S3JobManifestGenerator`, by its names.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters")]
struct FilterArgs {
    /// Only objects made after this time
    #[arg(long, env = "S3HAUL_CREATED_AFTER", value_name = "TIME", value_parser = values::instant)]
    created_after: Option<OffsetDateTime>,
    /// Only objects made before this time
    #[arg(long, env = "S3HAUL_CREATED_BEFORE", value_name = "TIME", value_parser = values::instant)]
    created_before: Option<OffsetDateTime>,
    /// Only keys that begin with this (repeatable; a JSON array in S3HAUL_MATCH_ANY_PREFIX)
    #[arg(long, value_name = "TEXT")]
    match_any_prefix: Vec<String>,
    /// Only keys that have this in them (repeatable; a JSON array in S3HAUL_MATCH_ANY_SUBSTRING)
    #[arg(long, value_name = "TEXT")]
    match_any_substring: Vec<String>,
    /// Only keys that end with this (repeatable; a JSON array in S3HAUL_MATCH_ANY_SUFFIX)
    #[arg(long, value_name = "TEXT")]
    match_any_suffix: Vec<String>,
    /// Only objects larger than this
    #[arg(long, env = "S3HAUL_OBJECT_SIZE_GREATER_THAN", value_name = "SIZE", value_parser = values::size)]
    object_size_greater_than: Option<u64>,
    /// Only objects smaller than this
    #[arg(long, env = "S3HAUL_OBJECT_SIZE_LESS_THAN", value_name = "SIZE", value_parser = values::size)]
    object_size_less_than: Option<u64>,
    /// Only this storage class (repeatable; a JSON array in S3HAUL_MATCH_ANY_STORAGE_CLASS)
    #[arg(long, value_name = "CLASS")]
    match_any_storage_class: Vec<String>,
    /// Refused: a listing does not tell it
    #[arg(
        long,
        env = "S3HAUL_ELIGIBLE_FOR_REPLICATION",
        value_name = "BOOL",
        hide = true
    )]
    eligible_for_replication: Option<String>,
    /// Refused: a listing does not tell it
    #[arg(
        long,
        env = "S3HAUL_OBJECT_REPLICATION_STATUSES",
        value_name = "STATUS",
        hide = true
    )]
    object_replication_statuses: Option<String>,
    /// Refused: a listing does not tell it
    #[arg(
        long,
        env = "S3HAUL_MATCH_ANY_OBJECT_ENCRYPTION",
        value_name = "KIND",
        hide = true
    )]
    match_any_object_encryption: Option<String>,
}

/// The storage classes that S3 lists.
const STORAGE_CLASSES: [&str; 8] = [
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "GLACIER",
    "DEEP_ARCHIVE",
    "REDUCED_REDUNDANCY",
];

impl FilterArgs {
    /// The selection, and the prefixes to list.
    fn selection(self, prefix: String) -> Result<(Selection, Vec<String>), Failed> {
        for (flag, given) in [
            ("--eligible-for-replication", &self.eligible_for_replication),
            (
                "--object-replication-statuses",
                &self.object_replication_statuses,
            ),
            (
                "--match-any-object-encryption",
                &self.match_any_object_encryption,
            ),
        ] {
            if given.is_some() {
                return Err(Failed::usage(format!(
                    "{flag} is not supported: a listing does not tell it, and asking would take a \
                     request an object"
                ))
                .hinted("an S3 Inventory can list it".to_owned()));
            }
        }
        let (variable, given) = (
            "S3HAUL_MATCH_ANY_STORAGE_CLASS",
            self.match_any_storage_class,
        );
        let storage_classes = repeated(given, variable)?;
        let unknown = |class: &&String| !STORAGE_CLASSES.contains(&class.as_str());
        if let Some(class) = storage_classes.iter().find(unknown) {
            return Err(Failed::usage(format!(
                "--match-any-storage-class {class} is none of {}",
                STORAGE_CLASSES.join(", ")
            )));
        }
        let named = repeated(self.match_any_prefix, "S3HAUL_MATCH_ANY_PREFIX")?;
        let prefixes = if named.is_empty() {
            vec![prefix]
        } else {
            both(&prefix, named)?
        };
        let selection = Selection {
            created_after: self.created_after,
            created_before: self.created_before,
            substrings: repeated(self.match_any_substring, "S3HAUL_MATCH_ANY_SUBSTRING")?,
            suffixes: repeated(self.match_any_suffix, "S3HAUL_MATCH_ANY_SUFFIX")?,
            larger_than: self.object_size_greater_than,
            smaller_than: self.object_size_less_than,
            storage_classes,
        };
        Ok((selection, prefixes))
    }
}

/// What begins with the address's prefix and with one of those named.
fn both(prefix: &str, named: Vec<String>) -> Result<Vec<String>, Failed> {
    let longer = named.into_iter().filter_map(|named| {
        if named.starts_with(prefix) {
            Some(named)
        } else {
            prefix.starts_with(&named).then(|| prefix.to_owned())
        }
    });
    let prefixes: Vec<_> = longer.collect();
    if prefixes.is_empty() {
        return Err(Failed::usage(format!(
            "no --match-any-prefix is of the keys that begin with {prefix}, the address's prefix"
        )));
    }
    Ok(prefixes)
}

impl CreateArgs {
    /// The rows that the flags ask for; without a selection.
    fn row_options(&self) -> Result<RowOptions, Failed> {
        let latest = self.manifest.versions == VersionsFlag::Latest;
        let fields = match &self.manifest.fields {
            Some(Fields(fields)) => fields.clone(),
            None if latest => vec![Field::Bucket, Field::Key],
            None => vec![Field::Bucket, Field::Key, Field::VersionId],
        };
        if !latest && !fields.contains(&Field::VersionId) {
            return Err(Failed::usage(
                "--versions all needs the column VersionId: without it the rows of a key are all alike",
            ));
        }
        Ok(RowOptions {
            bucket: self.from.bucket.clone(),
            fields,
            selection: Selection::default(),
            latest,
        })
    }
}

/// Runs `s3haul manifest`.
pub(super) async fn run(command: ManifestCommand) -> Result<u8, Failed> {
    match command {
        ManifestCommand::Create(args) => create::run(*args).await,
        ManifestCommand::Inspect(args) => inspect::run(*args).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        assert_eq!(destination("-"), Ok(Destination::Stdout));
        assert_eq!(destination("m.csv"), Ok(Destination::File("m.csv".into())));
        let object = destination("s3://b/a/m.csv").unwrap();
        assert_eq!(object.to_string(), "s3://b/a/m.csv");
        for text in ["", "s3://b", "s3://b/", "s3://b/a/"] {
            assert!(destination(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prefixes_narrow_the_address() {
        let both = |prefix: &str, named: &[&str]| {
            let named = named.iter().map(|&named| named.to_owned()).collect();
            both(prefix, named).ok()
        };
        let some = |prefixes: &[&str]| Some(prefixes.iter().map(|&p| p.to_owned()).collect());
        assert_eq!(both("", &["a", "b"]), some(&["a", "b"]));
        assert_eq!(both("a/", &["a/b", "b", "a"]), some(&["a/b", "a/"]));
        assert_eq!(both("a/", &["b"]), None);
    }
}
