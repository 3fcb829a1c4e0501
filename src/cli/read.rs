//! How a manifest is read: the flags of every command that begins with one.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use time::OffsetDateTime;

use super::exit::Failed;
use super::flags::{KeyEncodingFlag, repeated};
use super::values;
use crate::job::manifest::key::KeyEncoding;
use crate::job::manifest::{Field, Filters, ManifestFormat, ManifestOptions, Versions};

/// The flags under Manifest that say how it is read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Manifest")]
pub(super) struct ReadArgs {
    /// Refuse a manifest with another ETag (of a file: MD5)
    #[arg(long, env = "S3HAUL_MANIFEST_ETAG", value_name = "ETAG")]
    manifest_etag: Option<String>,
    /// Profile that reads a manifest in S3 [default: whoever works on the buckets]
    #[arg(long, env = "S3HAUL_MANIFEST_PROFILE", value_name = "NAME")]
    pub(super) manifest_profile: Option<String>,
    /// The form of the manifest
    #[arg(long, env = "S3HAUL_MANIFEST_FORMAT", value_enum, default_value_t = FormatFlag::Auto)]
    manifest_format: FormatFlag,
    /// Columns, e.g. Bucket,Key,VersionId,Size,LastModifiedDate,ETag,StorageClass,IsLatest,Ignore [default: by
    /// their number, two or three; those of a report's results file]
    #[arg(long, env = "S3HAUL_MANIFEST_FIELDS", value_name = "FIELD,…", value_parser = fields)]
    manifest_fields: Option<Fields>,
    /// How keys are spelt
    #[arg(long, env = "S3HAUL_KEY_ENCODING", value_enum, default_value_t = KeyEncodingFlag::Auto)]
    key_encoding: KeyEncodingFlag,
    /// Which versions; an inventory of all versions needs it
    #[arg(long, env = "S3HAUL_VERSIONS", value_enum)]
    pub(super) versions: Option<VersionsFlag>,
    /// Only keys that begin with this (repeatable; a JSON array in S3HAUL_INCLUDE_PREFIX)
    #[arg(long, value_name = "PREFIX")]
    include_prefix: Vec<String>,
    /// No keys that begin with this (repeatable; a JSON array in S3HAUL_EXCLUDE_PREFIX)
    #[arg(long, value_name = "PREFIX")]
    exclude_prefix: Vec<String>,
    /// Only objects of at least this size; needs the column Size
    #[arg(long, env = "S3HAUL_MIN_SIZE", value_name = "SIZE", value_parser = values::size)]
    min_size: Option<u64>,
    /// Only objects of at most this size; needs the column Size
    #[arg(long, env = "S3HAUL_MAX_SIZE", value_name = "SIZE", value_parser = values::size)]
    max_size: Option<u64>,
    /// Only objects changed at or after this time; needs the column LastModifiedDate
    #[arg(long, env = "S3HAUL_MODIFIED_AFTER", value_name = "TIME", value_parser = values::instant)]
    modified_after: Option<OffsetDateTime>,
    /// Only objects changed before this time; needs the column LastModifiedDate
    #[arg(long, env = "S3HAUL_MODIFIED_BEFORE", value_name = "TIME", value_parser = values::instant)]
    modified_before: Option<OffsetDateTime>,
}

/// A type of its own: clap would read a `Vec` as a repeated flag.
#[derive(Debug, Clone)]
struct Fields(Vec<Field>);

fn fields(text: &str) -> Result<Fields, String> {
    values::fields(text).map(Fields)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatFlag {
    /// An inventory or a report if it is JSON, else CSV.
    Auto,
    /// Rows of bucket, key, version.
    Csv,
    /// The manifest.json of an S3 Inventory.
    Inventory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum VersionsFlag {
    /// Every version that the manifest lists, in no order.
    Listed,
    /// Of an inventory of all versions: objects as they stand when they are copied.
    Latest,
    /// Every version, of each key the older before the newer ones; the destination keeps versions.
    All,
}

impl ReadArgs {
    /// How the flags have it read.
    pub(super) fn options(&self) -> Result<ManifestOptions, Failed> {
        let e_tag = self.manifest_etag.as_deref();
        Ok(ManifestOptions {
            format: match self.manifest_format {
                FormatFlag::Auto => ManifestFormat::Auto,
                FormatFlag::Csv => ManifestFormat::Csv,
                FormatFlag::Inventory => ManifestFormat::Inventory,
            },
            versions: self.versions.map(|versions| match versions {
                VersionsFlag::Listed => Versions::Listed,
                VersionsFlag::Latest => Versions::Latest,
                VersionsFlag::All => Versions::All,
            }),
            fields: self.manifest_fields.clone().map(|fields| fields.0),
            key_encoding: match self.key_encoding {
                KeyEncodingFlag::Auto => None,
                KeyEncodingFlag::Url => Some(KeyEncoding::Url),
                KeyEncodingFlag::Raw => Some(KeyEncoding::Raw),
            },
            filters: Filters {
                include_prefixes: repeated(self.include_prefix.clone(), "S3HAUL_INCLUDE_PREFIX")?,
                exclude_prefixes: repeated(self.exclude_prefix.clone(), "S3HAUL_EXCLUDE_PREFIX")?,
                min_size: self.min_size,
                max_size: self.max_size,
                modified_after: self.modified_after,
                modified_before: self.modified_before,
            },
            expected_e_tag: e_tag.map(|e_tag| e_tag.trim_matches('"').to_owned()),
            ..ManifestOptions::default()
        })
    }
}

/// The manifest's address in S3, or its path, absolute, so that a resume finds it from anywhere.
pub(super) fn manifest_path(manifest: &std::path::Path) -> Result<PathBuf, Failed> {
    let text = manifest.to_string_lossy();
    if text.starts_with("s3://") {
        let location = values::location(&text)
            .map_err(|why| Failed::usage(format!("--manifest {text}: {why}")))?;
        if location.prefix.is_empty() || location.prefix.ends_with('/') {
            return Err(Failed::usage(format!(
                "--manifest {text} names no object: write s3://BUCKET/KEY"
            )));
        }
        return Ok(manifest.to_owned());
    }
    if text == "-" {
        return Ok(manifest.to_owned());
    }
    // It is read more than once.
    if std::fs::metadata(manifest).is_ok_and(|found| !found.is_file()) {
        return Err(
            Failed::usage(format!("--manifest takes a file, and {text} is none"))
                .hinted("give what a pipe or another program writes on stdin, with -".to_owned()),
        );
    }
    std::path::absolute(manifest)
        .map_err(|error| Failed::usage(format!("cannot find the manifest {text}: {error}")))
}
